"""The simulator beside a real cluster: `python -m loadtest.bench.validation`.

One made-up trace (groups of prompts with a shared beginning; all groups together do not fit into
the caches) is played to a fresh Tokenfleet for each policy, by `tokenfleet loadtest run trace`, and
to simulated engines, by `tokenfleet simulate`. A simulated engine is what the real ones said of
themselves while they were under load (`GET /fleet`: what their steps cost, how much their caches
hold). All runs of one policy come one after the other; what the first found is in `--out`.

Standard output is a Markdown table. Exit status: 0 done, 1 a server or a run failed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from loadtest.bench.servers import (
    ServerError,
    fleet_launch,
    free_port,
    resolved_spec,
    run_tokenfleet,
    running,
)
from loadtest.json_server import JsonServer
from loadtest.json_server import ServerError as AnswerError

POLICIES = ("predicted_cost", "prefix_affinity", "least_load", "round_robin")
ENGINES = 2
TRACE_BLOCK_TOKENS = 512  # Mooncake's
KV_BLOCK_TOKENS = 32  # the demo's
KV_CACHE_BYTES = 80 * 2**20  # 20,480 tokens of the demo's
ASK_EVERY_S = 5.0
START_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a run of one policy came to."""

    hit_frac: float
    ttft_mean_s: float
    ttft_p90_s: float
    tpot_mean_s: float
    requests_per_s: float


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    trace = args.out / "trace.jsonl"
    trace.write_text("".join(f"{json.dumps(line)}\n" for line in made_up(args)), encoding="utf-8")
    try:
        live = {policy: _live(args, policy, trace) for policy in args.policy}
        simulated = _simulated(args, trace, merged(args.out, args.policy))
    except (ServerError, AnswerError, subprocess.CalledProcessError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(table(live, simulated), end="")
    return 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m loadtest.bench.validation",
        description="The same trace on two real CPU engines and on two simulated ones.",
    )
    p.add_argument("--policy", type=lambda text: text.split(","), default=list(POLICIES))
    p.add_argument("--rate", type=float, default=2.0, help="requests a second, Poisson")
    p.add_argument("--duration-s", type=int, default=120)
    p.add_argument("--groups", type=int, default=20, help="prompts with one beginning each")
    p.add_argument("--seed", type=int, default=7)
    p.add_argument("--out", type=Path, default=Path("validation"), metavar="DIR")
    return p


