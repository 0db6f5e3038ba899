"""Texts to calibrate with: a file of the user's, or for the demo model its own tasks.

A file has a JSON object a line: `{"text": ...}`, or `{"messages": [...]}` with a chat in OpenAI's
form, to which the model's own template is applied.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any

from serve_app.demo import corpus

Sample = Mapping[str, Any]
"""`text`, or `messages` and perhaps `tools`."""


class CalibrationError(ValueError):
    """The file has a line that is no sample, or none at all."""


def read(path: Path, most: int, seed: int) -> list[Sample]:
    """Up to `most` lines, by the seed. Raises CalibrationError, OSError."""
    lines = [(at, line) for at, line in enumerate(path.read_text().splitlines(), 1) if line.strip()]
    if not lines:
        raise CalibrationError(f"{path} has no samples")
    samples = [_sample(line, f"{path}:{at}") for at, line in lines]
    return samples if len(samples) <= most else Random(seed).sample(samples, most)


def of_the_demo(most: int, seed: int) -> list[Sample]:
    """As many of the texts that the demo model was trained on; none of those it is held to."""
    rng = Random(f"calibration {seed}")
    return [_of_task(rng, task) for task in islice(cycle(corpus.TASKS), most)]


def _of_task(rng: Random, task: str) -> Sample:
    item = corpus.draw(task, rng, held_out=False)
    if not item.messages:
        return {"text": item.prompt + item.answer}
    answer = {"role": "assistant", "content": item.answer}
    return {"messages": [*item.messages, answer], "tools": list(item.tools)}


def _sample(line: str, where: str) -> Sample:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise CalibrationError(f"{where}: no JSON: {error}") from None
    if isinstance(found, dict) and isinstance(found.get("text"), str):
        return {"text": found["text"]}
    if isinstance(found, dict) and isinstance(found.get("messages"), list):
        return {"messages": found["messages"], "tools": found.get("tools") or []}
    raise CalibrationError(f'{where}: neither "text" nor "messages" in {line[:80]!r}')
