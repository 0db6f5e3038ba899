"""What workloads build their sessions with: texts of exact length for one target, and its limit."""

from functools import cached_property
from random import Random
from typing import Any

from pydantic import Field

from loadtest.exact_text import ExactTexts, Piece, Seed
from loadtest.scenario_parts import Part, Tokens
from loadtest.sessions import Turn
from loadtest.target import Target


class UnfitError(ValueError):
    """A workload does not fit its target; `key` is the workload's key that says too much."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(key, message)
        self.key, self.message = key, message


class Kit:
    """Of one target. Raises TargetError where nothing can count tokens, once that is needed."""

    def __init__(self, target: Target) -> None:
        self._target = target

    @property
    def max_model_len(self) -> int | None:
        return self._target.max_model_len

    @cached_property
    def texts(self) -> ExactTexts:
        counter, _ = self._target.counting()
        return ExactTexts(counter)

    def around_tokens(self, *, chat: bool, system: bool = False) -> int:
        """What a request's prompt has beyond its texts: template, BOS."""
        _, framing = self._target.counting()
        if not chat:
            return framing.completion_tokens
        return framing.chat_tokens + (framing.system_tokens if system else 0)

    @property
    def exchange_tokens(self) -> int:
        """What an answer and the next user message add to a chat beyond their texts."""
        _, framing = self._target.counting()
        return framing.exchange_tokens

    def fits(self, prompt_tokens: int, output_tokens: int) -> bool:
        limit = self._target.max_model_len
        return limit is None or prompt_tokens + output_tokens <= limit

    def check_fits(self, key: str, prompt_tokens: int, output_tokens: int) -> None:
        """Raises UnfitError naming `key` where the model's context is too short."""
        if not self.fits(prompt_tokens, output_tokens):
            raise UnfitError(
                key,
                f"a prompt of {prompt_tokens} tokens with an answer of {output_tokens} is longer "
                f"than the {self.max_model_len} tokens of {self._target.model}",
            )

    def system_prompt(self, tokens: int, seed: Seed) -> str | None:
        """One for all sessions of a workload, and so a shared prefix; None for 0 tokens."""
        if tokens == 0:
            return None
        return self.texts.build([[Piece(tokens, (*seed, "system"))]])[0]


class Answered(Part):
    """What workloads have in common whose prompts and answers have set lengths."""

    exact_output: bool = Field(
        default=True,
        description="Whether an answer has exactly so many tokens: `min_tokens`, and special "
        "tokens shown, lest they be chunks of nothing. Default true: else the model decides how "
        "much load there is. Set false for a server that refuses these fields of vLLM's.",
    )
    extra: dict[str, Any] = Field(
        default={"temperature": 0},
        description="Further fields of each request's body. Default temperature 0: the same answer "
        "in every run.",
    )

    def turn(self, user: str, output_tokens: int, **more: Any) -> Turn:
        exact = output_tokens if self.exact_output else None
        return Turn(user=user, max_tokens=output_tokens, min_tokens=exact, **more)

    @property
    def body(self) -> dict[str, Any]:
        """A session's `extra`."""
        shown = {"skip_special_tokens": False} if self.exact_output else {}
        return {**shown, **self.extra}


class Generated(Answered):
    """What workloads of made-up text have in common."""

    output_tokens: Tokens = Field(
        description="Tokens of an answer, as a number or a spread. Required."
    )
    system_tokens: int = Field(
        default=0,
        ge=0,
        description="Tokens of a system prompt that all sessions share. Default 0: none.",
    )


def generator(seed: Seed, what: str) -> Random:
    """One per use, so that no draw depends on how many another use made."""
    return Random(repr((*seed, what)))
