"""Real tasks with one right answer, so that a run says how many answers were right under load.

`translate` and `qa` are for the embedded demo model: items that it was not trained on, drawn once
from its corpus by `corpus.held_out_items(task, items, seed=4)`. `tests/loadtest/test_tasks.py`
holds every line against that corpus, and says how the files are made anew. Another model gets a
file of its own, one item a line:

    {"task": "capitals", "prompt": "What is the capital of France?", "expected": "Paris"}

An answer is right where it equals the expected one but for white space at both ends. More requests
than items come in rounds, each in an order of its own; a prompt that comes again finds its KV
blocks: accuracy is what these workloads are for, not latency.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Literal

from pydantic import Field, ValidationError

from loadtest.exact_text import Seed
from loadtest.scenario_parts import Part
from loadtest.sessions import Session, Turn
from loadtest.workloads.kit import Kit, UnfitError, generator

FOLDER = Path(__file__).parent.parent / "tasks"


class TaskItem(Part):
    """A question, and the answer that counts as right."""

    task: str = Field(min_length=1, description="What the report groups answers by. Required.")
    prompt: str = Field(min_length=1, description="The user message. Required.")
    expected: str = Field(min_length=1, description="The right answer. Required.")


class Tasks(Part):
    """Questions of a file, in random order."""

    kind: Literal["tasks"] = "tasks"
    file: str = Field(
        min_length=1,
        description="`translate` or `qa`, which the demo model was trained for, or a file of one's "
        "own in JSON lines. Required.",
    )
    max_tokens: int = Field(
        default=64,
        ge=1,
        description="Most tokens of an answer. Default 64: above the longest right answer of both "
        "files (17 of the demo model's tokens), so only a wrong one is cut.",
    )
    extra: dict[str, Any] = Field(
        default={"temperature": 0},
        description="Further fields of each request's body. Default temperature 0: the model's "
        "best answer.",
    )

    def sessions(self, count: int, seed: Seed, kit: Kit) -> list[Session]:
        """Raises UnfitError for a file that cannot be read. Needs no tokenizer."""
        items = load_items(self.file)
        return [
            Session(
                index=index,
                turns=(Turn(user=i.prompt, max_tokens=self.max_tokens, expected=i.expected),),
                kind=i.task,
                extra=self.extra,
            )
            for index, i in enumerate(islice(_rounds(items, generator(seed, "order")), count))
        ]


def load_items(file: str) -> list[TaskItem]:
    """The items of a file of this package, or of any other. Raises UnfitError with the line."""
    path = FOLDER / f"{file}.jsonl"
    if not path.is_file():
        path = Path(file).expanduser()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UnfitError("file", f"cannot read {path}: {error}") from None
    items = [_item(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not items:
        raise UnfitError("file", f"{path} has no items")
    return items


def _item(path: Path, number: int, line: str) -> TaskItem:
    try:
        return TaskItem.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UnfitError("file", f"{path}:{number}: {where}: {first['msg']}") from None


def _rounds(items: Sequence[TaskItem], rng: Random) -> Iterator[TaskItem]:
    while True:
        yield from rng.sample(items, len(items))
