"""One HTTP request to an ASGI app, watched while it is answered (HTTP test clients wait for the
whole answer)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.types import ASGIApp, Message

from tests.waiting import eventually


class AsgiCall:
    """Starts at once, on the running loop; `leave` is the client hanging up."""

    def __init__(
        self,
        app: ASGIApp,
        path: str,
        body: dict[str, Any] | bytes,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.content = b""
        self._body = body if isinstance(body, bytes) else json.dumps(body).encode()
        path, _, query = path.partition("?")
        self._sent = False
        self._gone = asyncio.Event()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [
                (b"host", b"gateway"),
                (b"content-type", b"application/json"),
                *((k.lower().encode(), v.encode()) for k, v in (headers or {}).items()),
            ],
            "client": ("127.0.0.1", 1),
            "server": ("gateway", 80),
        }
        self._task = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self) -> Message:
        if not self._sent:
            self._sent = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            self.content += message.get("body", b"")

    def leave(self) -> None:
        self._gone.set()

    async def finish(self) -> AsgiCall:
        """Wait for the end of the answer."""
        await asyncio.wait_for(self._task, 10)
        return self

    async def events(self, count: int) -> None:
        """Wait until so many events of the stream have come."""
        await eventually(lambda: len(self._events()) >= count)

    def _events(self) -> list[str]:
        text = self.content.decode(errors="ignore")
        return [part.removeprefix("data: ") for part in text.split("\n\n")[:-1]]

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.content)

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """The JSON of every event of a stream that has ended, without the closing `[DONE]`."""
        *events, done = self._events()
        assert done == "[DONE]"
        return [json.loads(event) for event in events]

    @property
    def text(self) -> str:
        """What a streamed chat says, or an answer that came whole."""
        if not self.headers["content-type"].startswith("text/event-stream"):
            return self.json["choices"][0]["message"]["content"]
        deltas = [choice["delta"] for chunk in self.chunks for choice in chunk["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas)
