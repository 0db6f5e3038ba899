"""The API server's side of a switch: vLLM's engine client, reduced to its two sockets."""

from __future__ import annotations

import time
from typing import Any

import zmq
from vllm.v1.engine import EngineCoreOutputs, EngineCoreRequest, EngineCoreRequestType
from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

from serve_app.front_port import FRONT_IDENTITY, FrontAddresses

DEADLINE_S = 10.0


class Front:
    """Sends as `AsyncMPClient` does; `answers` collects tokens by request id as they come."""

    def __init__(self, addresses: FrontAddresses) -> None:
        self._context = zmq.Context()
        self._input = self._context.socket(zmq.ROUTER)
        self._input.bind(addresses.input)
        self._output = self._context.socket(zmq.PULL)
        self._output.bind(addresses.output)
        self._encoder, self._decoder = MsgpackEncoder(), MsgpackDecoder(EngineCoreOutputs)
        self.tokens: dict[str, list[int]] = {}
        self.finished: dict[str, Any] = {}
        self.longest_gap_s = 0.0
        self._last_s = time.monotonic()

    def wait_ready(self) -> bytes:
        """The ready message of the (one) engine."""
        assert self._input.poll(DEADLINE_S * 1000)
        identity, payload = self._input.recv_multipart()
        assert identity == FRONT_IDENTITY
        return payload

    def add(self, request: EngineCoreRequest) -> None:
        self._send(EngineCoreRequestType.ADD, request)

    def abort(self, *request_ids: str) -> None:
        self._send(EngineCoreRequestType.ABORT, list(request_ids))

    def ask(self, call_id: int, method: str, *args: Any) -> None:
        """A utility call whose answer is not waited for."""
        self._send(EngineCoreRequestType.UTILITY, (0, call_id, method, args))

    def call(self, call_id: int, method: str, *args: Any) -> Any:
        """A utility call; returns its `UtilityOutput`."""
        self.ask(call_id, method, *args)
        deadline_s = time.monotonic() + DEADLINE_S
        while (outputs := self._receive()).utility_output is None:
            assert time.monotonic() < deadline_s, f"{method} was not answered"
        assert outputs.utility_output.call_id == call_id
        return outputs.utility_output

    def read_until_tokens(self, request_id: str, count: int) -> list[int]:
        """Read until a request has `count` tokens."""
        deadline_s = time.monotonic() + DEADLINE_S
        while len(self.tokens.get(request_id, ())) < count:
            assert time.monotonic() < deadline_s, f"only {self.tokens.get(request_id)} came"
            self._receive()
        return self.tokens[request_id]

    def read_until_finished(self, *request_ids: str) -> None:
        """Read until every one of these has a finish reason."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not set(request_ids) <= set(self.finished):
            assert time.monotonic() < deadline_s, f"finished: {set(self.finished)}"
            self._receive()

    def close(self) -> None:
        self._context.destroy(linger=0)

    def _send(self, kind: EngineCoreRequestType, body: Any) -> None:
        self._input.send_multipart([FRONT_IDENTITY, kind.value, *self._encoder.encode(body)])

    def _receive(self) -> EngineCoreOutputs:
        assert self._output.poll(DEADLINE_S * 1000), f"nothing came in {DEADLINE_S} s"
        outputs = self._decoder.decode(self._output.recv_multipart())
        for output in outputs.outputs:
            self._note_gap()
            self.tokens.setdefault(output.request_id, []).extend(output.new_token_ids)
            if output.finish_reason is not None:
                assert output.request_id not in self.finished, "finished twice"
                self.finished[output.request_id] = output.finish_reason
        return outputs

    def _note_gap(self) -> None:
        now_s = time.monotonic()
        self.longest_gap_s = max(self.longest_gap_s, now_s - self._last_s)
        self._last_s = now_s
