"""What a model is asked, with the one right answer to each; and texts that it has not seen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from serve_app.demo import corpus

PER_TASK = 50
DEMO_TASKS: Mapping[str, Sequence[str]] = {
    "generation": ("completion_en", "completion_zh", "stories", "stories_zh"),
    "translation": ("translation_en_zh", "translation_zh_en"),
    "question answering": ("arithmetic", "capitals", "passages"),
}


class Item(BaseModel):
    """A `prompt` as it is, or `messages` of a chat. `task`: what it is counted under."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    answer: str
    prompt: str = ""
    messages: tuple[Mapping[str, Any], ...] = ()

    @property
    def text(self) -> str:
        """Prompt and answer; empty for a chat, whose template is the server's."""
        return "" if self.messages else self.prompt + self.answer


class ItemsError(ValueError):
    """A line of the file is no item."""


def of_the_demo(seed: int, per_task: int = PER_TASK) -> list[Item]:
    """Held out from its training."""
    return [
        Item(task=group, answer=item.answer, prompt=item.prompt, messages=item.messages)
        for group, names in DEMO_TASKS.items()
        for name in names
        for item in corpus.held_out_items(name, per_task, seed)
    ]


def read(path: Path) -> list[Item]:
    """Raises ItemsError, OSError."""
    found = []
    for at, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            found.append(Item.model_validate(json.loads(line)))
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ItemsError(f"{path}:{at}: {wrong}") from None
        except ValueError as error:
            raise ItemsError(f"{path}:{at}: no JSON: {error}") from None
    if not found:
        raise ItemsError(f"{path} has no items")
    return found
