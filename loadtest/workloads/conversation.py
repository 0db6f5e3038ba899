"""Chats of several turns: the history grows, and each turn's prompt begins with the one before it.

The answers in the history are the server's own, so only a session's first prompt has a length that
is known before the start. A session ends before a turn that might not fit into the model's context,
as an application would end it.
"""

from math import ceil
from random import Random
from typing import Literal

from pydantic import Field

from loadtest.exact_text import Piece, Seed
from loadtest.scenario_parts import Seconds, Tokens
from loadtest.sessions import Session
from loadtest.workloads.kit import Generated, Kit, generator

REREAD = 1.25
"""An answer's text may be read as more tokens than it was written with, above all where it is
nonsense; so much more is left room for."""


class Conversation(Generated):
    """A system prompt that all share, then user messages and answers by turns."""

    kind: Literal["conversation"] = "conversation"
    turns: Tokens = Field(description="User messages of a session, a number or spread. Required.")
    user_tokens: Tokens = Field(
        description="Tokens of one user message, without the template; a number or a spread. "
        "Required."
    )
    think_s: Seconds = Field(
        default=Seconds(min=1, max=20, median=5),
        description="Seconds from an answer's end to the next message; a number or a spread. "
        "Default 1 to 20, median 5: a short answer read, a short question typed.",
    )

    def sessions(self, count: int, seed: Seed, kit: Kit) -> list[Session]:
        """Raises UnfitError where not even a first turn fits."""
        system = kit.system_prompt(self.system_tokens, seed)
        rng = generator(seed, "lengths")
        plans = [self._plan(rng, kit) for _ in range(count)]
        recipes = [
            [Piece(user, (*seed, index, turn))]
            for index, plan in enumerate(plans)
            for turn, (user, _, _) in enumerate(plan)
        ]
        users = iter(kit.texts.build(recipes))
        first_tokens = self._first_tokens(kit)
        return [
            Session(
                index=index,
                turns=tuple(
                    self.turn(
                        next(users),
                        output,
                        think_s=think_s,
                        prompt_tokens=None if turn else first_tokens + user,
                    )
                    for turn, (user, output, think_s) in enumerate(plan)
                ),
                system=system,
                kind="conversation",
                extra=self.extra,  # special tokens stay hidden: answers come back as text
            )
            for index, plan in enumerate(plans)
        ]

    def _first_tokens(self, kit: Kit) -> int:
        """Of a first prompt, without its user message."""
        around = kit.around_tokens(chat=True, system=self.system_tokens > 0)
        return around + self.system_tokens

    def _plan(self, rng: Random, kit: Kit) -> list[tuple[int, int, float]]:
        """(user tokens, output tokens, think time) per turn, as many as are sure to fit."""
        wanted = [
            (self.user_tokens.draw(rng), self.output_tokens.draw(rng), self.think_s.draw(rng))
            for _ in range(self.turns.draw(rng))
        ]
        history = self._first_tokens(kit)
        plan: list[tuple[int, int, float]] = []
        for user, output, think_s in wanted:
            if plan and not kit.fits(history + user, output):
                break
            kit.check_fits("user_tokens", history + user, output)
            plan.append((user, output, think_s if plan else 0.0))
            history += user + ceil(output * REREAD) + kit.exchange_tokens
        return plan
