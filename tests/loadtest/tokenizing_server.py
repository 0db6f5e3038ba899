"""A server that knows the demo model's tokens and no more: models, `/tokenize`, `usage`."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.loadtest.demo_target import MAX_MODEL_LEN, TOKENIZER, rendered


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "TokenizingServer"

    def do_GET(self) -> None:
        card = {"id": "demo", "max_model_len": MAX_MODEL_LEN}
        self._answer(200, {"data": [card, {"id": "other"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, self.headers.get("authorization")))
        if self.path == "/tokenize":
            if not self.server.has_route:
                return self._answer(404, {"detail": "Not Found"})
            return self._answer(200, {"count": self._count(body)})
        self._answer(200, {"usage": {"prompt_tokens": self._count(body), "completion_tokens": 1}})

    def _count(self, body: dict[str, Any]) -> int:
        is_chat = "messages" in body
        text = rendered(body["messages"] if is_chat else body["prompt"])
        bos = 1 if not is_chat and body.get("add_special_tokens", True) else 0
        return len(TOKENIZER.encode(text).ids) + bos

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


class TokenizingServer(ThreadingHTTPServer):
    """`asked` has (path, authorization) of every POST."""

    request_queue_size = 64

    def __init__(self, has_route: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.has_route = has_route
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def tokenizing(*, has_route: bool = True) -> Iterator[TokenizingServer]:
    with TokenizingServer(has_route) as server:
        server.daemon_threads = True  # those of kept-alive connections wait for their clients
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
