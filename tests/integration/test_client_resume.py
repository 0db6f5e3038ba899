"""A client that loses its connection in mid-stream gets the rest of its stream, once."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest
from httpx2 import RemoteProtocolError

from loadtest.chaos.kinds import CHAT, LONG, PLAIN
from tests.integration.fleet import RESUME_WINDOW_S, Fleet
from tests.waiting import until

RESUMABLE = {"x-tokenfleet-resumable": "true"}
GENEROUS_S = 10.0
EVENT = re.compile(rb"id: (\S+)\n(data: .*\n\n)")
COMPLETION = ("/v1/completions", {"model": "demo", "stream": True, **PLAIN.body})
LASTING = ("/v1/completions", {**COMPLETION[1], "max_tokens": 1500})
ENDLESS = ("/v1/completions", {**COMPLETION[1], "max_tokens": 3500})  # outlasts the window
REQUESTS = {
    "completion": COMPLETION,
    "chat": (
        "/v1/chat/completions",
        {"model": "demo", "stream": True, "messages": CHAT, "repetition_penalty": 10, **LONG},
    ),
}


@dataclass
class Client:
    """Asks once, and comes back for the rest as often as its connection is cut."""

    fleet: Fleet
    path: str
    body: dict[str, Any]
    ids: list[str] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)

    def read(self, most_bytes: float = float("inf")) -> None:
        """Read on until so many bytes have come over a new connection, then cut it."""
        headers = {"Last-Event-ID": self.ids[-1]} if self.ids else RESUMABLE
        received = b""
        call = self.fleet.http.stream("POST", self.path, json=self.body, headers=headers)
        with call as response:
            assert response.status_code == 200
            self.ids = self.ids or [response.headers["x-tokenfleet-stream"]]
            for chunk in response.iter_raw():
                received += chunk
                if len(received) >= most_bytes:
                    break
        for name, event in EVENT.findall(received[: int(min(most_bytes, len(received)))]):
            self.ids.append(name.decode())
            self.events.append(event)

    @property
    def text(self) -> str:
        assert self.events[-1] == b"data: [DONE]\n\n"
        assert len(set(self.ids)) == len(self.ids) == len(self.events) + 1
        return said(b"".join(self.events))


def said(stream: bytes) -> str:
    """What an event stream of completions or chat chunks adds up to."""
    chunks = [json.loads(data) for data in re.findall(rb"data: (\{.*\})\n\n", stream)]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return "".join(c["text"] if "text" in c else c["delta"].get("content") or "" for c in choices)


def undisturbed(fleet: Fleet, path: str, body: dict[str, Any]) -> str:
    response = fleet.http.post(path, json=body).raise_for_status()
    assert b"\nid: " not in response.content
    return said(response.content)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_stream_that_is_cut_again_and_again_is_the_undisturbed_one(
    two_engines: Fleet, name: str
) -> None:
    path, body = REQUESTS[name]
    client = Client(two_engines, path, body)
    for most_bytes in (1, 400, 3000, 10, 12_345, 20_000):
        client.read(most_bytes)
        assert client.events[-1:] != [b"data: [DONE]\n\n"], "over before it was cut"
    client.read()
    assert client.text == undisturbed(two_engines, path, body)


def test_the_latest_connection_takes_over(two_engines: Fleet) -> None:
    path, body = LASTING
    call = two_engines.http.stream("POST", path, json=body, headers=RESUMABLE)
    with call as response:
        received = response.iter_raw()
        next(received)
        later = Client(two_engines, path, body, [response.headers["x-tokenfleet-stream"]])
        later.read(1000)
        with pytest.raises(RemoteProtocolError):  # cut in mid-stream, not ended
            list(received)
    later.read()
    assert later.text == undisturbed(two_engines, path, body)


def test_its_engine_may_die_while_the_client_is_away(two_engines: Fleet) -> None:
    path, body = LASTING
    expected = undisturbed(two_engines, path, body)
    client = Client(two_engines, path, body)
    client.read(5000)
    two_engines.wait_for_active(1)
    serving = max(two_engines.engines(), key=lambda engine: int(engine["running"]))
    psutil.Process(serving["pid"]).kill()
    client.read()
    assert client.text == expected


def test_a_client_that_does_not_come_back_frees_the_engine(two_engines: Fleet) -> None:
    path, body = ENDLESS
    away = Client(two_engines, path, body)
    away.read(1000)
    two_engines.wait_for_active(1)
    until(
        lambda: two_engines.flights()["active"] == 0,
        within_s=RESUME_WINDOW_S + GENEROUS_S,
        what="the request is aborted",
    )
    # It did not just end, else it were kept for the window still.
    gone = two_engines.http.post(path, json=body, headers={"Last-Event-ID": away.ids[-1]})
    assert gone.status_code == 410
