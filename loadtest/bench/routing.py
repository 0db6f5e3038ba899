"""What one routing decision costs: `python -m loadtest.bench.routing`.

Fills a gateway's index with the blocks of conversations: all share a system prompt, which every
engine holds; each continues one of 150 groups' prefixes, which a few engines hold; the rest of it
one engine holds. Then decides for prompts that go on with one of the conversations, begin a new one
in a group, or share the system prompt alone, a third each, while requests come and go.

`--reporting-frac` of the engines report between two decisions, so that their snapshots are made
anew: 0.2 where 100 engines report 20 times a second each, and 100 requests a second come; 1 is the
worst there can be.

Times are CPU times of this thread, so that what else the machine runs does not count, without
garbage collection. Bytes are what Python allocated for the index (tracemalloc).
"""

import argparse
import gc
import random
import shlex
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from cluster.routing import Router
from cluster.routing.block_hash import block_hash, block_hashes
from cluster.routing.fleet_view import FleetView
from cluster.routing.least_load import LeastOutstandingTokens
from cluster.types import BlockHash, LoadReport, ReplicaId, RouteRequest, StepCost
from loadtest.bench import machine
from loadtest.bench.options import numbers
from loadtest.bench.records import RunRow
from loadtest.bench.report import heading, table

BLOCK_TOKENS = 16
SYSTEM_TOKENS, GROUP_TOKENS, VOCABULARY = 256, 6_000, 150_000
GROUPS, ENGINES_OF_GROUP = 150, 4
NEW_TOKENS = 256  # of the next turn
LEAST_PROMPT_TOKENS = SYSTEM_TOKENS + GROUP_TOKENS + NEW_TOKENS
KV_TOTAL_TOKENS = 1_020_000
STEPS = ("hash", "lookup and snapshots", "choose", "decision", "send and settle")


def router(name: str) -> Router:
    """The policy `name`."""
    return {"least_load": LeastOutstandingTokens}[name]()


@dataclass(frozen=True)
class Prompts:
    """Prompts of `length_tokens`, by seed: the same number gives the same tokens."""

    length_tokens: int
    seed: int

    def tokens(self, *key: int, size: int) -> list[int]:
        return np.random.default_rng((self.seed, *key)).integers(VOCABULARY, size=size).tolist()

    def shared(self, group: int) -> list[int]:
        """The system prompt and the group's prefix: whole blocks."""
        return self.tokens(0, size=SYSTEM_TOKENS) + self.tokens(1, group, size=GROUP_TOKENS)

    def own(self, number: int) -> list[int]:
        """What is said in conversation `number`."""
        return self.tokens(2, number, size=self.length_tokens - SYSTEM_TOKENS - GROUP_TOKENS)

    def conversation(self, group: int, number: int) -> list[int]:
        return self.shared(group) + self.own(number)

    def asked(self, rng: random.Random, conversations: int) -> list[int]:
        """A prompt to decide for."""
        number = rng.randrange(conversations)
        match rng.randrange(3):
            case 0:  # the next turn
                known = self.conversation(number % GROUPS, number)[
                    : self.length_tokens - NEW_TOKENS
                ]
                return known + self.tokens(3, rng.randrange(2**32), size=NEW_TOKENS)
            case 1:
                return self.conversation(number % GROUPS, 2**32 + rng.randrange(2**32))
            case _:
                return self.conversation(2**32 + rng.randrange(2**32), number)


def fill(view: FleetView, prompts: Prompts, replicas: list[ReplicaId], blocks: int) -> int:
    """Index so many (engine, block) pairs; how many conversations that took."""
    for replica in replicas:
        view.joined(replica, kv_total_tokens=KV_TOTAL_TOKENS, block_tokens=BLOCK_TOKENS)
    rng = random.Random(prompts.seed)
    system = block_hashes(prompts.tokens(0, size=SYSTEM_TOKENS), BLOCK_TOKENS)
    for replica in replicas:
        view.index.store(replica, system)
    homes = [rng.sample(replicas, min(ENGINES_OF_GROUP, len(replicas))) for _ in range(GROUPS)]
    shared = [block_hashes(prompts.shared(group), BLOCK_TOKENS) for group in range(GROUPS)]
    number = 0
    while len(view.index) < blocks:
        group = number % GROUPS
        own = chained(shared[group][-1], prompts.own(number))
        view.index.store(rng.choice(homes[group]), [*shared[group], *own])
        number += 1
    return number


