"""Whole runs: Locust, headless in a process of its own, against a server with known delays."""

import json
import signal
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from loadtest.metrics import RequestSample, itls_s, percentile, schedule_lag_s, ttfts_s
from tests.loadtest.runtime.planned import (
    SHAPED,
    Outcome,
    sent,
    server_log,
    session,
    session_of,
)
from tests.loadtest.timed_server import timed_server

LAG_S = 0.25
"""Of a load client on a machine that has other things to do; a hanging server makes far more."""


@pytest.fixture
def url() -> Iterator[str]:
    with timed_server() as url:
        yield url


def median(samples: list[float]) -> float:
    found = percentile(samples, 50)
    assert found is not None
    return found.value


def in_flight_at_most(samples: Sequence[RequestSample]) -> int:
    instants_s = [sample.t0_s for sample in samples]
    return max(sum(s.t0_s <= at_s <= (s.tn_s or 0) for s in samples) for at_s in instants_s)


def errors(outcome: Outcome) -> list[str | None]:
    return [record.sample.error for record in outcome.records]


def test_what_was_measured_is_what_the_server_did(url: str, tmp_path: Path) -> None:
    manner = {"first_s": 0.3, "gap_s": 0.025, "chunks": 60}
    outcome = sent(url, tmp_path, [session(n, at_s=0.005 * n, **manner) for n in range(50)])
    samples = [record.sample for record in outcome.records]
    assert (outcome.status, len(samples), {sample.error for sample in samples}) == (0, 50, {None})
    log = server_log(url)
    written = [b - a for entry in log for a, b in pairwise(entry["written_s"])]
    first = [entry["written_s"][0] - entry["received_s"] for entry in log]
    assert median(ttfts_s(samples)) == pytest.approx(median(first), abs=0.002)
    assert median(itls_s(samples)) == pytest.approx(median(written), abs=0.002)
    assert median(itls_s(samples)) == pytest.approx(0.025, abs=0.002)
    assert {sample.output_tokens for sample in samples} == {60}
    assert "in flight 0  done 50  errors 0  missed 0" in outcome.output


MANNERS = ("well", "cut", "event", "503", "hang")


@pytest.fixture(scope="module")
def mixed_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Outcome]]:
    """Requests that end in every way, to the server at a URL, with an API key."""
    sessions = [session(n, turns=2, how=how) for n, how in enumerate(MANNERS)]
    sessions.append(session(5, chat=False))
    folder = tmp_path_factory.mktemp("mixed")
    with timed_server() as url:
        yield url, sent(url, folder, sessions, "--api-key", "secret", timeout_s=1.0)


def test_whatever_happens_to_a_request_is_in_its_record(mixed_run: tuple[str, Outcome]) -> None:
    _, outcome = mixed_run
    well, answered, cut, event, refused, hung, completion = outcome.records
    assert well.sample.error is answered.sample.error is completion.sample.error is None
    assert cut.sample.error is not None
    assert cut.sample.error.startswith("disconnected: ")
    assert len(cut.sample.itl_us) == 3, "the chunks that came are kept"
    assert event.sample.error == "error event: engine died"
    assert refused.sample.error == "http 503: no engine"
    assert hung.sample.error == "timeout after 1 s"
    assert [record.turn for record in outcome.records] == [0, 1, 0, 0, 0, 0, 0]
    assert outcome.status == 0, "some requests did succeed"


def test_a_run_in_which_no_request_succeeds_fails(tmp_path: Path) -> None:
    outcome = sent("http://127.0.0.1:1", tmp_path, [session(0), session(1)])
    assert outcome.status == 1
    assert {error.partition("]")[0] for error in errors(outcome) if error} == {
        "connect: [Errno 111"
    }


def test_an_open_loop_keeps_its_instants_while_the_server_hangs(url: str, tmp_path: Path) -> None:
    sessions = [session(n, at_s=0.05 * n, how="hang") for n in range(25)]
    settings = {"duration_s": 1.25, "timeout_s": 2.0, "warm_up_s": 0.5, "max_in_flight": 20}
    outcome = sent(url, tmp_path, sessions, **settings)
    samples = [record.sample for record in outcome.records]
    assert [sample.t_sched_s for sample in samples] == [round(0.05 * n, 6) for n in range(25)]
    assert max(map(schedule_lag_s, samples)) < LAG_S
    assert [record.warm_up for record in outcome.records] == [True] * 10 + [False] * 15
    assert errors(outcome)[:20] == ["timeout after 2 s"] * 20
    assert errors(outcome)[20:] == ["missed: 20 requests were in flight"] * 5
    assert [record.missed for record in outcome.records] == [False] * 20 + [True] * 5
    assert len(server_log(url)) == 20, "a missed request is never sent"


def test_several_processes_share_one_load(url: str, tmp_path: Path) -> None:
    sessions = [session(n, at_s=0.02 * n) for n in range(21)]
    outcome = sent(url, tmp_path, sessions, "--processes", "2", max_in_flight=100)
    assert outcome.status == 0
    assert [record.session for record in outcome.records] == list(range(21))
    assert [record.worker for record in outcome.records] == [n % 2 for n in range(21)]
    expected = [f"session {n} turn 0" for n in range(21)]
    assert sorted(map(session_of, server_log(url))) == sorted(expected), "each once"
    workers = outcome.environment["workers"]
    assert [(w["rank"], w["sessions"]) for w in workers] == [(0, 11), (1, 10)]


