"""Prompts: repeatable, different from the first words on, and as long as wanted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.prompts import Fit, prompt


def test_the_same_seed_gives_the_same_prompt_in_every_process() -> None:
    assert prompt(4, "a", 1) == "reason fact result level"


def test_prompts_share_no_beginning() -> None:
    starts = {tuple(prompt(50, seed).split()[:8]) for seed in range(1000)}
    assert len(starts) == 1000


@given(st.integers(1, 500), st.integers())
def test_a_prompt_has_its_words(words: int, seed: int) -> None:
    assert len(prompt(words, seed).split()) == words


@given(st.integers(0, 50), st.integers(1, 5), st.integers(60, 2000))
def test_a_fit_recovers_template_and_slope(fixed: int, slope: int, tokens: int) -> None:
    fit = Fit.through((50, fixed + 50 * slope), (150, fixed + 150 * slope))
    assert abs(fixed + slope * fit.words(tokens) - tokens) <= slope


def test_a_prompt_has_at_least_one_word() -> None:
    assert Fit(fixed_tokens=30, tokens_per_word=1.5).words(10) == 1


def test_probes_that_do_not_grow_are_refused() -> None:
    with pytest.raises(ValueError, match="do not grow"):
        Fit.through((50, 100), (150, 100))
