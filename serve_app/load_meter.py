"""What an engine host reports of its engine's load: counted from what goes in and comes out.

vLLM's scheduler says how many requests run and wait, and how full the cache is. What routing needs
besides, and no statistic of vLLM's holds, is how many prompt tokens are still to be computed, over
all gateways, and what a step costs here. That is learnt from vLLM's account of what was in each
step (its iteration details) and from how long after the step before it came. Their own
`elapsed_ms` will not do: it is how long the core waited for a step that it had handed on, which is
nothing where the core computes it itself.
"""

from __future__ import annotations

from vllm.v1.engine import EngineCoreOutput
from vllm.v1.metrics.stats import SchedulerIterationDetails, SchedulerStats

from cluster.routing.step_cost import StepCostLearner
from serve_app.wire import Load


class LoadMeter:
    """Tell it of every request that is `added` or `gone`, and of every step. `begun_requests`: how
    many have got the first token of their prompt.

    Times are of the machine's monotonic clock, which the core in its own process reads too.
    """

    def __init__(self) -> None:
        self.begun_requests = 0
        self._waiting: dict[str, int] = {}  # prompt tokens to compute, of requests without a token
        self._to_compute = 0  # their sum
        self._computed = 0  # of it
        self._decoding: set[str] = set()
        self._steps = 0
        self._busy_since_s = 0.0
        self._last_step_s = 0.0
        self._core = Load(0, 0, 0.0, 0)
        self._cost = StepCostLearner()

    def added(self, request_id: str, prefill_tokens: int, now_s: float) -> None:
        """A request, or the next piece of one's input, goes to the core, which holds all but so
        many tokens of it."""
        if self._is_idle():
            self._busy_since_s = now_s
        self._decoding.discard(request_id)
        self._waiting[request_id] = self._waiting.get(request_id, 0) + prefill_tokens
        self._to_compute += prefill_tokens

    def output(self, output: EngineCoreOutput) -> None:
        """A request's part of a step."""
        if output.request_id in self._waiting and output.new_token_ids:
            self.begun_requests += 1
            self._leave_queue(output.request_id)
            self._decoding.add(output.request_id)
        if output.finish_reason is not None:
            self.gone(output.request_id)

    def gone(self, request_id: str) -> None:
        """It is finished or aborted. Unknown ones are ignored."""
        self._leave_queue(request_id)
        self._decoding.discard(request_id)

    def _leave_queue(self, request_id: str) -> None:
        tokens = self._waiting.pop(request_id, 0)
        self._to_compute -= tokens
        # Whose tokens were computed is not known; what is left of those computed is others'.
        self._computed = max(self._computed - tokens, 0) if self._waiting else 0

    def step(self, stats: SchedulerStats, at_s: float) -> None:
        """The scheduler's account of a step that the core had done at `at_s`."""
        waiting = stats.num_waiting_reqs + stats.num_skipped_waiting_reqs
        self._core = Load(stats.num_running_reqs, waiting, stats.kv_cache_usage, self._steps)
        step_s = at_s - max(self._last_step_s, self._busy_since_s)
        self._last_step_s = at_s
        if stats.iteration_details is not None and not stats.iteration_details.is_dummy:
            self._learn(stats.iteration_details, step_s)

    def _learn(self, step: SchedulerIterationDetails, step_s: float) -> None:
        if self._waiting:
            self._computed += step.num_ctx_tokens
        if step_s > 0.0:  # else it was for requests that had been aborted before these came
            self._cost.observe(step.num_ctx_tokens, step.num_generation_requests, step_s)

    def count_step(self) -> None:
        """A step that had output is passed on."""
        self._steps += 1

    def _is_idle(self) -> bool:
        return not self._waiting and not self._decoding

    def load(self, *, received: int, bad_messages: int) -> Load:
        """The report for a switch that has sent `received` requests over this connection.

        Where nothing runs, the core's last word may be of what was aborted since: then it takes no
        step, and says no more.
        """
        idle = self._is_idle()
        core, cost = self._core, self._cost.cost
        given = len(self._waiting) + len(self._decoding)  # of which the core's word may know less
        return Load(
            running_requests=0 if idle else core.running_requests,
            waiting_requests=0
            if idle
            else max(core.waiting_requests, given - core.running_requests),
            kv_use_frac=0.0 if idle else core.kv_use_frac,
            steps=self._steps,
            bad_messages=bad_messages,
            received=received,
            decode_requests=len(self._decoding),
            queued_prefill_tokens=max(self._to_compute - self._computed, 0),
            step_cost=None
            if cost is None
            else (cost.base_s, cost.prefill_token_s, cost.decode_request_s),
        )
