"""Seeded prompts of random common words: every one different from its first tokens on.

Different first tokens matter: two prompts that share a first KV block would measure the prefix
cache. Lengths are set in words; `Fit` turns a wanted token count into words for the tokenizer at
hand, from what the server's `usage` said about two probes, so no tokenizer is needed here.
"""

from dataclasses import dataclass
from random import Random

WORD_LIST = (
    "time year people way day man thing woman life child world school state family student group "
    "country problem hand part place case week company system program question work night point "
    "home water room mother area money story fact month lot right study book eye job word business "
    "issue side kind head house service friend father power hour game line end member law car city "
    "community name president team minute idea kid body information back parent face others level "
    "office door health person art war history party result change morning reason research girl"
)
WORDS = WORD_LIST.split()


def prompt(words: int, *seed: object) -> str:
    """`words` words; the same for the same seed, in every process."""
    rng = Random(repr(seed))  # a str seeds by its digest, not by Python's per-process hash
    return " ".join(rng.choices(WORDS, k=words))


@dataclass(frozen=True, slots=True)
class Fit:
    """Prompt tokens as a line in words: the template's own tokens, and tokens per word."""

    fixed_tokens: float
    tokens_per_word: float

    @classmethod
    def through(cls, a: tuple[int, int], b: tuple[int, int]) -> "Fit":
        """From two probes (words, prompt tokens) with different word counts."""
        (words_a, tokens_a), (words_b, tokens_b) = a, b
        slope = (tokens_b - tokens_a) / (words_b - words_a)
        if slope <= 0:
            raise ValueError(f"prompt tokens do not grow with words: {a}, {b}")
        return cls(tokens_a - slope * words_a, slope)

    def words(self, tokens: int) -> int:
        """Words of a prompt of about `tokens` tokens; at least 1."""
        return max(1, round((tokens - self.fixed_tokens) / self.tokens_per_word))
