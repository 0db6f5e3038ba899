"""`tokenfleet k8s render SPEC`: prints a RayService for `kubectl apply -f -`."""

from __future__ import annotations

import argparse

from cluster.spec import load, resolve_devices
from serve_app import examples


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    render = commands.add_parser("render", help="print the spec as a KubeRay RayService")
    render.add_argument("spec", metavar="SPEC", help="a YAML file, or the name of an example")
    render.add_argument("--image", help="of the pods; default tokenfleet:latest")
    render.add_argument("--name", help="of the RayService; default tokenfleet")
    render.add_argument(
        "--cpu", action="store_true", help="models that do not say where they run, run on CPUs"
    )
    render.set_defaults(run=_render)


def _render(args: argparse.Namespace) -> int:
    from serve_app import k8s_render  # it imports Ray and vLLM, which takes seconds

    spec = resolve_devices(load(examples.find(args.spec)), gpu_build=not args.cpu)
    given = {name: getattr(args, name) for name in ("image", "name") if getattr(args, name)}
    print(k8s_render.text(k8s_render.render(spec, **given)), end="")
    return 0
