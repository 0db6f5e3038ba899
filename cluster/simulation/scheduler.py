"""What an engine computes in its next step: vLLM's v1 scheduler, first come, first served.

As in vLLM 0.32 (vllm/v1/core/sched/scheduler.py, without speculation, LoRA, pipelining, connectors
and its watermark):

- Requests that run come first, in the order they were admitted: each gets the tokens it lacks, one
  while it decodes, within what is left of `max_num_batched_tokens` (chunked prefill).
- Where no block is free for one, the last that runs is preempted: its blocks are freed, it waits
  again, before all others, and is computed anew.
- If none was preempted, waiting requests are admitted while tokens, `max_num_seqs` and blocks last.
  What the cache holds of one is not computed, but its last token always is. One is admitted only
  if all of its tokens fit now (`scheduler_reserve_full_isl`), though blocks are taken chunk by
  chunk.
- Blocks are findable as soon as the step that fills them is scheduled.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from cluster.simulation.job import Job
from cluster.simulation.prefix_cache import Held, PrefixCache
from cluster.simulation.step_time import StepWork
from cluster.types import BlockHash


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """An engine's size, by vLLM's names. Defaults: vLLM 0.32's for an H100 behind an API server."""

    kv_blocks: int
    block_tokens: int = 16
    max_num_batched_tokens: int = 8192
    max_num_seqs: int = 1024

    def __post_init__(self) -> None:
        for name in ("kv_blocks", "block_tokens", "max_num_batched_tokens", "max_num_seqs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")

    @property
    def kv_tokens(self) -> int:
        return self.kv_blocks * self.block_tokens


class Plan(NamedTuple):
    """A step: who computes how many tokens. `repeats`: the next steps can be the same."""

    chunks: list[tuple[Job, int]]
    work: StepWork
    repeats: bool


class Outcome(NamedTuple):
    """Of a step: who got a first token, and who is done."""

    began: list[Job]
    done: list[Job]


