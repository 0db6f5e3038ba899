"""Texts of random words that have exactly so many tokens, the same for the same seed.

What each word of `loadtest/prompts.py` costs is counted once, as the first word and after another.
A text takes seeded words while they fit and is filled up with words of one token. Every text is
then counted whole, and put right at its end where its tokens are not the sum of its words', so what
is handed out is exact whatever the tokenizer does.

A text may be made of several pieces, each with its own seed: texts whose first pieces are alike
begin alike, and so share KV blocks. Of one seed, a shorter text is the beginning of a longer one up
to its last word or so.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from random import Random

from loadtest.prompts import WORDS
from loadtest.token_counter import TokenCounter

CORRECTIONS = 8
"""Rounds of counting again; one is enough where words are counted as they stand in a text."""

Seed = tuple[Hashable, ...]


class ExactTextError(ValueError):
    """This tokenizer does not give texts of these lengths."""


@dataclass(frozen=True, slots=True)
class Piece:
    """`tokens` tokens of words; no words for 0."""

    tokens: int
    seed: Seed


@dataclass(frozen=True, slots=True)
class _Place:
    """What each word costs in tokens in one place of a text, and those that cost least, but not
    nothing."""

    tokens: dict[str, int]
    cheapest: tuple[str, ...]

    @classmethod
    def of(cls, counts: Sequence[int]) -> "_Place":
        tokens = dict(zip(WORDS, counts, strict=True))
        least = min((count for count in counts if count > 0), default=0)
        return cls(tokens, tuple(word for word in WORDS if tokens[word] == least))


class ExactTexts:
    """Builds texts for one tokenizer. Raises ExactTextError for one that has no use for words."""

    def __init__(self, counter: TokenCounter) -> None:
        before = WORDS[0]
        counts = counter.counts([*WORDS, *(f"{before} {word}" for word in WORDS)])
        self._counter = counter
        self._first = _Place.of(counts[: len(WORDS)])
        self._later = _Place.of([count - counts[0] for count in counts[len(WORDS) :]])
        if self._later.tokens[self._later.cheapest[0]] != 1:
            raise ExactTextError("no word of the list is a single token of this tokenizer")

    def build(self, recipes: Sequence[Sequence[Piece]]) -> list[str]:
        """One text per recipe: its pieces in a row, together of as many tokens as they ask for.

        Raises ExactTextError where a text does not come out right.
        """
        texts = [self._draft(recipe) for recipe in recipes]
        wanted = [sum(piece.tokens for piece in recipe) for recipe in recipes]
        open_ = list(range(len(texts)))
        for _ in range(CORRECTIONS):
            counts = self._counter.counts([" ".join(texts[index]) for index in open_])
            missing = {
                index: wanted[index] - count for index, count in zip(open_, counts, strict=True)
            }
            open_ = [index for index in open_ if missing[index]]
            if not open_:
                return [" ".join(words) for words in texts]
            for index in open_:
                self._correct(texts[index], missing[index])
        raise ExactTextError(f"cannot build a text of exactly {wanted[open_[0]]} tokens")

    def _draft(self, recipe: Sequence[Piece]) -> list[str]:
        words: list[str] = []
        for piece in recipe:
            self._extend(words, piece)
        return words

    def _extend(self, words: list[str], piece: Piece) -> None:
        rng = Random(repr(piece.seed))  # a str seeds by its digest, not by a per-process hash
        left = piece.tokens
        for word in rng.choices(WORDS, k=piece.tokens):  # enough: none costs less than one
            place = self._later if words else self._first
            if place.tokens[word] > left:
                break
            words.append(word)
            left -= place.tokens[word]
        if left and not words:
            words.append(rng.choice(self._first.cheapest))
            left -= self._first.tokens[words[0]]
        words += rng.choices(self._later.cheapest, k=max(0, left))

    def _correct(self, words: list[str], missing: int) -> None:
        """Adds `missing` tokens, or takes them away where it is negative."""
        while missing < 0 and len(words) > 1:
            missing += self._later.tokens[words.pop()]
        words += self._later.cheapest[:1] * missing
