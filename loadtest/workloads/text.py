"""Single requests whose prompts share nothing but what the template and a system prompt put first.

Different prompts differ from the first word on, so no request finds another's KV blocks.
"""

from typing import Literal

from pydantic import Field

from loadtest.exact_text import Piece, Seed
from loadtest.scenario_parts import Tokens
from loadtest.sessions import Session
from loadtest.workloads.kit import Generated, Kit, UnfitError, generator


class Text(Generated):
    """Random words in, so many tokens out."""

    kind: Literal["text"] = "text"
    prompt_tokens: Tokens = Field(
        description="Tokens of a whole prompt as the server counts them, chat template and system "
        "prompt included; a number or a spread. Required."
    )
    chat: bool = Field(
        default=True,
        description="Whether /v1/chat/completions is asked, else /v1/completions, which takes no "
        "system prompt. Default true: what applications use.",
    )

    def sessions(self, count: int, seed: Seed, kit: Kit) -> list[Session]:
        """Raises UnfitError for lengths that this target cannot be asked for."""
        has_system = self.chat and self.system_tokens > 0
        system = kit.system_prompt(self.system_tokens, seed) if has_system else None
        around = kit.around_tokens(chat=self.chat, system=has_system)
        fixed_tokens = around + (self.system_tokens if has_system else 0)
        lengths = self._lengths(count, seed, kit, fixed_tokens)
        recipes = [
            [Piece(prompt - fixed_tokens, (*seed, index))]
            for index, (prompt, _) in enumerate(lengths)
        ]
        return [
            Session(
                index=index,
                turns=(self.turn(user, output, prompt_tokens=prompt),),
                chat=self.chat,
                system=system,
                kind="chat" if self.chat else "completion",
                extra=self.body,
            )
            for index, (user, (prompt, output)) in enumerate(
                zip(kit.texts.build(recipes), lengths, strict=True)
            )
        ]

    def _lengths(
        self, count: int, seed: Seed, kit: Kit, fixed_tokens: int
    ) -> list[tuple[int, int]]:
        """(prompt, output) tokens of each request."""
        if self.prompt_tokens.min <= fixed_tokens:
            raise UnfitError(
                "prompt_tokens",
                f"{self.prompt_tokens.min} leaves no room for a word: template and system prompt "
                f"alone take {fixed_tokens} tokens",
            )
        rng = generator(seed, "lengths")
        lengths = [
            (self.prompt_tokens.draw(rng), self.output_tokens.draw(rng)) for _ in range(count)
        ]
        for prompt, output in lengths:
            kit.check_fits("prompt_tokens", prompt, output)
        return lengths
