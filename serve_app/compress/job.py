"""A recipe, stage by stage, from a model's folder to a new one.

Whatever is done lies in `OUT.partial` until all is: its finished stages are not done again when an
interrupted command is repeated. `OUT` comes into being with one move.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from serve_app.compress import manifest
from serve_app.compress.calibration import Sample
from serve_app.compress.manifest import Made, Manifest
from serve_app.compress.recipes import RECIPES, Recipe, Stage, served_dtype

WORKER = Path(__file__).with_name("worker.py")
MADE = "made.json"
DONE = "done.json"

RESERVE_FRAC = 2.5
"""Memory for weights as loaded, as rounded, and for a layer's activations and Hessian, over the
weights' size on disk."""


class CompressError(RuntimeError):
    """It was not done, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    source_name: str
    source: Path
    out: Path
    made: Made
    samples: Sequence[Sample]

    @property
    def partial(self) -> Path:
        return self.out.with_name(self.out.name + ".partial")

    @property
    def recipe(self) -> Recipe:
        return RECIPES[self.made.recipe]


def run(job: Job, python: Callable[[], Path], say: Callable[[str], None]) -> Manifest:
    """`python` makes the interpreter that has llm-compressor. Raises CompressError."""
    if job.out.exists():
        return _found(job, say)
    _check_memory(job.source)
    began_s = time.monotonic()
    _claim(job, say)
    source, told = job.source, {}
    stages = job.recipe.stages
    for turn, stage in enumerate(stages, 1):
        folder = job.partial / f"stage-{turn}"
        done = folder / DONE
        if done.exists():
            say(f"stage {turn} of {len(stages)} was done before")
        else:
            say(f"stage {turn} of {len(stages)}: {', '.join(n for n, _ in stage.modifiers)}")
            shutil.rmtree(folder, ignore_errors=True)
            done_text = _run_stage(job, stage, source, folder, python())
            _copy_rest(job.source, folder)
            done.write_text(done_text)
        told, source = json.loads(done.read_text()), folder
    return _finish(job, source, told, time.monotonic() - began_s)


def _found(job: Job, say: Callable[[str], None]) -> Manifest:
    there = manifest.read(job.out)
    if there is None or there.made != job.made:
        raise CompressError(f"{job.out} exists and is something else; nothing was done")
    say(f"{job.out} is there already")
    return there


def _check_memory(source: Path) -> None:
    needs, free = manifest.weight_bytes(source) * RESERVE_FRAC, psutil.virtual_memory().available
    if not needs:
        raise CompressError(f"{source} has no {manifest.WEIGHTS}")
    if needs > free:
        raise CompressError(
            f"about {needs / 2**30:.1f} GiB of memory are needed, {free / 2**30:.1f} GiB are free"
        )


def _claim(job: Job, say: Callable[[str], None]) -> None:
    """What another job left there is not built on."""
    made = job.partial / MADE
    if made.exists() and Made.model_validate_json(made.read_text()) != job.made:
        say(f"{job.partial} is another recipe's or another model's: it is removed")
        shutil.rmtree(job.partial)
    job.partial.mkdir(parents=True, exist_ok=True)
    made.write_text(job.made.model_dump_json())


def _run_stage(job: Job, stage: Stage, source: Path, folder: Path, python: Path) -> str:
    """The worker's last line, which says what it did."""
    dtype = _dtype(job.source)
    given: dict[str, Any] = {
        "source": str(source),
        "out": str(folder),
        "modifiers": [[name, dict(options)] for name, options in stage.modifiers],
        "samples": list(job.samples) if stage.calibrated else None,
        "seed": job.made.seed,
        "max_seq_tokens": job.made.max_seq_tokens,
        # Between stages it is computed in what the source is.
        "dtype": served_dtype(job.recipe, dtype) if stage is job.recipe.stages[-1] else dtype,
    }
    task = job.partial / "job.json"
    task.write_text(json.dumps(given))
    # In its own folder: llm-compressor writes its logs where it is started.
    done = subprocess.run(
        [python, str(WORKER), str(task)],
        stdout=subprocess.PIPE, cwd=job.partial, text=True, check=False,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise CompressError(
            f"llm-compressor ended with status {done.returncode}; the same command goes on from "
            f"the stages in {job.partial}"
        )
    return lines[-1]


def _dtype(source: Path) -> str:
    """Of its config.json, by its new name or its old one."""
    config = json.loads((source / "config.json").read_text())
    return str(config.get("dtype") or config.get("torch_dtype") or "auto")


def _copy_rest(source: Path, folder: Path) -> None:
    """What of a model's folder nobody wrote anew: its chat template, how it is generated from."""
    for path in source.iterdir():
        if path.is_file() and path.suffix in (".json", ".jinja", ".model", ".txt"):
            target = folder / path.name
            if not target.exists() and path.name not in (manifest.FILE, "evaluation.json"):
                shutil.copy(path, target)


def _finish(job: Job, folder: Path, told: dict[str, Any], took_s: float) -> Manifest:
    (folder / DONE).unlink()
    made = Manifest(
        made=job.made,
        source=job.source_name,
        bytes_before=manifest.weight_bytes(job.source),
        bytes_after=manifest.weight_bytes(folder),
        zero_frac=told["zero_frac"],
        kept=told["kept"],
        took_s=round(took_s, 1),
    )
    made.write(folder)
    folder.rename(job.out)
    shutil.rmtree(job.partial)
    return made
