"""The arguments of `tokenfleet chaos`. Imports nothing that may be missing."""

import argparse
from collections.abc import Sequence
from os import environ
from pathlib import Path
from urllib.parse import urlsplit

from loadtest.argument_types import count
from loadtest.chaos.kinds import KINDS, Kind
from loadtest.chaos.plan import Fault
from loadtest.runtime.options import ADMIN_KEY_VARIABLE

DEFAULT_SPEC = "spec-chaos.yaml"
KIND_NAMES = [kind.name for kind in KINDS]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """For the command's parser."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--spec", default=DEFAULT_SPEC, help="of the cluster that is started")
    where.add_argument(
        "--url",
        type=_url,
        help="a running cluster instead, as http://host:port; no faults unless --faults names "
        "some, and then it must run on this machine",
    )
    parser.add_argument("--api-key", default=environ.get(ADMIN_KEY_VARIABLE),
                        help="an admin's, for --url, where the cluster has tenants; better set "
                        f"${ADMIN_KEY_VARIABLE}, which is not seen")  # fmt: skip
    parser.add_argument("--model", help="which one is asked; default: the first")
    parser.add_argument("--engines", type=count, help="to start; default: the spec's")
    parser.add_argument("--gateways", type=count, help="to start; default: the spec's")
    parser.add_argument("--duration", type=_seconds, default=120.0, help="seconds; default 120")
    parser.add_argument("--kill-every", type=_seconds, default=10.0, metavar="SECONDS",
                        help="between faults, at least; default 10")  # fmt: skip
    parser.add_argument("--faults", type=_faults, metavar="KIND,...",
                        help=f"default: all, which are {', '.join(Fault)}")  # fmt: skip
    parser.add_argument("--kinds", type=_kinds, default=KINDS, metavar="NAME,...",
                        help=f"of requests; default: all: {', '.join(KIND_NAMES)}")  # fmt: skip
    parser.add_argument("--streams", type=count, default=6, help="requests at once; default 6")
    parser.add_argument("--tokens", type=_range, default=(200, 1000), metavar="LEAST-MOST",
                        help="lengths of the answers; default 200-1000")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the faults and the load; default 0")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="raw events as JSON lines; the cluster's log goes beside it",
    )


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
        raise argparse.ArgumentTypeError(f"{text!r} is not http://host:port")
    return text


def _seconds(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} must be above 0")
    return value


def _range(text: str) -> tuple[int, int]:
    least, _, most = text.partition("-")
    bounds = int(least), int(most or least)
    if not 1 < bounds[0] <= bounds[1]:
        raise argparse.ArgumentTypeError(f"{text} must be LEAST-MOST, both above 1")
    return bounds


def _faults(text: str) -> tuple[Fault, ...]:
    return tuple(Fault(name) for name in _names(text, list(Fault)))


def _kinds(text: str) -> tuple[Kind, ...]:
    wanted = _names(text, KIND_NAMES)
    return tuple(kind for kind in KINDS if kind.name in wanted)


def _names(text: str, known: Sequence[str]) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"no {unknown[0]!r}; there are {', '.join(known)}")
    return names