def chained(name: BlockHash, tokens: list[int]) -> Iterator[BlockHash]:
    """The names of the full blocks that follow the block `name`."""
    for start in range(0, len(tokens) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
        name = block_hash(name, tokens[start : start + BLOCK_TOKENS])
        yield name


def report(rng: random.Random, received: int) -> LoadReport:
    return LoadReport(
        running_requests=rng.randrange(64),
        waiting_requests=rng.randrange(8),
        decode_requests=rng.randrange(64),
        queued_prefill_tokens=rng.randrange(40_000),
        kv_use_frac=rng.random(),
        received=received,
        step_cost=StepCost(base_s=8e-3, prefill_token_s=4e-5, decode_request_s=5e-5),
    )


def decide(
    view: FleetView,
    policy: Router,
    replicas: list[ReplicaId],
    prompts: Iterator[list[int]],
    reports: int,
) -> Iterator[list[float]]:
    """One decision for each prompt: the CPU seconds of each of `STEPS`."""
    rng = random.Random(0)
    now_s: Callable[[], float] = time.thread_time
    for number, tokens in enumerate(prompts):
        for replica in rng.sample(replicas, reports):
            view.reported(replica, report(rng, received=number))
        started_s = now_s()
        blocks = block_hashes(tokens, BLOCK_TOKENS)
        hashed_s = now_s()
        request = RouteRequest(prompt_tokens=len(tokens), max_output_tokens=500, blocks=blocks)
        snapshots = view.snapshots(request, replicas)
        seen_s = now_s()
        decision = policy.choose(request, snapshots, rng)
        chosen_s = now_s()
        cached = next(s.cached_tokens for s in snapshots if s.id == decision.replica_id)
        view.sent(decision.replica_id, str(number), request, cached)
        view.began(str(number - 32))
        view.ended(str(number - 256))
        yield [
            *(hashed_s - started_s, seen_s - hashed_s, chosen_s - seen_s),
            *(chosen_s - started_s, now_s() - chosen_s),
        ]


def measure(args: argparse.Namespace, engines: int) -> tuple[list[str], list[list[str]]]:
    """The index's line and the decisions' lines for so many engines."""
    prompts = Prompts(args.prompt_tokens, args.seed)
    replicas = [ReplicaId(f"engine-{number}") for number in range(engines)]
    view = FleetView()
    tracemalloc.start()
    conversations = fill(view, prompts, replicas, args.blocks)
    gc.collect()
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    pairs = len(view.index)
    rng = random.Random(args.seed + 1)
    asked = (prompts.asked(rng, conversations) for _ in range(args.decisions))
    reports = round(args.reporting_frac * engines)
    gc.disable()
    spent_s = np.array(list(decide(view, router(args.policy), replicas, asked, reports)))
    gc.enable()
    index = [str(engines), f"{pairs:,}", f"{held_bytes / pairs:.0f}", f"{leave_ms(view):.2f}"]
    return index, [
        [
            *(str(engines), step),
            *(f"{np.percentile(spent_s[:, at], p) * 1e6:,.0f}" for p in (50, 99, 100)),
            str(len(spent_s)),
        ]
        for at, step in enumerate(STEPS)
    ]


def leave_ms(view: FleetView) -> float:
    """The longest that one call took while the first engine left and was swept out."""
    longest_s, more = 0.0, True
    started_s = time.thread_time()
    view.left(ReplicaId("engine-0"))
    while more:
        longest_s = max(longest_s, time.thread_time() - started_s)
        started_s = time.thread_time()
        more = view.index.sweep()
    return longest_s * 1e3


def main() -> None:
    p = argparse.ArgumentParser(prog="python -m loadtest.bench.routing")
    p.add_argument("--policy", default="least_load")
    p.add_argument("--engines", type=numbers, default=(10, 100, 1000), metavar="10,100,...")
    p.add_argument("--blocks", type=int, default=1_000_000, help="indexed (engine, block) pairs")
    p.add_argument("--prompt-tokens", type=int, default=8192, metavar="N")
    p.add_argument("--decisions", type=int, default=2000, help="for each number of engines")
    p.add_argument("--reporting-frac", type=float, default=0.2, help="of engines, each decision")
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args()
    if args.prompt_tokens < LEAST_PROMPT_TOKENS:
        p.error(f"--prompt-tokens {args.prompt_tokens} is below {LEAST_PROMPT_TOKENS}")
    run = RunRow(
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join(["python", "-m", "loadtest.bench.routing", *sys.argv[1:]]),
        machine=machine.describe(),
        settings={key: str(value) for key, value in vars(args).items()},
        labels={},
    )
    print(heading(run, "A routing decision"), flush=True)
    indexes, decisions = zip(*(measure(args, engines) for engines in args.engines), strict=True)
    header = ["engines", "blocks", "bytes a block", "longest call of a leave, ms"]
    print("\n" + table(header, indexes))
    lines = [line for of_engines in decisions for line in of_engines]
    print("\n" + table(["engines", "CPU us", "p50", "p99", "most", "n"], lines))


if __name__ == "__main__":
    main()
