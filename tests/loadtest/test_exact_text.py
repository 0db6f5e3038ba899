"""Texts have exactly the tokens asked for, whatever the tokenizer does between words."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.exact_text import ExactTextError, ExactTexts, Piece
from loadtest.token_counter import LocalTokenizer
from tests.loadtest.demo_target import MODEL, token_ids

DEMO = LocalTokenizer.load(MODEL)
TEXTS = ExactTexts(DEMO)


class Counting:
    """A tokenizer in one expression."""

    def __init__(self, count: Callable[[str], int]) -> None:
        self._count = count

    def counts(self, texts: Sequence[str]) -> list[int]:
        return [self._count(text) for text in texts]


@given(st.lists(st.tuples(st.integers(1, 600), st.integers()), min_size=1, max_size=8))
def test_a_text_has_exactly_its_tokens(wanted: list[tuple[int, int]]) -> None:
    texts = TEXTS.build([[Piece(tokens, (seed,))] for tokens, seed in wanted])
    assert [len(token_ids(text)) for text in texts] == [tokens for tokens, _ in wanted]


@pytest.mark.parametrize("tokens", [1, 2, 3, 31, 32, 33, 1000])
def test_so_it_is_for_many_seeds(tokens: int) -> None:
    texts = TEXTS.build([[Piece(tokens, (seed,))] for seed in range(200)])
    assert DEMO.counts(texts) == [tokens] * 200


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.integers())
def test_pieces_add_up(tokens: list[int], seed: int) -> None:
    (text,) = TEXTS.build([[Piece(n, (seed, place)) for place, n in enumerate(tokens)]])
    assert len(token_ids(text)) == sum(tokens)


@settings(max_examples=50)
@given(st.integers(1, 300), st.integers(1, 100), st.integers(1, 100), st.integers())
def test_texts_with_equal_first_pieces_begin_with_equal_tokens(
    shared: int, one: int, other: int, seed: int
) -> None:
    first = Piece(shared, (seed, "shared"))
    texts = TEXTS.build([[first, Piece(one, (seed, 1))], [first, Piece(other, (seed, 2))]])
    a, b = (token_ids(text)[:shared] for text in texts)
    assert a == b


def test_texts_of_different_seeds_begin_differently() -> None:
    texts = TEXTS.build([[Piece(40, (seed,))] for seed in range(1000)])
    assert len({tuple(token_ids(text)[:16]) for text in texts}) == 1000


def test_the_same_seed_gives_the_same_text_in_every_process() -> None:
    (text,) = TEXTS.build([[Piece(12, ("a", 1))]])
    assert text == "reason fact result level"


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(lambda text: len(text.split()) + 1, id="a token before every text"),
        pytest.param(lambda text: len(text.split()) - text.count("e t"), id="merged words"),
        pytest.param(lambda text: len(text.split()) + text.count("y w"), id="split words"),
        pytest.param(lambda text: sum(1 + (len(w) > 4) for w in text.split()), id="two a word"),
    ],
)
def test_it_is_put_right_where_words_do_not_add_up(count: Callable[[str], int]) -> None:
    texts = ExactTexts(Counting(count)).build([[Piece(n, (n,))] for n in range(2, 300)])
    assert [count(text) for text in texts] == list(range(2, 300))


def test_a_tokenizer_of_letters_is_refused() -> None:
    with pytest.raises(ExactTextError, match="no word of the list is a single token"):
        ExactTexts(Counting(len))


def test_a_tokenizer_that_never_counts_right_is_refused() -> None:
    def odd(text: str) -> int:
        words = len(text.split())
        return words if words < 3 else words | 1

    with pytest.raises(ExactTextError, match="exactly 8 tokens"):
        ExactTexts(Counting(odd)).build([[Piece(8, (1,))]])
