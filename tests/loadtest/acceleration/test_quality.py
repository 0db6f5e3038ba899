"""What is made of a server's answers: matches, perplexity, agreement, divergence."""

from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.acceleration import quality as subject
from loadtest.acceleration.items import Item
from loadtest.acceleration.quality import Matches, Position

MATCHES = {"generation": Matches(correct=9, n=10), "translation": Matches(correct=1, n=2)}


def position(token: int, **probabilities: float) -> Position:
    """`t7=0.5`: token 7 has probability 0.5."""
    top = {int(name[1:]): log(p) for name, p in probabilities.items()}
    return Position(top[token], top)


def test_perplexity_is_that_of_the_tokens_that_are_there():
    read = [[position(1, t1=0.5, t2=0.5)], [position(2, t1=0.875, t2=0.125)]]
    found = subject.quality(MATCHES, read, None)
    assert found.perplexity == pytest.approx(exp(-(log(0.5) + log(0.125)) / 2)) == pytest.approx(4)
    assert (found.agreement_frac, found.divergence_nats) == (None, None)


def test_tasks_count_alike_whatever_their_size():
    assert subject.quality(MATCHES, [], None).exact_frac == pytest.approx((0.9 + 0.5) / 2)


def test_agreement_is_on_the_most_likely_token():
    base = [[position(1, t1=0.6, t2=0.4), position(1, t1=0.6, t2=0.4)]]
    mine = [[position(1, t1=0.9, t2=0.1), position(1, t1=0.3, t2=0.7)]]
    assert subject.quality(MATCHES, mine, base).agreement_frac == 0.5


def test_divergence_by_hand():
    base = [[position(1, t1=0.5, t2=0.25)]]  # and 0.25 for all others
    mine = [[position(1, t1=0.25, t2=0.25)]]  # and 0.5
    found = subject.quality(MATCHES, mine, base)
    assert found.divergence_nats == pytest.approx(0.5 * log(2) + 0.25 * log(0.25 / 0.5))


def test_what_only_one_of_them_tells_of_counts_with_the_others():
    base = [[position(1, t1=0.5, t2=0.3)]]
    mine = [[position(1, t1=0.5, t3=0.3)]]
    assert subject.quality(MATCHES, mine, base).divergence_nats == pytest.approx(0.0)


@given(st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3), st.floats(0.0, 0.9))
def test_it_is_zero_for_itself_and_never_below(weights: list[float], others: float):
    total = sum(weights) / (1.0 - others)
    one = position(1, **{f"t{at}": weight / total for at, weight in enumerate(weights, 1)})
    other = position(1, t1=0.5, t2=0.2, t3=0.1)
    assert subject.quality(MATCHES, [[one]], [[one]]).divergence_nats == pytest.approx(0, abs=1e-6)
    assert subject.quality(MATCHES, [[one]], [[other]]).divergence_nats >= -1e-6


class Server:
    """Answers as vLLM does."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict]] = []

    def post(self, path: str, body: dict) -> dict:
        self.asked.append((path, body))
        if "prompt_logprobs" in body:
            tops = [
                None,
                {"7": {"logprob": -0.5, "rank": 1}, "8": {"logprob": -1.5, "rank": 2}},
                {"7": {"logprob": -9.5, "rank": 40}, "8": {"logprob": -0.1, "rank": 1}},
            ]
            return {"choices": [{"prompt_token_ids": [5, 7, 7], "prompt_logprobs": tops}]}
        if path.endswith("chat/completions"):
            return {"choices": [{"message": {"content": " Paris.\n"}}]}
        return {"choices": [{"text": "very well"}]}


def test_answers_are_held_against_the_right_ones():
    items = [
        Item(task="a", prompt="He sings", answer=" very well"),
        Item(task="b", messages=({"role": "user", "content": "?"},), answer="Paris."),
        Item(task="b", messages=({"role": "user", "content": "?"},), answer="Rome."),
    ]
    server = Server()
    found = subject.answers(server, "demo", items)
    assert found == {"a": Matches(correct=1, n=1), "b": Matches(correct=1, n=2)}
    assert {body["temperature"] for _, body in server.asked} == {0}


def test_a_text_is_read_token_by_token_but_for_its_first():
    ((second, third),) = subject.readings(Server(), "demo", ["some text"])
    assert (second.logprob, third.logprob) == (-0.5, -9.5)
    assert list(third.top) == [8, 7]
