"""The switch's side towards the API server: the two sockets of vLLM's engine client.

To that client the switch is an engine it did not start itself: it connects, announces itself with
an engine's ready message, reads requests from one socket and writes engine outputs to the other.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import zmq
from vllm.v1.engine import EngineCoreOutputs, EngineCoreRequest, EngineCoreRequestType
from vllm.v1.engine import UtilityOutput as VllmUtilityOutput
from vllm.v1.serial_utils import MsgpackDecoder, UtilityResult

from serve_app.wire import Frames, OutputsCodec, RequestCodec, Result, buffer_of

logger = logging.getLogger("tokenfleet.switch")

FRONT_IDENTITY = (0).to_bytes(2, "little")
"""vLLM names the engine of data-parallel rank 0 so; the API server waits for a message from it."""


@dataclass(frozen=True, slots=True)
class FrontAddresses:
    """Where the API server's engine client binds: it sends requests on `input`, reads `output`."""

    input: str
    output: str

    @classmethod
    def fresh(cls) -> FrontAddresses:
        """Abstract-namespace IPC addresses that no other process uses and that leave no file."""
        stem = f"ipc://@tokenfleet-{os.getpid()}-{uuid.uuid4().hex}"
        return cls(f"{stem}-in", f"{stem}-out")

    def for_vllm(self) -> dict[str, str]:
        """The `client_addresses` argument of vLLM's `AsyncLLM`."""
        return {"input_address": self.input, "output_address": self.output}


class Requests(Protocol):
    """What the API server asks; the switch's core, with the time added."""

    def on_request(self, request: EngineCoreRequest) -> None: ...

    def on_abort(self, request_ids: list[str]) -> None: ...

    def on_utility(self, call_id: int, method: str, args: list[Any]) -> None: ...


class FrontPort:
    """Connected from construction; `core_ready` is the ready message of an engine."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        addresses: FrontAddresses,
        core_ready: bytes,
        requests: Requests,
        register: Callable[[zmq.Socket[bytes], Callable[[], None]], None],
    ) -> None:
        self._requests = requests
        self._request_codec, self._outputs_codec = RequestCodec(), OutputsCodec()
        self._generic_decoder = MsgpackDecoder()
        self._input = context.socket(zmq.DEALER)
        self._input.setsockopt(zmq.IDENTITY, FRONT_IDENTITY)
        self._input.setsockopt(zmq.RCVHWM, 0)
        self._input.connect(addresses.input)
        self._output = context.socket(zmq.PUSH)
        self._output.setsockopt(zmq.SNDHWM, 0)  # a step must never be dropped: it holds tokens
        self._output.connect(addresses.output)
        register(self._input, self._receive)
        self._input.send(core_ready)

    def send(self, outputs: EngineCoreOutputs) -> None:
        """Pass engine outputs on."""
        self._output.send_multipart(self._outputs_codec.encode_bare(outputs), copy=False)

    def answer(self, result: Result) -> None:
        """Answer a utility call."""
        value = None if result.failure is not None else UtilityResult(result.value)
        utility = VllmUtilityOutput(result.call_id, failure_message=result.failure, result=value)
        self.send(EngineCoreOutputs(utility_output=utility))

    def _receive(self) -> None:
        while True:
            try:
                frames = self._input.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._handle(frames)

    def _handle(self, frames: Frames) -> None:
        kind = EngineCoreRequestType(bytes(buffer_of(frames[0])))
        if kind is EngineCoreRequestType.ADD:
            self._requests.on_request(self._request_codec.decode(frames))
        elif kind is EngineCoreRequestType.ABORT:
            self._requests.on_abort(self._generic_decoder.decode(frames[1:]))
        elif kind is EngineCoreRequestType.UTILITY:
            _, call_id, method, args = self._generic_decoder.decode(frames[1:])
            self._requests.on_utility(call_id, method, list(args))
        else:
            logger.error("the API server sent %s, ignored", kind)