def test_a_later_turn_carries_the_answers_before_it(url: str, tmp_path: Path) -> None:
    sent(url, tmp_path, [session(0, turns=3, think_s=0.05)], max_in_flight=1)
    log = server_log(url)
    first, second, _ = (entry["answer"] for entry in log)
    assert [(m["role"], m["content"]) for m in log[2]["body"]["messages"]] == [
        ("user", "session 0 turn 0"),
        ("assistant", first),
        ("user", "session 0 turn 1"),
        ("assistant", second),
        ("user", "session 0 turn 2"),
    ]
    assert log[1]["received_s"] - log[0]["written_s"][-1] >= 0.05, "it was thought about"
    assert {entry["connection"] for entry in log} == {1}, "it is kept, from the warm-up on"


def test_a_closed_loop_ends_with_its_sessions(url: str, tmp_path: Path) -> None:
    sessions = [session(n, at_s=None, chunks=4) for n in range(12)]
    outcome = sent(url, tmp_path, sessions, mode="closed", users=3, duration_s=60)
    samples = [record.sample for record in outcome.records]
    assert (outcome.status, [record.session for record in outcome.records]) == (0, list(range(12)))
    assert all(sample.t_sched_s == sample.t0_s for sample in samples)
    assert in_flight_at_most(samples) == 3


def test_a_shape_of_the_locustfile_says_how_many_users_there_are(url: str, tmp_path: Path) -> None:
    sessions = [session(n, at_s=None, first_s=0.02, gap_s=0.02, chunks=5) for n in range(200)]
    settings = {"mode": "closed", "users": 9, "duration_s": 2.5, "locustfile": SHAPED}
    outcome = sent(url, tmp_path, sessions, **settings)
    assert outcome.status == 0
    answered = [r.sample for r in outcome.records if r.sample.error is None]
    early = [sample for sample in answered if sample.t0_s < 0.8]
    late = [sample for sample in answered if sample.t0_s > 1.5]
    assert in_flight_at_most(early) == 1
    assert in_flight_at_most(late) == 3


STAGES = [{"users": 1}, {"users": 4, "from_s": 0.9}, {"users": 1, "from_s": 3.0}]


@pytest.mark.parametrize("options", [(), ("--processes", "2")])
def test_stages_say_how_many_users_there_are_and_cut_no_request(
    url: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    sessions = [session(n, at_s=None, first_s=0.02, gap_s=0.02, chunks=10) for n in range(200)]
    settings = {"mode": "closed", "users": 4, "duration_s": 5.0, "stages": STAGES}
    outcome = sent(url, tmp_path, sessions, *options, **settings)
    assert (outcome.status, set(errors(outcome))) == (0, {None}), outcome.output
    samples = [record.sample for record in outcome.records]
    assert in_flight_at_most([s for s in samples if s.t0_s < 0.8]) == 1
    assert in_flight_at_most([s for s in samples if 2.2 < s.t0_s < 2.9]) == 4
    assert in_flight_at_most([s for s in samples if s.t0_s > 4.4]) == 1


def test_users_that_were_let_go_are_stopped_with_the_run(url: str, tmp_path: Path) -> None:
    sessions = [session(n, at_s=None, first_s=0.1, gap_s=1.0, chunks=60) for n in range(3)]
    stages = [{"users": 3}, {"users": 1, "from_s": 0.5}]
    settings = {"mode": "closed", "users": 3, "duration_s": 60.0, "timeout_s": 60.0}
    stop = {"stop": signal.SIGINT, "stop_at": "offered 3 (0.0/s)"}
    outcome = sent(url, tmp_path, sessions, **stop, **settings, stages=stages)
    assert errors(outcome) == ["stopped before it ended"] * 3
    assert outcome.status == 2


def test_stages_beside_a_shape_of_the_locustfile_are_refused(url: str, tmp_path: Path) -> None:
    settings = {"mode": "closed", "stages": STAGES, "locustfile": SHAPED}
    outcome = sent(url, tmp_path, [session(0, at_s=None)], **settings)
    assert outcome.status == 3
    assert "planned has stages, and Locust began with a shape of its own" in outcome.output


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_keeps_what_it_has(
    url: str, tmp_path: Path, stop: signal.Signals
) -> None:
    sessions = [session(0, chunks=2), session(1, first_s=0.1, gap_s=1.0, chunks=60)]
    outcome = sent(
        url, tmp_path, sessions, stop=stop, stop_at="offered", duration_s=30.0, timeout_s=60.0
    )
    assert errors(outcome) == [None, "stopped before it ended"]
    assert outcome.environment["problems"] == ["stopped before its end"]
    assert outcome.status == 2


def test_the_folder_says_what_was_run(mixed_run: tuple[str, Outcome]) -> None:
    url, outcome = mixed_run
    assert outcome.config["target"] == url
    assert outcome.config["model"] == "fake"
    assert outcome.config["scenario"]["mode"] == "open"
    assert outcome.environment["versions"]["locust"]
    assert outcome.environment["problems"] == []
    lines = (outcome.folder / "server.jsonl").read_text().splitlines()
    running = 'vllm:num_requests_running{engine="0",model_name="fake"}'
    assert json.loads(lines[0])["metrics"] == {running: 3.0}
    warm_up = [record for record in outcome.all_records if record.session < 0]
    assert {record.sample.error for record in warm_up} == {None}
    assert all(record.warm_up and record.sample.t0_s < 0 for record in warm_up)
    assert all("secret" not in path.read_text() for path in outcome.folder.iterdir())


def test_without_a_load_nothing_begins(url: str, tmp_path: Path) -> None:
    outcome = sent(url, tmp_path, [], "--scenario", "")
    assert outcome.status == 3
    assert "--scenario is missing" in outcome.output
    assert not outcome.folder.exists()
