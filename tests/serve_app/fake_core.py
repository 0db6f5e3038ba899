"""A core that answers at once: stands where vLLM's core client does, under a real engine host.

Its "model" is a function of the token sequence, so any engine continues any prefix alike, as a real
greedy model does; forced tokens are honoured. It speaks only through the host, hence over the real
wire.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

import torch
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs, EngineCoreRequest, FinishReason
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.metrics.stats import SchedulerStats

from cluster.stall import StepClock
from serve_app.engine_address import EngineAddress
from serve_app.engine_host import EngineHost
from serve_app.host_identity import HostIdentity
from serve_app.kv_events import KvEvents
from serve_app.link import Heartbeat
from serve_app.replay import forced_tokens
from serve_app.wire_security import WireKeys
from tests.serve_app.builders import KEYS
from tests.serve_app.vllm_cache import PublishedCache

HEARTBEAT = Heartbeat(0.1, 0.5)
EMBEDDING = torch.arange(8, dtype=torch.float32)


def next_token(sequence: list[int]) -> int:
    """The fake model: what follows a sequence of token ids."""
    return (31 * sum(sequence) + len(sequence)) % 997 + 3


def continuation(prompt: list[int], tokens: int) -> list[int]:
    """The fake model's answer to a prompt."""
    sequence = list(prompt)
    for _ in range(tokens):
        sequence.append(next_token(sequence))
    return sequence[len(prompt) :]


class FakeCore:
    """One token per running request per step; a step is taken when `gate` lets it.

    `steps_allowed` None: runs freely. A number: that many steps, then it waits (`allow`). `cache`
    is where prompts are cached when their first token is out.
    """

    def __init__(
        self,
        steps_allowed: int | None = None,
        task: str = "generate",
        cache: PublishedCache | None = None,
    ) -> None:
        self.cache = cache
        self.running: dict[str, tuple[EngineCoreRequest, list[int]]] = {}
        self.added: list[EngineCoreRequest] = []
        self.aborted: list[str] = []
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.answers: dict[str, Any] = {"get_supported_tasks": [task]}
        self.dead = False
        self.steps = 0
        self._allowed = steps_allowed
        self._wake = asyncio.Event()

    def allow(self, steps: int | None) -> None:
        """Let it take `steps` more (None: all)."""
        self._allowed = None if steps is None else (self._allowed or 0) + steps
        self._wake.set()

    def die(self) -> None:
        """What vLLM's client says when the core process is gone."""
        self.dead = True
        self._wake.set()

    async def add_request_async(self, request: EngineCoreRequest) -> None:
        self.added.append(request)
        self.running[request.request_id] = (request, [])
        self._wake.set()

    async def abort_requests_async(self, request_ids: list[str]) -> None:
        self.aborted += request_ids
        for request_id in request_ids:
            self.running.pop(request_id, None)

    async def call_utility_async(self, method: str, *args: Any) -> Any:
        self.calls.append((method, args))
        answer = self.answers.get(method)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def get_output_async(self) -> EngineCoreOutputs:
        while not self.dead and (not self.running or self._allowed == 0):
            self._wake.clear()
            await self._wake.wait()
        if self.dead:
            raise EngineDeadError
        if self._allowed is not None:
            self._allowed -= 1
        await asyncio.sleep(0)
        return self._step()

    def _step(self) -> EngineCoreOutputs:
        self.steps += 1
        outputs = [
            self._token(*entry) if entry[0].pooling_params is None else self._embedding(entry[0])
            for entry in list(self.running.values())
        ]
        stats = SchedulerStats(num_running_reqs=len(self.running), kv_cache_usage=0.25)
        return EngineCoreOutputs(outputs=outputs, scheduler_stats=stats)

    def _token(self, request: EngineCoreRequest, done: list[int]) -> EngineCoreOutput:
        params = request.sampling_params
        forced = forced_tokens(params)
        index = len(done)
        sequence = [*request.prompt_token_ids, *done]
        token = forced[index] if index < len(forced) else next_token(sequence)
        if self.cache is not None and not done:
            self.cache.run(request)
        done.append(token)
        finished = len(done) >= params.max_tokens
        if finished:
            del self.running[request.request_id]
        return EngineCoreOutput(
            request_id=request.request_id,
            new_token_ids=[token],
            finish_reason=FinishReason.LENGTH if finished else None,
        )

    def _embedding(self, request: EngineCoreRequest) -> EngineCoreOutput:
        del self.running[request.request_id]
        return EngineCoreOutput(
            request_id=request.request_id,
            new_token_ids=[],
            pooling_output=EMBEDDING,
            finish_reason=FinishReason.STOP,
        )


class HostThread:
    """A real engine host over a fake core, on an event loop of its own thread.

    `core_ready` is the core's ready message, for API servers that read it; `keys` say which
    switches it lets in. With `cache_blocks` it has a prefix cache, vLLM's own, of so many.
    """

    def __init__(
        self,
        engine_id: str,
        *,
        core_ready: bytes | None = None,
        stall_timeout_s: float | None = None,
        keys: WireKeys = KEYS,
        block_tokens: int = 16,
        cache_blocks: int = 0,
        max_num_seqs: int | None = None,
        **core: Any,
    ) -> None:
        self.block_tokens, self._max_num_seqs = block_tokens, max_num_seqs
        self.clock, self._keys = StepClock(stall_timeout_s), keys
        self.engine_id = engine_id
        self._core_ready = core_ready or b"ready of " + engine_id.encode()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.cache = PublishedCache(cache_blocks, block_tokens) if cache_blocks else None
        events = self.await_there(self.cache.followed()) if self.cache else None
        self.core: FakeCore = self.call(lambda: FakeCore(cache=self.cache, **core))
        self.host: EngineHost
        self.address: EngineAddress
        self.host, self.address = self.call(lambda: self._make(events))

    def _make(self, events: KvEvents | None) -> tuple[EngineHost, EngineAddress]:
        identity = HostIdentity(
            engine_id=self.engine_id,
            node="node",
            fingerprint="weights",
            can_replay=True,
            core_ready=self._core_ready,
            block_tokens=self.block_tokens,
            kv_total_tokens=0,
            max_num_seqs=self._max_num_seqs,
        )
        host = EngineHost(self.core, identity, HEARTBEAT, self._keys.accepted, self.clock, events)
        return host, host.start("127.0.0.1")

    def call(self, function: Callable[[], Any]) -> Any:
        """Run `function` on the host's loop and wait for its value."""
        done: Future[Any] = Future()

        def run() -> None:
            try:
                done.set_result(function())
            except Exception as error:
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result(5)

    def leave(self) -> None:
        """A planned removal: says goodbye."""
        self.await_there(self.host.stop("removed"))

    def await_there(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the host's loop and wait for what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(5)

    def drain(self, timeout_s: float = 5.0) -> Future[bool]:
        """Start a planned removal; done when nothing runs there, or it took too long."""
        draining = self.host.drain("scaled down", timeout_s)
        return asyncio.run_coroutine_threadsafe(draining, self._loop)

    def kill(self) -> None:
        """What a killed process looks like from outside: its sockets close, nothing is said."""
        self.call(self.host.crash)

    def close(self) -> None:
        """End the thread."""
        self.call(self.host.crash)
        if self.cache is not None:
            self.cache.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
