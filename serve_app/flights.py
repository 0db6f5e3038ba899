"""A flight: one request in the air between an API server and whichever engine now serves it.

Holds what a move needs (the request, the tokens the client already has) and turns the outputs of
any attempt into the outputs of *the* request: forced tokens of a replay are checked and swallowed,
what only a first attempt may say (prefill statistics, prompt logprobs) is said once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vllm.v1.engine import EngineCoreOutput, EngineCoreRequest
from vllm.v1.outputs import LogprobsLists

from cluster.admission.usage import FlightAccount
from cluster.failover import FailoverLimits, LossCause, RequestTraits, ResumeKind, ends_soon
from cluster.lifecycle import FLIGHT, FlightEvent, FlightState
from cluster.types import ReplicaId
from serve_app.resume import prompt_tokens

UNBOUNDED_TOKENS = 2**31
"""Left to come where nothing says how many: more than any model's context."""


class ReplayDivergedError(Exception):
    """An engine did not repeat a forced token: its outputs must not reach the client."""


@dataclass(slots=True)
class Attempt:
    """On one engine: sent at one time, over at another (0 until then); `cause` says why it was
    lost, if it was."""

    engine_id: ReplicaId
    sent_at_s: float
    over_at_s: float = 0.0
    cause: LossCause | None = None


