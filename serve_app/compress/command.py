"""`tokenfleet compress MODEL --recipe int8 --out DIR`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster.demo_defaults import DEMO_SOURCE
from loadtest.argument_types import count
from serve_app import settings
from serve_app.compress import calibration, environment, job, manifest
from serve_app.compress.calibration import CalibrationError, Sample
from serve_app.compress.job import CompressError, Job
from serve_app.compress.manifest import Made, Manifest
from serve_app.compress.recipes import RECIPES, Recipe, misfits
from serve_app.demo import MODEL_PATH

FAILED, WRONG_INPUT = 1, 2
PRUNED_FRAC = 0.25  # rounding makes some weights 0 too
DOWNLOADED = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]


class InputError(ValueError):
    """The command cannot be done as it was given."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    known = "; ".join(f"{recipe.name}: {recipe.what}" for recipe in RECIPES.values())
    parser.add_argument("model", metavar="MODEL", help="demo, a folder, or a hub id")
    parser.add_argument("--recipe", choices=RECIPES, required=True, help=known)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the new folder")
    parser.add_argument(
        "--calibration", type=Path, metavar="FILE",
        help='a JSON object a line, with "text" or "messages"; demo needs none',
    )  # fmt: skip
    parser.add_argument("--samples", type=count, default=512, help="at most; default 512")
    parser.add_argument(
        "--max-seq-tokens", type=count, default=2048, help="of a sample; default 2048"
    )
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument(
        "--for-gpu", action="store_true", help="make what this machine itself cannot serve"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 done, 1 where llm-compressor or its environment failed, 2 for a wrong input."""
    recipe = RECIPES[args.recipe]
    try:
        _check_device(recipe, for_gpu=args.for_gpu)
        samples = _samples(args, recipe)
        source = _source(args.model)
        _check_shape(recipe, source)
    except (InputError, CalibrationError, OSError) as error:
        print(f"{args.model}: {error}", file=sys.stderr)
        return WRONG_INPUT
    made = Made(
        recipe=recipe.name,
        seed=args.seed,
        samples=len(samples),
        max_seq_tokens=args.max_seq_tokens,
        source_digest=manifest.digest(source),
        calibration_digest=manifest.digest_of(samples),
        compressor=environment.compressor(),
    )
    wanted = Job(
        source_name=args.model, source=source, out=args.out.absolute(), made=made, samples=samples
    )
    try:
        found = job.run(wanted, environment.python, _say)
    except (CompressError, environment.NotMadeError) as error:
        print(error, file=sys.stderr)
        return FAILED
    print(_words(found, wanted.out))
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _check_device(recipe: Recipe, *, for_gpu: bool) -> None:
    if recipe.serves_on == "gpu" and not for_gpu and not settings.gpu_build():
        raise InputError(
            f"{recipe.name} is served by {recipe.needs}, and this machine has the CPU build of "
            "vLLM; --for-gpu makes it all the same"
        )


def _samples(args: argparse.Namespace, recipe: Recipe) -> Sequence[Sample]:
    if not recipe.calibrated:
        return []
    if args.calibration is not None:
        return calibration.read(args.calibration, args.samples, args.seed)
    if args.model == DEMO_SOURCE:
        return calibration.of_the_demo(args.samples, args.seed)
    raise InputError(
        f"{recipe.name} is calibrated with text like that which the model is to answer: "
        "--calibration FILE"
    )


def _source(model: str) -> Path:
    """Its folder, written as a spec's `source`; a hub id is downloaded to the hub's own cache."""
    if model == DEMO_SOURCE:
        return MODEL_PATH
    try:
        model = settings.expand(model)
    except KeyError as error:
        raise InputError(f"${error.args[0]} is not set here") from None
    if (path := Path(model)).is_dir():
        return path
    if path.is_absolute() or model.startswith("."):
        raise InputError("there is no such folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, allow_patterns=DOWNLOADED))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise InputError(f"neither a folder nor on the hub: {error}") from error


def _check_shape(recipe: Recipe, source: Path) -> None:
    config = json.loads((source / "config.json").read_text())
    if "quantization_config" in config:
        raise InputError("it is quantized already")
    if wrong := misfits(recipe, config):
        raise InputError(
            f"{recipe.name} has groups of {recipe.group_size} inputs, which do not divide its "
            f"{', '.join(wrong)}"
        )


def _words(found: Manifest, out: Path) -> str:
    before, after = found.bytes_before, found.bytes_after
    zeros = f", {found.zero_frac:.0%} of its weights 0" if found.zero_frac >= PRUNED_FRAC else ""
    kept = f"; left as they were: {', '.join(found.kept)}" if found.kept else ""
    return (
        f"{out}: {found.made.recipe}, {before / 1e6:.1f} MB to {after / 1e6:.1f} MB "
        f"({after / before:.0%}){zeros}{kept}. Serve it with `source: {out}`"
    )
