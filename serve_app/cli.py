"""The `tokenfleet` command.

Exit status: 0 done, 1 for a chaos test that did not pass, a plan that is not possible and a model
that could not be compressed or measured, 2 for a wrong command line, a wrong trace or a wrong spec
(every violation on stderr). Those of `loadtest` are in `loadtest/load_command.py`.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module

from cluster.spec import (
    ClusterSpec,
    GatewayScalingSpec,
    ScalingSpec,
    SpecError,
    dump,
    load,
    resolve_devices,
)
from loadtest import load_command
from loadtest.acceleration import options as acceleration_options
from loadtest.chaos import options
from serve_app import examples, k8s_command, keys_command, plan_command, settings, tenants_file
from serve_app.compress import command as compress_command
from serve_app.simulate import options as simulate_options

LOADTEST = "loadtest"
WRONG_INPUT = 2  # argparse's own status for a wrong command line


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == [LOADTEST]:
        return load_command.main(arguments[1:])
    args = _parser().parse_args(arguments)
    try:
        return int(args.run(args))
    except SpecError as error:
        print(f"{args.spec} is not a valid spec:\n{error}", file=sys.stderr)
        return WRONG_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tokenfleet", description="One endpoint over many vLLMs.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="validate a spec and print it with every default")
    check.add_argument("spec", metavar="SPEC", help="a YAML file, or the name of an example")
    check.set_defaults(run=_check)
    chaos = commands.add_parser("chaos", help="load a cluster while its processes are killed")
    options.add_arguments(chaos)
    chaos.set_defaults(run=partial(_of_extra, "loadtest.chaos.command"))
    simulate = commands.add_parser("simulate", help="simulate a fleet on a trace, per policy")
    simulate_options.add_arguments(simulate)
    simulate.set_defaults(run=partial(_of_extra, "serve_app.simulate.command"))
    plan = commands.add_parser("plan", help="what a model needs for a load, from its config.json")
    plan_command.add_arguments(plan)
    compress = commands.add_parser("compress", help="quantize or prune a model, by llm-compressor")
    compress_command.add_arguments(compress)
    accelerate = commands.add_parser("accelerate", help="speed and quality of a model's variants")
    acceleration_options.add_arguments(accelerate)
    accelerate.set_defaults(run=partial(_of_extra, "loadtest.acceleration.command"))
    k8s_command.add_arguments(commands.add_parser("k8s", help="manifests for Kubernetes"))
    keys_command.add_arguments(commands.add_parser("keys", help="make API keys for tenants"))
    commands.add_parser(LOADTEST, help="send load, find the limit, compare runs, hold them to SLOs")
    return parser


def _check(args: argparse.Namespace) -> int:
    spec = resolve_devices(load(examples.find(args.spec)), gpu_build=settings.gpu_build())
    tenants_file.check(spec)
    settings.quiet_vllm()
    from serve_app import engine_args  # imports vLLM, which takes seconds and logs

    engine_args.check(spec)
    print(dump(spec), end="")
    print(_totals(spec), end="")
    return 0


def _of_extra(module: str, args: argparse.Namespace) -> int:
    """The command of a module whose imports are an extra."""
    try:
        command = import_module(module)
    except ModuleNotFoundError as error:
        print(f"{error}: pip install 'tokenfleet[loadtest]'", file=sys.stderr)
        return WRONG_INPUT
    return int(command.run(args))


def _totals(spec: ClusterSpec) -> str:
    """What the spec occupies at most, as YAML comments."""
    lines = [
        f"# {m.name}: {_count(m.replicas, m.scaling)} engines x {m.gpus_per_replica} GPUs, "
        f"{m.resources.cpus:g} CPUs\n"
        for m in spec.models
    ]
    gateway = spec.gateway
    count = _count(gateway.replicas, gateway.scaling)
    lines.append(f"# gateway: {count} replicas x {gateway.cpus:g} CPUs\n")
    gpus = sum(_most(m.replicas, m.scaling) * m.gpus_per_replica for m in spec.models)
    cpus = sum(_most(m.replicas, m.scaling) * m.resources.cpus for m in spec.models)
    cpus += _most(gateway.replicas, gateway.scaling) * gateway.cpus
    follows = gateway.scaling is not None or any(m.scaling is not None for m in spec.models)
    most = "total, at most" if follows else "total"
    return "".join(lines) + f"# {most}: {gpus} GPUs, {cpus:g} CPUs\n"


def _count(replicas: int, scaling: ScalingSpec | GatewayScalingSpec | None) -> str:
    return str(replicas) if scaling is None else f"{scaling.min} to {scaling.max}"


def _most(replicas: int, scaling: ScalingSpec | GatewayScalingSpec | None) -> int:
    return replicas if scaling is None else scaling.max