def made_up(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Lines of a Mooncake trace: three shared blocks of 512 tokens, 100 to 500 tokens more."""
    rng = Random(args.seed)
    at_s = rng.expovariate(args.rate)
    own_block = 3 * args.groups
    while at_s < args.duration_s:
        group, own_block = rng.randrange(args.groups), own_block + 1
        yield {
            "timestamp": round(at_s * 1000),
            "input_length": 3 * TRACE_BLOCK_TOKENS + rng.randrange(100, 500),
            "output_length": rng.randrange(30, 90),
            "hash_ids": [3 * group, 3 * group + 1, 3 * group + 2, own_block],
        }
        at_s += rng.expovariate(args.rate)


def _live(args: argparse.Namespace, policy: str, trace: Path) -> Found:
    folder = args.out / policy
    folder.mkdir(exist_ok=True)
    spec = resolved_spec("spec-local-two.yaml")
    model = spec["models"][0]
    model["routing"]["policy"] = policy
    model["engine"] |= {"max_model_len": 4096, "kv_cache_memory_bytes": KV_CACHE_BYTES}
    model["api"]["enable_prompt_tokens_details"] = True
    launch = fleet_launch("fleet", spec, free_port(), folder, ENGINES)
    host = f"http://{launch.endpoint.host}:{launch.endpoint.port}"
    with running([launch], folder, START_TIMEOUT_S), _asked(host, folder / "fleet.json"):
        run_tokenfleet(
            *("loadtest", "run", "trace", "--host", host, "--out", str(folder / "run")),
            *("--set", f"workload.path={trace}", "--set", "workload.tick_s=0"),
            *("--set", f"duration_s={args.duration_s}"),
            stdout=sys.stderr,
        )
    summary = json.loads((folder / "run" / "summary.json").read_text(encoding="utf-8"))
    if summary["load"]["failed"]:
        print(f"{policy}: {summary['load']['failed']} requests failed", file=sys.stderr)
    latency = summary["latency"]
    return Found(
        hit_frac=summary["prefix_hit_frac"],
        ttft_mean_s=latency["ttft"]["mean_s"],
        ttft_p90_s=latency["ttft"]["p90_s"],
        tpot_mean_s=latency["tpot"]["mean_s"],
        requests_per_s=summary["load"]["achieved_per_s"],
    )


@contextmanager
def _asked(host: str, file: Path) -> Iterator[None]:
    """Ask every `ASK_EVERY_S` what the engines have learnt of themselves, into `file`."""
    server, over, heard = JsonServer(host), threading.Event(), []

    def ask() -> None:
        while not over.wait(ASK_EVERY_S):
            heard.extend(server.get("/fleet")["models"][0]["engines"])

    asking = threading.Thread(target=ask, name="asks the fleet")
    asking.start()
    try:
        yield
    finally:
        over.set()
        asking.join()
        file.write_text(json.dumps(_fleet_answer(heard)), encoding="utf-8")


def _fleet_answer(engines: list[dict[str, Any]]) -> dict[str, Any]:
    return {"models": [{"name": "demo", "engines": engines}]}


def merged(out: Path, policies: Sequence[str]) -> Path:
    """All that all engines said, as the answer of one fleet: `simulate` takes their mean."""
    heard = [
        engine
        for policy in policies
        for engine in json.loads((out / policy / "fleet.json").read_text())["models"][0]["engines"]
    ]
    file = out / "fleet.json"
    file.write_text(json.dumps(_fleet_answer(heard)), encoding="utf-8")
    return file


def _simulated(args: argparse.Namespace, trace: Path, engine: Path) -> dict[str, Found]:
    folder = args.out / "simulated"
    run_tokenfleet(
        *("simulate", str(trace), "--out", str(folder), "--policy", ",".join(args.policy)),
        *("--engines", str(ENGINES), "--gateways", "1", "--step-time", str(engine)),
        *("--block-tokens", str(KV_BLOCK_TOKENS), "--tick-s", "0"),
        stdout=sys.stderr,
    )
    results = json.loads((folder / "result.json").read_text(encoding="utf-8"))["results"]
    return {
        each["policy"]: Found(
            hit_frac=each["hit_frac"],
            ttft_mean_s=each["ttft_s"]["mean"],
            ttft_p90_s=each["ttft_s"]["p90"],
            tpot_mean_s=each["tpot_s"]["mean"],
            requests_per_s=each["completed_rps"],
        )
        for each in results
    }


def table(live: dict[str, Found], simulated: dict[str, Found]) -> str:
    """Live · simulated, in Markdown."""
    lines = [
        "| policy | hit rate, % | TTFT mean, ms | TTFT p90, ms | TPOT mean, ms | requests/s |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for policy, real in live.items():
        cells = (_cells(real), _cells(simulated[policy]))
        pairs = (" · ".join(pair) for pair in zip(*cells, strict=True))
        lines.append(f"| `{policy}` | {' | '.join(pairs)} |")
    return "\n".join(lines) + "\n"


def _cells(found: Found) -> tuple[str, ...]:
    return (
        f"{found.hit_frac:.1%}".removesuffix("%"),
        f"{found.ttft_mean_s * 1e3:,.0f}",
        f"{found.ttft_p90_s * 1e3:,.0f}",
        f"{found.tpot_mean_s * 1e3:,.1f}",
        f"{found.requests_per_s:.2f}",
    )


if __name__ == "__main__":
    sys.exit(main())
