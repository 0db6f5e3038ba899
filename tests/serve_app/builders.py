"""Builders of the values that the switch's tests are made of, and a recorder of what it sends."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import msgspec
from vllm.pooling_params import PoolingParams
from vllm.sampling_params import SamplingParams
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs, EngineCoreRequest, FinishReason

from cluster.failover import FailoverLimits
from cluster.routing import Router
from cluster.routing.least_load import LeastOutstandingTokens
from cluster.types import ReplicaId
from serve_app.engine_choice import OnDecision
from serve_app.switch_core import SwitchCore
from serve_app.wire import Ready, Result, Utility
from serve_app.wire_security import WireKeys

SESSION = "s"
SECRET = "the wire secret of every test's cluster"
KEYS = WireKeys.of([SECRET])


def request(
    request_id: str = "r", *, prompt: tuple[int, ...] = (1, 2, 3), **sampling: object
) -> EngineCoreRequest:
    """A request for plain greedy decoding unless `sampling` says otherwise."""
    params = SamplingParams(**{"temperature": 0.0, "max_tokens": 64, **sampling})  # type: ignore[arg-type]
    return EngineCoreRequest(
        request_id=request_id,
        prompt_token_ids=list(prompt),
        mm_features=None,
        sampling_params=params,
        pooling_params=None,
        arrival_time=0.0,
        lora_request=None,
        cache_salt=None,
        data_parallel_rank=None,
        external_req_id=f"external-{request_id}",
    )


def pooling_request(request_id: str = "r") -> EngineCoreRequest:
    """A request for an embedding."""
    pooling = PoolingParams(task="embed")
    return msgspec.structs.replace(
        request(request_id), sampling_params=None, pooling_params=pooling
    )


def ready(
    engine_id: str, *, fingerprint: str = "weights", can_replay: bool = True, clock_s: float = 0.0
) -> Ready:
    return Ready(
        version=1,
        engine_id=engine_id,
        pid=1,
        node="node",
        fingerprint=fingerprint,
        can_replay=can_replay,
        clock_s=clock_s,
        core_ready=b"",
        block_tokens=16,
        kv_total_tokens=0,
    )


def output(
    attempt_id: str, *tokens: int, finish: FinishReason | None = None, **more: object
) -> EngineCoreOutput:
    return EngineCoreOutput(
        request_id=attempt_id,
        new_token_ids=list(tokens),
        finish_reason=finish,
        **more,  # type: ignore[arg-type]
    )


def step(*outputs: EngineCoreOutput) -> EngineCoreOutputs:
    return EngineCoreOutputs(outputs=list(outputs), timestamp=1.0)


@dataclass
class Recorder:
    """`Ports` that remember: what each engine and the API server was sent, in order."""

    added: list[tuple[ReplicaId, EngineCoreRequest]] = field(default_factory=list)
    aborted: list[tuple[ReplicaId, str]] = field(default_factory=list)
    asked: list[tuple[ReplicaId, Utility]] = field(default_factory=list)
    caches_asked: list[ReplicaId] = field(default_factory=list)
    passed: list[EngineCoreOutput] = field(default_factory=list)
    answers: list[Result] = field(default_factory=list)

    def add(self, engine_id: ReplicaId, request: EngineCoreRequest) -> None:
        self.added.append((engine_id, request))

    def abort(self, engine_id: ReplicaId, attempt_ids: list[str]) -> None:
        self.aborted += [(engine_id, attempt_id) for attempt_id in attempt_ids]

    def ask(self, engine_id: ReplicaId, call: Utility) -> None:
        self.asked.append((engine_id, call))

    def ask_cache(self, engine_id: ReplicaId) -> None:
        self.caches_asked.append(engine_id)

    def outputs(self, outputs: EngineCoreOutputs) -> None:
        self.passed += outputs.outputs

    def answer(self, result: Result) -> None:
        self.answers.append(result)

    @property
    def last_added(self) -> EngineCoreRequest:
        return self.added[-1][1]

    def tokens_of(self, request_id: str) -> list[int]:
        """Every output token the API server got for a request, in order."""
        return [
            token
            for passed in self.passed
            if passed.request_id == request_id
            for token in passed.new_token_ids
        ]


def make_core(
    *engines: str,
    limits: FailoverLimits | None = None,
    max_flights: int = 1000,
    seed: int = 0,
    router: Router | None = None,
    on_decision: OnDecision | None = None,
) -> tuple[SwitchCore, Recorder]:
    """A core with these engines ready at time 0, and its recorder."""
    recorder = Recorder()
    core = SwitchCore(
        router=router or LeastOutstandingTokens(),
        rng=random.Random(seed),
        limits=limits or FailoverLimits(),
        max_flights=max_flights,
        ports=recorder,
        session=SESSION,
        on_decision=on_decision,
    )
    for engine_id in engines:
        core.engine_joined(ReplicaId(engine_id), ready(engine_id), 0.0)
    return core, recorder
