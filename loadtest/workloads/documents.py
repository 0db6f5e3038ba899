"""Retrieval: a long document and a short question about it, where documents come again.

A document is the same text for all who ask about it, so the second who does finds its KV blocks, if
they are still there. How often documents come again follows Zipf's law: the k-th most wanted of
them is asked about in proportion to 1 / k**skew.
"""

from itertools import accumulate
from typing import Literal

from pydantic import Field

from loadtest.exact_text import Piece, Seed
from loadtest.scenario_parts import Tokens
from loadtest.sessions import Session
from loadtest.workloads.kit import Generated, Kit, generator


class Documents(Generated):
    """Prompts of a shared document, then a question of one's own."""

    kind: Literal["documents"] = "documents"
    documents: int = Field(ge=1, description="How many different documents there are. Required.")
    document_tokens: Tokens = Field(
        description="Tokens of a document, a number or a spread. Required."
    )
    question_tokens: Tokens = Field(
        description="Tokens of a question, a number or a spread. Required."
    )
    skew: float = Field(
        default=1.0,
        ge=0,
        le=5,
        description="How much more some documents are wanted than others; 0 is all alike. Default "
        "1: Zipf's law, which the popularity of web pages follows closely.",
    )

    def sessions(self, count: int, seed: Seed, kit: Kit) -> list[Session]:
        """Raises UnfitError for a document that does not fit into the model's context."""
        system = kit.system_prompt(self.system_tokens, seed)
        around = kit.around_tokens(chat=True, system=self.system_tokens > 0) + self.system_tokens
        documents = self._documents(seed)
        rng = generator(seed, "questions")
        chances = list(accumulate((rank + 1) ** -self.skew for rank in range(self.documents)))
        recipes = [
            [
                rng.choices(documents, cum_weights=chances)[0],
                Piece(self.question_tokens.draw(rng), (*seed, index)),
            ]
            for index in range(count)
        ]
        outputs = [self.output_tokens.draw(rng) for _ in recipes]
        prompts = [around + sum(piece.tokens for piece in recipe) for recipe in recipes]
        for prompt, output in zip(prompts, outputs, strict=True):
            kit.check_fits("document_tokens", prompt, output)
        return [
            Session(
                index=index,
                turns=(self.turn(user, output, prompt_tokens=prompt),),
                system=system,
                kind="documents",
                extra=self.body,
            )
            for index, (user, prompt, output) in enumerate(
                zip(kit.texts.build(recipes), prompts, outputs, strict=True)
            )
        ]

    def _documents(self, seed: Seed) -> list[Piece]:
        """The most wanted first."""
        rng = generator(seed, "documents")
        return [
            Piece(self.document_tokens.draw(rng), (*seed, "document", number))
            for number in range(self.documents)
        ]
