"""`tokenfleet accelerate compare --base SPEC --variants int8,sparse50,ngram,compile`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cluster.demo_defaults import DEMO_SOURCE
from loadtest.acceleration import items, report, variants
from loadtest.acceleration.measure import Load, measure
from loadtest.acceleration.measured import Measured
from loadtest.acceleration.quality import Reading
from loadtest.acceleration.variants import BASE, VariantError
from loadtest.acceleration.verdict import verdict
from loadtest.bench.servers import resolved_spec, tokenfleet

FAILED, WRONG_INPUT = 1, 2


def run(args: argparse.Namespace) -> int:
    """0 done, 1 where the base could not be measured or a recipe failed, 2 for a wrong input."""
    names = args.variants.split(",")
    try:
        for name in names:
            variants.parts(name)
        spec = resolved_spec(args.base)
        asked = _items(args, spec["models"][0]["source"])
        made = {
            recipe: _compressed(args, spec["models"][0], recipe)
            for recipe in dict.fromkeys(filter(None, map(variants.recipe_of, names)))
        }
    except (VariantError, items.ItemsError, OSError) as error:
        print(error, file=sys.stderr)
        return WRONG_INPUT
    except subprocess.CalledProcessError as error:
        return error.returncode  # it has said why
    found = _measured(args, spec, names, made, asked)
    if found[0].failure:
        print(f"{BASE}: {found[0].failure}", file=sys.stderr)
        return FAILED
    _report(args, found)
    return 0


def _items(args: argparse.Namespace, source: str) -> list[items.Item]:
    if args.items is not None:
        return items.read(args.items)
    if source == DEMO_SOURCE:
        return items.of_the_demo(args.seed)
    raise items.ItemsError(f"what {source} is to answer is not known: --items FILE")


def _compressed(args: argparse.Namespace, model: dict[str, Any], recipe: str) -> str:
    """The folder of the model that a recipe makes. Raises CalledProcessError."""
    out = args.out.absolute() / "models" / recipe
    command = [tokenfleet(), "compress", model["source"], "--recipe", recipe, "--out", str(out)]
    command += ["--seed", str(args.seed)]
    if args.calibration is not None:
        command += ["--calibration", str(args.calibration)]
    subprocess.run(command, stdout=sys.stderr, check=True)
    return str(out)


def _measured(
    args: argparse.Namespace,
    spec: dict[str, Any],
    names: Sequence[str],
    made: dict[str, str],
    asked: Sequence[items.Item],
) -> list[Measured]:
    """Each in turn, the base first, which the others' readings are held against."""
    load = Load(scenario=args.scenario, settings=args.set)
    found: list[Measured] = []
    base: list[Reading] | None = None
    for name in variants.with_base(names):
        model = variants.varied(spec["models"][0], name, made)
        one = {**spec, "models": [model]}
        folder = args.out.absolute() / name.replace(" ", "-")
        this, read = measure(name, one, folder, load, asked, base)
        found.append(this)
        said = this.failure or f"{this.speed.output_tokens_per_s:,.0f} tokens/s"  # type: ignore[union-attr]
        print(f"{name}: {said}", file=sys.stderr)
        if name == BASE:
            base = read
            if this.failure:
                break
    return found


def _report(args: argparse.Namespace, found: Sequence[Measured]) -> None:
    said = verdict(found, args.max_quality_loss)
    about = {"spec": args.base, "scenario": args.scenario, "set": args.set, "seed": args.seed}
    told = {"about": about, "verdict": asdict(said), "variants": [asdict(each) for each in found]}
    (args.out / "result.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    (args.out / "report.html").write_text(report.page(found, said, about), encoding="utf-8")
    print(report.markdown(found, said), end="")
    print(f"{args.out / 'report.html'}", file=sys.stderr)
