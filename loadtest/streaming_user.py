"""A Locust user that streams: sends a request, and stamps each piece of the reply as it arrives.

The reply is read with `read1`, which gives what one read of the socket brought (of a chunked body,
one chunk of it at a time), so a stamp is the instant at which the bytes came. Nothing is parsed
here; `loadtest/reply.py` makes sense of the bytes afterwards. Locust's own HTTP events end at the
headers, so `report` fires them: one for the request with its E2E, and one each in the rows TTFT and
TPOT, which Locust's tables then show.

What can happen to a request is data: it ends up in `RawReply.failure`, in the words of
`loadtest/client.py`.
"""

from collections.abc import Iterator, Mapping
from http.client import HTTPException
from time import monotonic

from gevent import GreenletExit, Timeout
from locust import HttpUser
from requests import RequestException
from requests.exceptions import ConnectTimeout
from urllib3.exceptions import HTTPError, NewConnectionError

from loadtest.metrics import RequestSample, e2e_s, tpot_s, ttft_s
from loadtest.reply import RawReply
from loadtest.runtime.connections import read1_of, sent_at_s

READ_BYTES = 65536
STOPPED = "stopped before it ended"
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "text/event-stream",
    "Accept-Encoding": "identity",  # compressing would hold chunks back
}


class StreamingUser(HttpUser):
    """Give `pool_manager` (`loadtest.runtime.connections.pool_of`), so that all users share their
    connections, and instants of sending are known."""

    abstract = True

    def stream(
        self, path: str, body: bytes, timeout_s: float, headers: Mapping[str, str] | None = None
    ) -> RawReply:
        """The reply, or as much of it as came. Connecting is not part of its time.

        A greenlet that is killed meanwhile gets its reply too, with the failure `STOPPED`: whoever
        calls keeps account of it, and then ends.
        """
        reply = RawReply(t0_s=monotonic())
        deadline = Timeout(timeout_s)
        deadline.start()
        try:
            self._receive(reply, path, body, HEADERS | dict(headers or {}))
        except Timeout as error:
            if error is not deadline:
                raise
            reply.failure = f"timeout after {timeout_s:g} s"
        except GreenletExit:
            reply.failure = STOPPED
        except (RequestException, HTTPError, HTTPException, OSError) as error:
            reply.failure = failure_of(error)
        finally:
            deadline.close()
        return reply

    def _receive(self, reply: RawReply, path: str, body: bytes, headers: dict[str, str]) -> None:
        # Entered as a context, the response would fire an event without the body's time.
        response = self.client.post(
            path,
            data=body,
            headers=headers,
            stream=True,
            catch_response=True,
            allow_redirects=False,
        )
        if response.error is not None:
            raise response.error
        raw = response.raw
        reply.t0_s = sent_at_s(raw) or reply.t0_s
        reply.status = response.status_code
        read, keep, clock = read1_of(raw), reply.parts.append, monotonic
        try:
            while data := read(READ_BYTES):
                keep((clock(), data))
            raw.release_conn()
        finally:  # no-op where the reply was read to its end: the connection is in the pool again
            response.close()

    def report(self, kind: str, sample: RequestSample, response_bytes: int) -> None:
        """One request, to Locust's statistics."""
        fire = self.environment.events.request.fire
        error = None if sample.error is None else RequestFailed(sample.error)
        durations_s = {"POST": e2e_s(sample)}
        if error is None:
            durations_s |= {"TTFT": ttft_s(sample), "TPOT": tpot_s(sample)}
        for request_type, duration_s in durations_s.items():
            if duration_s is not None or request_type == "POST":
                fire(
                    request_type=request_type,
                    name=kind,
                    response_time=(duration_s or 0.0) * 1e3,
                    response_length=response_bytes if request_type == "POST" else 0,
                    exception=error,
                    context={},
                )


class RequestFailed(Exception):
    """Why a request failed, for Locust's table of failures."""


def failure_of(error: BaseException) -> str:
    """In the words of `loadtest/client.py`: by its first cause, which requests and urllib3 wrap."""
    causes = list(_causes(error))
    connecting = any(isinstance(cause, NewConnectionError | ConnectTimeout) for cause in causes)
    said = str(causes[-1])[:200] or type(causes[-1]).__name__
    return f"{'connect' if connecting else 'disconnected'}: {said}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what caused it, and so on to the first cause."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
