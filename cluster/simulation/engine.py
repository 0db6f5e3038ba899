"""One vLLM engine in simulated time: its scheduler's steps, as long as the step-time model says.

Steps that are alike are taken at once (`Segment`), until one of their requests ends, no block is
left, or a request arrives; a look at the engine in between (`sync`) brings its state up to the step
under way. What the engine does is the same as step by step, up to rounding. Two things others see
are coarser: the blocks that decoding fills and evicts are known at the next look, and steps taken
at once are shown to the cost learner as one, of their mean duration.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.routing.step_cost import StepCostLearner
from cluster.simulation.job import Job
from cluster.simulation.scheduler import EngineLimits, Outcome, Plan, Scheduler
from cluster.simulation.segment import Segment
from cluster.simulation.step_time import StepTime
from cluster.types import BlockHash, LoadReport


@dataclass(slots=True)
class Done:
    """What an engine has done so far."""

    prefill_tokens: int = 0
    decode_tokens: int = 0
    busy_s: float = 0.0
    steps: int = 0

    @property
    def tokens(self) -> int:
        """All that were computed."""
        return self.prefill_tokens + self.decode_tokens


class Engine:
    """`jump` False takes every step by itself: slower, and only to compare with."""

    def __init__(self, limits: EngineLimits, step_time: StepTime, *, jump: bool = True) -> None:
        self.done = Done()
        self._scheduler = Scheduler(limits)
        self._step_time = step_time
        self._jump = jump
        self._learner = StepCostLearner()
        self._plan: Plan | None = None
        self._segment: Segment | None = None

    @property
    def due_s(self) -> float | None:
        """When `step` is to be called; None while there is nothing to do."""
        return None if self._segment is None else self._segment.end_s

    def add(self, job: Job, now_s: float) -> None:
        """Raises ValueError for a request that can never fit."""
        self._scheduler.add(job)
        if self._segment is None:
            self._begin(now_s)
        else:
            self._segment.cut(now_s)

    def step(self) -> Outcome:
        """Ends the step under way, at `due_s`, and begins the next."""
        segment, plan = self._segment, self._plan
        assert segment, "an idle engine takes no step"
        assert plan
        self._count(segment, segment.steps)
        outcome = self._scheduler.complete(plan, segment.steps)
        self._begin(segment.end_s)
        return outcome

    def sync(self, now_s: float) -> None:
        """Brings the state up to the step under way at `now_s`."""
        segment = self._segment
        if segment is None:
            return
        over = min(segment.over_by(now_s), segment.steps - 1)
        if over > 0:
            self._count(segment, over)
            self._scheduler.advance(over)
            segment.drop(over)

    def load(self, received: int) -> LoadReport:
        """Its load as of the last `sync`; `received` is the reading gateway's."""
        running = self._scheduler.running
        lacking = [job.tokens - job.computed for job in running if not job.decodes]
        return LoadReport(
            running_requests=len(running),
            waiting_requests=len(self._scheduler.waiting),
            decode_requests=len(running) - len(lacking),
            queued_prefill_tokens=sum(lacking) + self._scheduler.waiting_prefill_tokens,
            kv_use_frac=self._scheduler.cache.use_frac,
            received=received,
            step_cost=self._learner.cost,
        )

    def cache_changes(self) -> tuple[list[BlockHash], list[BlockHash]]:
        """Blocks stored and removed since the last call."""
        return self._scheduler.cache.changes()

    @property
    def cached_blocks(self) -> int:
        """Blocks that a request could find."""
        return self._scheduler.cache.findable_blocks

    def _begin(self, now_s: float) -> None:
        plan = self._plan = self._scheduler.plan()
        if plan is None:
            self._segment = None
            return
        most_steps = self._scheduler.steps_alike(plan) if self._jump else 1
        self._segment = Segment(self._step_time, plan.work, most_steps, now_s)

    def _count(self, segment: Segment, steps: int) -> None:
        taken_s = segment.after_s(steps) - segment.start_s
        work = segment.work
        self.done.steps += steps
        self.done.busy_s += taken_s
        self.done.prefill_tokens += steps * work.prefill_tokens
        self.done.decode_tokens += steps * work.decode_requests
        step_s = taken_s / steps
        self._learner.observe(work.prefill_tokens, work.decode_requests, step_s, steps)
