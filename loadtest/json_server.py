"""Small JSON questions to a server before the load starts: models, token counts. Not the load's
client, which is `loadtest/client.py`: here nothing is measured, and https is welcome.
"""

import json
from collections.abc import Mapping
from typing import Any

import urllib3

from loadtest.reply import message_of

TIMEOUT_S = 60.0


class ServerError(Exception):
    """The server could not be asked, or refused; `status` is None where there was no answer."""

    def __init__(self, url: str, status: int | None, message: str) -> None:
        super().__init__(url, status, message)
        self.url, self.status, self.message = url, status, message

    def __str__(self) -> str:
        status = "" if self.status is None else f"http {self.status}: "
        return f"{self.url}: {status}{self.message}"


class JsonServer:
    """Safe to use from several threads. Redirects are not followed: a key stays with its server.

    Each question has its own connection: under gevent a socket belongs to the thread that opened
    it, and cannot even be closed once that is gone.
    """

    def __init__(self, base_url: str, headers: Mapping[str, str] | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        self._headers = dict(headers or {})

    def get(self, path: str) -> dict[str, Any]:
        """Raises ServerError, also for an answer that is not a JSON object."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Raises ServerError, also for an answer that is not a JSON object."""
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        url = self.base_url + path
        try:
            with urllib3.PoolManager(timeout=TIMEOUT_S, retries=False) as pool:
                response = pool.request(method, url, json=body, headers=self._sent_headers(body))
        except urllib3.exceptions.HTTPError as error:
            raise ServerError(url, None, str(error)) from None
        answer = _decoded(response.data)
        if response.status != 200:
            said = response.data[:200].decode(errors="replace")
            message = said if answer is None else message_of(answer)
            raise ServerError(url, response.status, message)
        if not isinstance(answer, dict):
            raise ServerError(url, response.status, f"not a JSON object: {response.data[:80]!r}")
        return answer

    def _sent_headers(self, body: Mapping[str, Any] | None) -> dict[str, str]:
        # Given headers replace those that urllib3 would send, so the content type has to be said.
        content = {} if body is None else {"Content-Type": "application/json"}
        return content | self._headers


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None
