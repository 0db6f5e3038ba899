"""The live page, in a real browser, over a gateway that says what the test wants."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from serve_app.fleet_page import PAGE, PAGE_PATH, page_response
from serve_app.ingress import free_ports
from tests.serve_app.browser import CHROMIUM, Browser
from tests.waiting import until

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs a browser: apt-get install chromium"
)


def engine(name: str, state: str = "ready", **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "state": state,
        "node": "n",
        "pid": 4711,
        "endpoint": "tcp://192.0.2.1:5555",
        "running": 3,
        "waiting": 1,
        "kv_use_frac": 0.42,
        "kv_total_tokens": 262144,
        "queued_prefill_tokens": 0,
        "step_cost_s": None,
        **more,
    }


MODEL = {
    "name": "demo",
    "backing_off": [],
    "scaling": None,
    "held": 0,
    "queue": {"waiting": {"interactive": 2, "batch": 0}, "refused": {"would_wait": 3}},
    "engines": [engine("alpha"), engine("beta", "leaving")],
    "flights": {"active": 4, "moved": 0, "failed": 0},
    "losses": {"last_10_min": 0, "last": None},
    "moves": [],
    "decisions": [{"engine": "alpha", "reason": "cached", "sentence": "alpha holds the prompt."}],
    "counts": {"finished": 1, "began": 2, "ttft_sum_s": 0.1, "output_tokens": 100},
}


class Gateway:
    """Serves the page and `fleet`; with `key`, to who shows it only. Its chat says `parts`, the
    next one whenever the test `go`es on."""

    def __init__(self) -> None:
        self.fleet: dict[str, Any] = {"gateway": "g", "models": [copy.deepcopy(MODEL)]}
        self.key: str | None = None
        self.asked: list[dict[str, Any]] = []
        self.parts = ["Once ", "upon ", "a time."]
        self.go = threading.Semaphore(0)
        (self.port,) = free_ports(0)
        self._server: uvicorn.Server | None = None

    @property
    def model(self) -> dict[str, Any]:
        return self.fleet["models"][0]

    def start(self) -> None:
        routes = [
            Route(PAGE_PATH, lambda request: page_response()),
            Route("/fleet", self._fleet),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/favicon.ico", lambda request: Response(status_code=204)),
        ]
        config = uvicorn.Config(Starlette(routes=routes), port=self.port, log_level="error")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        until(lambda: self._server.started)

    def stop(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()

    async def _fleet(self, request: Request) -> Response:
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": {"message": "no"}}, 401)
        return JSONResponse(self.fleet)

    async def _chat(self, request: Request) -> Response:
        self.asked.append(await request.json())
        if self.asked[-1]["messages"][0]["content"] == "too much":
            error = {"error": {"message": "All engines are busy."}}
            return JSONResponse(error, 503, {"retry-after": "7"})
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _events(self):
        for part in self.parts:
            await asyncio.to_thread(self.go.acquire)
            chunk = {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"content": part}}]}
            yield f"data: {json.dumps(chunk)}\n\n"
        yield "data: [DONE]\n\n"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    gateway = Gateway()
    gateway.start()
    yield gateway
    gateway.go.release(10)
    gateway.stop()


@pytest.fixture
def page(browser: Browser, gateway: Gateway) -> Iterator[Browser]:
    browser.said.clear()
    browser.open(f"http://127.0.0.1:{gateway.port}{PAGE_PATH}")
    yield browser
    assert browser.said == [], "the page has no errors, and loads nothing that it may not"
    browser.open("about:blank")


def until_says(page: Browser, words: str, where: str = "main") -> None:
    until(lambda: words in page.text(where), what=f"{where} says {words!r}")


def ask(page: Browser, prompt: str = "Tell me a story.") -> None:
    page.value(f"document.querySelector('#prompt').value = {json.dumps(prompt)}")
    page.value("document.querySelector('#send').click()")


def test_a_model_s_engines_queue_and_decisions_are_shown(page, gateway):
    until_says(page, "alpha")
    shown = page.text("main")
    for words in (
        "1 engine ready", "waiting: 2 interactive", "3 refused (would wait)", "leaving",
        "3 running, 1 waiting", "KV 42 % of 262k tokens", "alpha holds the prompt.",
        "no request has lost its engine", "a fixed number of engines",
    ):  # fmt: skip
        assert words in shown
    assert page.text("#state") == "live"
    assert page.value("document.querySelectorAll('.engine').length") == 2


def test_charts_follow_what_the_gateway_counts(page, gateway):
    until_says(page, "alpha")
    gateway.model["counts"] = {
        "finished": 1, "began": 4, "ttft_sum_s": 0.3, "output_tokens": 1100,
    }  # fmt: skip
    until(lambda: "100 ms" in page.text(".charts"), what="0.2 s over 2 requests")
    lines = "[...document.querySelectorAll('polyline')].map(line => line.getAttribute('points'))"
    assert all(page.value(lines))


def test_a_model_without_engines_says_why(page, gateway):
    gateway.model["engines"] = []
    gateway.model["scaling"] = {
        "target": 0, "ready": 0, "reason": "idle", "sentence": "no request for 300 s",
        "at_s": 0, "changes": [],
    }  # fmt: skip
    gateway.model["held"] = 2
    until_says(page, "asleep: the next request wakes an engine")
    assert "2 held for want of an engine" in page.text("main")
    assert "no request for 300 s" in page.text("main")


def test_a_hundred_engines_fit(page, gateway):
    gateway.model["engines"] = [engine(f"engine-{number:03}") for number in range(100)]
    until_says(page, "engine-099")
    assert page.value("document.documentElement.scrollWidth <= innerWidth")


def test_what_engines_are_called_is_text(page, gateway):
    gateway.model["engines"] = [engine("<img src=x onerror=alert(1)>")]
    until_says(page, "<img src=x onerror=alert(1)>")
    assert page.value("document.querySelectorAll('main img').length") == 0


def test_an_answer_goes_on_and_says_where(page, gateway):
    until_says(page, "alpha")
    ask(page)
    gateway.go.release()
    until_says(page, "Once ", "#answer")
    move = {
        "ago_s": 0.1, "request": "chatcmpl-1", "from": "alpha", "to": "beta",
        "cause": "core_dead", "tokens": 5,
    }  # fmt: skip
    gateway.model["moves"], gateway.model["flights"]["moved"] = [move], 1
    until_says(page, "moved from alpha to beta after 5 tokens: core dead", "#answer")
    gateway.go.release(2)
    until_says(page, "upon a time.", "#answer")
    until(lambda: not page.value("document.querySelector('#send').disabled"))
    assert page.text("#where") == "now answered by beta"
    until_says(page, "alpha → beta, core dead, after 5 tokens")
    (asked,) = gateway.asked
    assert (asked["model"], asked["stream"], asked["max_tokens"]) == ("demo", True, 400)


def test_a_refusal_is_said_with_its_time(page, gateway, browser):
    until_says(page, "alpha")
    ask(page, "too much")
    until_says(page, "All engines are busy. (again in 7 s)", "#answer")
    browser.said[:] = [each for each in browser.said if "status of 503" not in each]


def test_an_answer_can_be_stopped(page, gateway):
    until_says(page, "alpha")
    ask(page)
    gateway.go.release()
    until_says(page, "Once ", "#answer")
    page.value("document.querySelector('#stop').click()")
    until(lambda: not page.value("document.querySelector('#send').disabled"))
    assert page.text("#answer").strip() == "Once"


def test_a_key_is_asked_for_and_kept_for_this_tab_alone(page, gateway, browser):
    gateway.key = "secret"
    until_says(page, "an admin key is needed", "#state")
    page.value("document.querySelector('#key').value = 'secret'")
    page.value("document.querySelector('#key-form button').click()")
    until_says(page, "alpha")
    assert page.value("sessionStorage.getItem('key')") == "secret"
    assert page.value("localStorage.length") == 0
    page.value("sessionStorage.clear()")
    browser.said[:] = [each for each in browser.said if "status of 401" not in each]


def test_a_gateway_that_is_away_is_missed_and_found_again(page, gateway, browser):
    until_says(page, "alpha")
    gateway.stop()
    until_says(page, "no answer from the gateway", "#state")
    assert "alpha" in page.text("main"), "what was known last stays"
    gateway.start()
    until(lambda: page.text("#state") == "live", what="it is found again")
    browser.said[:] = [each for each in browser.said if "ERR_" not in each]


def test_a_gateway_that_is_replaced_is_forgotten(page, gateway):
    until_says(page, "alpha")
    page.value("forgottenMs = 1500")
    gateway.fleet["gateway"] = "another"
    gateway.model["flights"]["active"] = 1
    until(lambda: page.text("#state") == "2 gateways")
    until(lambda: page.text("#state") == "live", what="the first is forgotten")
    assert page.text(".chart b") == "1", "its streams count no more"


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_screen(page, gateway, width):
    page.size(width, 900)
    until_says(page, "alpha")
    assert page.value("document.documentElement.scrollWidth <= innerWidth")
    page.size(1280, 900)


def test_the_page_asks_no_other_host():
    text = PAGE.read_text()
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
