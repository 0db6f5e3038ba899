"""The options that the benchmarks share."""

import argparse

from loadtest.bench.plan import Plan

DEFAULT_SPEC = "spec-local-one.yaml"


def add_load_options(p: argparse.ArgumentParser) -> None:
    """What is asked of which model, and where the results go."""
    p.add_argument("--spec", default=DEFAULT_SPEC, help="spec or example; its first model is used")
    p.add_argument("--streams", type=numbers, default=(1, 8, 32, 128), metavar="1,8,...")
    p.add_argument("--requests-per-stream", type=int, help="default: more for fewer streams")
    p.add_argument("--prompt-tokens", type=int, default=200)
    p.add_argument("--output-tokens", type=int, default=128)
    p.add_argument("--seed", type=int, default=0, help="of the prompts")
    p.add_argument("--timeout-s", type=float, default=120.0, help="of one request")
    p.add_argument("--start-timeout-s", type=float, default=300.0, help="of one server's start")
    p.add_argument("--out", metavar="FILE", help="raw rows as JSONL; .gz compresses")
    p.add_argument("--logs", metavar="DIR", help="server logs (default: a temporary folder)")


def plan_of(args: argparse.Namespace, *, model: str, pairs: int, idle_s: float) -> Plan:
    """With the arguments of `add_load_options`."""
    return Plan(
        model=model,
        pairs=pairs,
        streams=args.streams,
        requests_per_stream=args.requests_per_stream,
        prompt_tokens=args.prompt_tokens,
        output_tokens=args.output_tokens,
        timeout_s=args.timeout_s,
        idle_s=idle_s,
        seed=args.seed,
    )


def numbers(text: str) -> tuple[int, ...]:
    """`1,8,32` as a tuple; raises ValueError."""
    return tuple(int(part) for part in text.split(","))