@dataclass(slots=True)
class Flight:
    """`attempt_id` and `engine_id` name the live attempt; both are None while it is held.

    `emitted` are the output token ids passed on to the API server, in order, over all attempts.
    `losses` counts the unplanned ones, `died_on` names the engines that seem to have died of it.
    The live attempt was sent at `sent_at_s`; `replay_left` is how many of its next tokens are
    repetitions. Its first own tokens came at `first_step_at_s`, after `first_step_tokens` of
    earlier attempts. The request itself came at `arrived_at_s`, its first answer, of whichever
    attempt, at `began_at_s`, from an engine that had `cached_tokens` of the prompt, where it said
    so. `lost`: its last engine before this one, and why, at `lost_at_s`; `tried`: all it had, and
    the live one. `account`: what it used.
    One that is `pausable` may be taken from its engine for others.
    """

    request: EngineCoreRequest
    traits: RequestTraits
    emitted: list[int] = field(default_factory=list)
    state: FlightState = FlightState.HELD
    losses: int = 0
    died_on: set[ReplicaId] = field(default_factory=set)
    hedged: bool = False
    attempt_id: str | None = None
    engine_id: ReplicaId | None = None
    fingerprint: str | None = None
    replay_left: int = 0
    held_since_s: float | None = None
    sent_at_s: float = 0.0
    answered: bool = False
    cached_tokens: int | None = None
    first_step_at_s: float | None = None
    first_step_tokens: int = 0
    arrived_at_s: float = 0.0
    began_at_s: float | None = None
    pausable: bool = False
    lost: tuple[ReplicaId, LossCause] | None = None
    lost_at_s: float = 0.0
    tried: list[Attempt] = field(default_factory=list)
    account: FlightAccount = field(init=False)
    _accounted_tokens: int = 0

    def __post_init__(self) -> None:
        self.account = FlightAccount(prompt_tokens=prompt_tokens(self.request))

    @property
    def attempts(self) -> int:
        return len(self.tried)

    @property
    def held_tokens(self) -> int:
        """Prompt and output so far."""
        return prompt_tokens(self.request) + len(self.emitted)

    @property
    def left_tokens(self) -> int:
        """That may still come, at most."""
        params = self.request.sampling_params
        most = None if params is None else params.max_tokens
        return UNBOUNDED_TOKENS if most is None else most - len(self.emitted)

    @property
    def name(self) -> str:
        """The API server's; all answers to one request have it."""
        return self.request.external_req_id or self.request_id

    @property
    def request_id(self) -> str:
        return self.request.request_id

    def advance(self, event: FlightEvent) -> None:
        """Go on in `cluster.lifecycle`'s table."""
        self.state = FLIGHT[self.state][event]

    def start_attempt(
        self, attempt_id: str, engine_id: ReplicaId, kind: ResumeKind, now_s: float
    ) -> None:
        """Record that the request now runs on `engine_id` under `attempt_id`."""
        self.advance(FlightEvent.SENT)
        self.attempt_id, self.engine_id, self.sent_at_s = attempt_id, engine_id, now_s
        self.tried.append(Attempt(engine_id, now_s))
        self.account.sent(attempt_id, now_s)
        self.replay_left = len(self.emitted) if kind is ResumeKind.REPLAY else 0
        self.held_since_s = self.first_step_at_s = None

    def ends_soon(self, now_s: float, limits: FailoverLimits) -> bool:
        """Whether it is not worth moving away from an engine that leaves."""
        params = self.request.sampling_params
        if self.first_step_at_s is None or params is None:
            return False
        most = params.max_tokens
        return ends_soon(
            left_tokens=None if most is None else most - len(self.emitted),
            emitted_tokens=len(self.emitted) - self.first_step_tokens,
            elapsed_s=now_s - self.first_step_at_s,
            limits=limits,
        )

    def lose(self, cause: LossCause, now_s: float) -> None:
        """Record that its engine is lost to it."""
        self.advance(FlightEvent.LOST)
        self.losses += not cause.is_planned
        self.hedged |= cause is LossCause.HEDGED
        if self.engine_id is not None:
            self.lost, self.lost_at_s = (self.engine_id, cause), now_s
            self.tried[-1].cause = cause
            if cause.is_death:
                self.died_on.add(self.engine_id)

    def detach(self, now_s: float) -> None:
        """Forget the live attempt: whatever it still says is stale."""
        if self.attempt_id is not None:
            self.tried[-1].over_at_s = now_s
            new_tokens = len(self.emitted) - self._accounted_tokens
            self.account.answered(self.attempt_id, new_tokens, self.cached_tokens)
            self.account.over(self.attempt_id, now_s)
            self._accounted_tokens += new_tokens
        self.attempt_id = self.engine_id = None

    def accept(
        self, output: EngineCoreOutput, clock_shift_s: float, now_s: float
    ) -> EngineCoreOutput | None:
        """The output to pass on for one of the live attempt's, or None to swallow it.

        Changes `output` in place: it was decoded for us alone.

        Raises:
            ReplayDivergedError: a forced token did not come back.
        """
        if self.replay_left and not self._swallow_replayed(output):
            return None
        if self.attempts > 1:
            self._strip_repeated(output)
        elif output.events:
            for event in output.events:
                event.timestamp += clock_shift_s
        if not self.answered:
            self.answered = True
            if output.prefill_stats is not None:
                self.cached_tokens = output.prefill_stats.num_cached_tokens
        if self.first_step_at_s is None:
            self.first_step_at_s, self.first_step_tokens = now_s, len(self.emitted)
        self.emitted.extend(output.new_token_ids)
        output.request_id = self.request_id
        return output

    def _swallow_replayed(self, output: EngineCoreOutput) -> bool:
        """Drop the repeated head of `output`; False when nothing is left of it."""
        tokens = output.new_token_ids
        repeated = min(self.replay_left, len(tokens))
        start = len(self.emitted) - self.replay_left
        if tokens[:repeated] != self.emitted[start : start + repeated]:
            raise ReplayDivergedError(
                f"request {self.request_id}: token {start} onwards was to be "
                f"{self.emitted[start : start + repeated]}, the engine produced {tokens[:repeated]}"
            )
        self.replay_left -= repeated
        if repeated == len(tokens) and output.finish_reason is None:
            return False
        output.new_token_ids = tokens[repeated:]
        if output.new_logprobs is not None:
            output.new_logprobs = _without_head(output.new_logprobs, repeated)
        return True

    def _strip_repeated(self, output: EngineCoreOutput) -> None:
        """Remove what an earlier attempt has, or may have, already said.

        Events of several engines have several clocks, so a moved request reports none.
        """
        output.events = None
        if self.answered:
            output.prefill_stats = None
            output.new_prompt_logprobs_tensors = None
            output.prompt_token_id_logprobs = None


def _without_head(logprobs: LogprobsLists, positions: int) -> LogprobsLists:
    return LogprobsLists(
        logprobs.logprob_token_ids[positions:],
        logprobs.logprobs[positions:],
        logprobs.sampled_token_ranks[positions:],
    )
