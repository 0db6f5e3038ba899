"""The server's own metrics, scraped."""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from loadtest.server_metrics import Scraper, fleet_samples, parsed
from tests.loadtest.timed_server import METRICS, timed_server

RUNNING = 'vllm:num_requests_running{engine="0",model_name="fake"}'


def test_vllms_samples_are_kept_without_buckets_and_other_peoples() -> None:
    assert parsed(METRICS.decode()) == {RUNNING: 3.0}


@pytest.mark.parametrize(
    ("line", "samples"),
    [
        ("vllm:x 1e3", {"vllm:x": 1000.0}),
        ("vllm:x 2 1700000000000", {"vllm:x": 2.0}),
        ('vllm:x{a="b c"} 2', {'vllm:x{a="b c"}': 2.0}),
        ("tokenfleet_y_total 4", {"tokenfleet_y_total": 4.0}),
        ("# HELP vllm:x of no use", {}),
        ("vllm:x", {}),
        ("vllm:x_created 5", {}),
    ],
)
def test_a_line_is_a_sample_or_nothing(line: str, samples: dict[str, float]) -> None:
    assert parsed(line) == samples


def test_a_fleet_is_its_engines_by_state_and_its_flights() -> None:
    engines = [
        {"id": "a", "state": "ready", "running": 2, "waiting": 1},
        {"id": "b", "state": "ready", "running": 0, "waiting": 0},
        {"id": "c", "state": "down", "running": 0, "waiting": 0},
    ]
    flights = {"active": 3, "moved": 1, "note": "text"}
    body = {"models": [{"name": "demo", "engines": engines, "flights": flights}]}
    assert fleet_samples(body) == {
        'tokenfleet:engines{model_name="demo",state="ready"}': 2,
        'tokenfleet:engines{model_name="demo",state="down"}': 1,
        'tokenfleet:engine_running{model_name="demo",engine="a"}': 2,
        'tokenfleet:engine_waiting{model_name="demo",engine="a"}': 1,
        'tokenfleet:engine_running{model_name="demo",engine="b"}': 0,
        'tokenfleet:engine_waiting{model_name="demo",engine="b"}': 0,
        'tokenfleet:engine_running{model_name="demo",engine="c"}': 0,
        'tokenfleet:engine_waiting{model_name="demo",engine="c"}': 0,
        'tokenfleet:flights_active{model_name="demo"}': 3,
        'tokenfleet:flights_moved{model_name="demo"}': 1,
    }
    assert fleet_samples(None) == fleet_samples([]) == {}


def test_a_server_is_asked_for_what_it_has() -> None:
    with timed_server() as url:
        scraper = Scraper(url)
        assert scraper.scrape() == scraper.scrape() == {RUNNING: 3.0}
        assert scraper.useful


def test_a_server_without_metrics_is_of_no_use_but_one_that_is_down_may_be() -> None:
    with timed_server() as url:
        scraper = Scraper(f"{url}/nowhere")
        assert scraper.useful
        assert scraper.scrape() == {}
        assert not scraper.useful
    down = Scraper("http://127.0.0.1:1")
    assert down.scrape() == {}
    assert down.useful


class Guarded(BaseHTTPRequestHandler):
    """Shows its metrics for a key."""

    def do_GET(self) -> None:
        ok = self.headers.get("Authorization") == "Bearer k" and self.path == "/metrics"
        self.send_response(200 if ok else 403)
        self.end_headers()
        self.wfile.write(METRICS)

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_that_wants_a_key_for_its_metrics_gets_it() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        with_key, without = Scraper(url, {"Authorization": "Bearer k"}), Scraper(url)
        assert (with_key.scrape(), without.scrape()) == ({RUNNING: 3.0}, {})
        assert (with_key.useful, without.useful) == (True, False)
        server.shutdown()
        thread.join()


IN_TURN = """
from gevent import monkey; monkey.patch_all()
import sys
from gevent.threadpool import ThreadPool
from loadtest.server_metrics import Scraper
scraper, pools = Scraper(sys.argv[1]), [ThreadPool(1), ThreadPool(1)]
for turn in range(6):
    print(len(pools[turn % 2].apply(scraper.scrape)))
"""


def test_two_threads_of_gevent_may_look_in_turn() -> None:
    """In a process of its own, which gevent patches as Locust does."""
    with timed_server() as url:
        done = subprocess.run(
            [sys.executable, "-c", IN_TURN, url], capture_output=True, text=True, timeout=60
        )
    assert done.stdout.split() == ["1"] * 6, done.stderr
