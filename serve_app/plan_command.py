"""`tokenfleet plan MODEL`: what a model needs, and a spec for it. Reads its config.json only."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from cluster.planning import PlanError
from cluster.planning.memory import GIB, KV_BYTES, MEMORY_BYTES, QUANTIZED_BYTES, UTILIZATION
from cluster.planning.model_shape import ModelShape, shape_of
from cluster.planning.plan import Plan, Wanted, plans
from cluster.scaling.limits import Slo
from cluster.simulation.roofline import GPUS

INFEASIBLE, WRONG_INPUT = 1, 2
CONFIG = "config.json"
SHOWN = 5
SECONDS = re.compile(r"([0-9.]+)(ms|s)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a hub id, a folder, or a config.json")
    parser.add_argument(
        "--gpus", type=_gpus, required=True, metavar="KIND:N",
        help=f"that there are, as H100:8; kinds: {', '.join(GPUS)}",
    )  # fmt: skip
    parser.add_argument(
        "--slo", type=_slo, default=Slo(), metavar="ttft=T,tpot=T",
        help="as ttft=500ms,tpot=50ms; default ttft=2s,tpot=100ms",
    )  # fmt: skip
    parser.add_argument(
        "--load", type=_load, required=True, metavar="rate=R,in=N,out=N",
        help="requests a second, and the tokens of each, as rate=20,in=2000,out=300",
    )  # fmt: skip
    parser.add_argument("--quantization", choices=QUANTIZED_BYTES, default="none")
    parser.add_argument("--kv-cache-dtype", choices=KV_BYTES, default="auto")
    parser.add_argument("--write", type=Path, metavar="SPEC", help="the cheapest plan, as a spec")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """1 where no plan is possible, 2 where the model cannot be read or planned with."""
    try:
        shape = shape_of(read_config(args.model))
    except (PlanError, OSError, ValueError) as error:
        print(f"{args.model}: {error}", file=sys.stderr)
        return WRONG_INPUT
    kind, gpus = args.gpus
    rate_per_s, prompt_tokens, output_tokens = args.load
    wanted = Wanted(
        gpu=kind,
        gpus=gpus,
        slo=args.slo,
        rate_per_s=rate_per_s,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        quantization=args.quantization,
        kv_cache_dtype=args.kv_cache_dtype,
    )
    try:
        found = plans(shape, wanted)
    except PlanError as error:
        print(f"no plan. {error}", file=sys.stderr)
        return INFEASIBLE
    print(text(shape, wanted, found))
    if args.write is not None:
        args.write.write_text(spec_text(args.model, wanted, found[0]), encoding="utf-8")
        print(f"\nwritten: {args.write}; check it with: tokenfleet check {args.write}")
    return 0


def read_config(model: str) -> dict[str, Any]:
    """Of a folder, a file, or a hub id. Raises OSError, ValueError."""
    path = Path(model)
    if path.is_dir():
        path = path / CONFIG
    elif not path.is_file():
        if path.suffix or model.count("/") != 1:
            raise ValueError("no folder, no file, and no hub id (OWNER/NAME)")
        from huggingface_hub import hf_hub_download  # it takes a second

        path = Path(hf_hub_download(model, CONFIG))
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{path} is no JSON object")
    return found


# What is printed


def text(shape: ModelShape, wanted: Wanted, found: list[Plan]) -> str:
    lines = [
        f"{shape.kind}: {shape.params / 1e9:.1f} billion parameters"
        + (f", {shape.active_params / 1e9:.1f} a token" if _has_experts(shape) else ""),
        f"{wanted.rate_per_s:g} requests/s of {wanted.prompt_tokens} + {wanted.output_tokens} "
        f"tokens; TTFT {wanted.slo.ttft_s:g} s, TPOT {wanted.slo.tpot_s * 1000:g} ms",
        "",
        _HEADER.format(*_NAMES),
        *(_HEADER.format(*_row(plan)) for plan in found[:SHOWN]),
        "",
        _memory_text(wanted, found[0]),
        "Predicted by the roofline of data sheets (cluster/planning): measure before you buy.",
    ]
    return "\n".join(lines)


_NAMES = (
    "GPUs", "engines", "TP", "PP", "KV tokens", "requests", "TTFT s", "TPOT ms", "each/s",
)  # fmt: skip
_HEADER = "{:>5} {:>8} {:>3} {:>3} {:>10} {:>9} {:>7} {:>8} {:>7}"


def _row(plan: Plan) -> tuple[str, ...]:
    return (
        str(plan.gpus),
        str(plan.replicas),
        str(plan.placement.tp),
        str(plan.placement.pp),
        f"{plan.memory.kv_tokens:,}",
        f"{plan.most_requests:.0f}",
        f"{plan.ttft_s:.2f}",
        f"{plan.tpot_s * 1000:.0f}",
        f"{plan.rate_per_s:.1f}",
    )


def _memory_text(wanted: Wanted, plan: Plan) -> str:
    found = plan.memory
    free = found.total_bytes * (1 - UTILIZATION)
    return (
        f"The first, on each GPU of {found.total_bytes / GIB:.1f} GiB: weights "
        f"{found.weight_bytes / GIB:.1f}, KV cache {found.kv_bytes / GIB:.1f}, activations and "
        f"logits {found.activation_bytes / GIB:.1f}, CUDA graphs and libraries "
        f"{found.fixed_bytes / GIB:.1f}, left free {free / GIB:.1f} GiB."
    )


def _has_experts(shape: ModelShape) -> bool:
    return any(mlp.experts for mlp in shape.mlps)


def spec_text(model: str, wanted: Wanted, plan: Plan) -> str:
    """A spec of the plan."""
    engine: dict[str, Any] = {"tensor_parallel_size": plan.placement.tp}
    if plan.placement.pp > 1:
        engine["pipeline_parallel_size"] = plan.placement.pp
    if wanted.quantization == "fp8":
        engine["quantization"] = "fp8"  # made while it is loaded; others are made beforehand
    if wanted.kv_cache_dtype != "auto":
        engine["kv_cache_dtype"] = wanted.kv_cache_dtype
    source = str(Path(model).parent) if Path(model).is_file() else model
    spec = {
        "models": [
            {
                "name": Path(source).name,
                "source": source,
                "engine": engine,
                "replicas": plan.replicas,
                "slo": {"ttft_s": wanted.slo.ttft_s, "tpot_s": wanted.slo.tpot_s},
            }
        ]
    }
    return f"# made by tokenfleet plan\n{yaml.safe_dump(spec, sort_keys=False)}"


# Arguments


def _gpus(argument: str) -> tuple[str, int]:
    kind, _, number = argument.partition(":")
    if kind not in MEMORY_BYTES:
        raise argparse.ArgumentTypeError(f"{kind!r} is none of {', '.join(MEMORY_BYTES)}")
    if not number.isdecimal() or int(number) < 1:
        raise argparse.ArgumentTypeError(f"{argument!r} has no number of GPUs, as H100:8")
    return kind, int(number)


def _slo(argument: str) -> Slo:
    found = _pairs(argument, {"ttft", "tpot"})
    seconds = {f"{name}_s": _seconds(value) for name, value in found.items()}
    try:
        return Slo(**seconds)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(value: str) -> float:
    matched = SECONDS.fullmatch(value)
    if matched is None:
        raise argparse.ArgumentTypeError(f"{value!r} is no time, as 500ms or 2s")
    return float(matched[1]) / (1000.0 if matched[2] == "ms" else 1.0)


def _load(argument: str) -> tuple[float, int, int]:
    found = _pairs(argument, {"rate", "in", "out"})
    if missing := {"rate", "in", "out"} - found.keys():
        raise argparse.ArgumentTypeError(f"{argument!r} lacks {', '.join(sorted(missing))}")
    try:
        rate, prompt, output = float(found["rate"]), int(found["in"]), int(found["out"])
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{argument!r}: {error}") from None
    if not (0 < rate < 1e9 and prompt >= 1 and output >= 1):
        raise argparse.ArgumentTypeError(f"{argument!r}: all three are to be above 0")
    return rate, prompt, output


def _pairs(argument: str, names: set[str]) -> dict[str, str]:
    found = dict(part.partition("=")[::2] for part in argument.split(","))
    if unknown := found.keys() - names:
        raise argparse.ArgumentTypeError(
            f"{argument!r}: {', '.join(sorted(unknown))} is none of {', '.join(sorted(names))}"
        )
    return found