class Scheduler:
    def __init__(self, limits: EngineLimits) -> None:
        self.limits = limits
        self.cache = PrefixCache(limits.kv_blocks)
        self.waiting: deque[Job] = deque()
        self.running: list[Job] = []
        self.waiting_prefill_tokens = 0

    def add(self, job: Job) -> None:
        """Raises ValueError for a request that the whole KV cache cannot hold."""
        if job.end_tokens > self.limits.kv_tokens:
            raise ValueError(f"{job.end_tokens} tokens in {self.limits.kv_tokens} of KV cache")
        self._wait(job)
        self.waiting.append(job)

    def _wait(self, job: Job) -> None:
        found, _held = self.cache.find(self._findable(job))
        job.uncached_tokens = job.tokens - found * self.limits.block_tokens
        self.waiting_prefill_tokens += job.uncached_tokens

    def _findable(self, job: Job) -> list[BlockHash]:
        """Not all of it: without a token to compute there is nothing to sample from."""
        return job.names[: (job.tokens - 1) // self.limits.block_tokens]

    def plan(self) -> Plan | None:
        """The next step, its blocks taken; None where there is nothing to do."""
        chunks: list[tuple[Job, int]] = []
        budget = self.limits.max_num_batched_tokens
        preempted = False
        place = 0
        while place < len(self.running) and budget > 0:
            job = self.running[place]
            new = min(job.tokens - job.computed, budget)
            while not self._fits(job, new):
                preempted = True
                if self._preempt_last() is job:
                    break
            else:
                self._grow(job, job.computed + new)
                chunks.append((job, new))
                budget -= new
                place += 1
        if not preempted:
            self._admit(chunks, budget)
        if not chunks:
            assert not self.waiting, "nothing fits in an empty engine"
            return None
        work = _work(chunks)
        repeats = not preempted and not work.prefill_requests and len(chunks) == len(self.running)
        return Plan(chunks, work, repeats)

    def _admit(self, chunks: list[tuple[Job, int]], budget: int) -> None:
        while self.waiting and budget > 0 and len(self.running) < self.limits.max_num_seqs:
            job = self.waiting[0]
            if not self._enter(job):
                return
            self.waiting.popleft()
            self.waiting_prefill_tokens -= job.uncached_tokens
            self.running.append(job)
            new = min(job.tokens - job.computed, budget)
            self._grow(job, job.computed + new)
            chunks.append((job, new))
            budget -= new

    def _enter(self, job: Job) -> bool:
        """Takes what the cache has of it, if all of it fits."""
        names = self._findable(job)
        found, held = self.cache.find(names)
        if self._blocks(job.tokens) - held > self.cache.free_blocks:
            return False
        self.cache.hold(names[:found])
        job.held = list[Held](names[:found])
        job.named = found
        job.computed = found * self.limits.block_tokens
        if job.cached_tokens is None:
            job.cached_tokens = job.computed
        return True

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self.limits.block_tokens)

    def _fits(self, job: Job, new: int) -> bool:
        return self._blocks(job.computed + new) - len(job.held) <= self.cache.free_blocks

    def _grow(self, job: Job, tokens: int) -> None:
        """Blocks for so many tokens; those now full get their names."""
        lacking = self._blocks(tokens) - len(job.held)
        if lacking > 0:
            self.cache.allocate(lacking)
            job.held.extend([None] * lacking)
        full = tokens // self.limits.block_tokens
        if full > job.named:
            job.held[job.named : full] = self.cache.name(job.names[job.named : full])
            job.named = full

    def _preempt_last(self) -> Job:
        job = self.running.pop()
        self._free(job)
        job.computed = 0
        job.preemptions += 1
        self._wait(job)
        self.waiting.appendleft(job)
        return job

    def _free(self, job: Job) -> None:
        self.cache.release(job.held)
        job.held = []
        job.named = 0

    def steps_alike(self, plan: Plan) -> int:
        """How many steps from this one on can be the same: nobody ends but in the last of them, and
        there are blocks for all. Arrivals aside, nothing else can change."""
        if not plan.repeats:
            return 1
        low, high = 1, min(job.end_tokens - job.tokens for job in self.running)
        if self._blocks_for(high) <= self.cache.free_blocks:
            return high
        while low < high:
            middle = (low + high + 1) // 2
            if self._blocks_for(middle) <= self.cache.free_blocks:
                low = middle
            else:
                high = middle - 1
        return low

    def _blocks_for(self, steps: int) -> int:
        """How many more are needed for so many steps of decoding."""
        return sum(self._blocks(job.computed + steps) - len(job.held) for job in self.running)

    def advance(self, steps: int) -> None:
        """So many of the steps that `steps_alike` counted are over, and one more is under way."""
        for job in self.running:
            job.tokens += steps
            job.computed += steps
            self._grow(job, job.computed + 1)

    def complete(self, plan: Plan, steps: int) -> Outcome:
        """The last of `steps` alike steps is over."""
        began, done = [], []
        for job, new in plan.chunks:
            if steps > 1:
                self._grow(job, job.computed + steps)
            job.computed += new + steps - 1
            if job.computed < job.tokens + steps - 1:
                continue  # more of its prefill to come
            job.tokens += steps
            if job.tokens == job.prompt_tokens + steps:
                began.append(job)
            if job.tokens == job.end_tokens:
                done.append(job)
                self._free(job)
        if done:
            self.running = [job for job in self.running if job.tokens < job.end_tokens]
        return Outcome(began, done)


def _work(chunks: list[tuple[Job, int]]) -> StepWork:
    requests = tokens = context = decodes = decode_context = 0
    pairs = 0.0
    for job, new in chunks:
        if job.decodes:
            decodes += 1
            decode_context += job.tokens
        else:
            requests += 1
            tokens += new
            context += job.computed + new
            pairs += new * job.computed + new * (new + 1) / 2
    return StepWork(requests, tokens, pairs, context, decodes, decode_context)
