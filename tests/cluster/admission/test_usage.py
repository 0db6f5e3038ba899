"""What a request used, counted once whatever happens to it on its way."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.admission.usage import FlightAccount, Usage, UsageCounters, of_request

ATTEMPTS = st.lists(
    st.tuples(
        st.floats(0, 5),  # seconds before it is sent
        st.lists(st.tuples(st.floats(0, 2), st.integers(0, 4)), max_size=6),  # its tokens
        st.sampled_from(["lost", "replaced", "live"]),
        st.none() | st.integers(0, 200),  # of its prompt, what it says was cached
    ),
    max_size=5,
)


@settings(max_examples=200, deadline=None)
@given(ATTEMPTS, st.integers(0, 150), st.data())
def test_every_token_and_second_counts_once_over_any_attempts(
    attempts: list[tuple[float, list[tuple[float, int]], str, int | None]],
    prompt_tokens: int,
    data: st.DataObject,
) -> None:
    """The oracle adds up what was said by whoever was the live attempt then; everyone before goes
    on talking, and is not listened to."""
    flight = FlightAccount(prompt_tokens=prompt_tokens)
    now_s = live_s = 0.0
    passed, cached = 0, None
    for number, (wait_s, steps, end, says_cached) in enumerate(attempts):
        was_live = number > 0 and attempts[number - 1][2] != "lost"
        now_s += wait_s
        live_s += wait_s if was_live else 0.0
        flight.sent(f"#{number}", now_s)
        for step_s, tokens in steps:
            now_s, live_s = now_s + step_s, live_s + step_s
            flight.answered(f"#{number}", tokens, says_cached)
            passed += tokens
            cached = says_cached if cached is None else cached
            if number:
                earlier = data.draw(st.integers(0, number - 1))
                flight.answered(f"#{earlier}", 100, 100)
                flight.over(f"#{earlier}", now_s)
        if end == "lost":
            flight.over(f"#{number}", now_s)
            flight.answered(f"#{number}", 100, 100)
            flight.over(f"#{number}", now_s + 1)
    used = flight.usage(now_s)
    assert used.output_tokens == passed
    assert used.prompt_tokens == (prompt_tokens if attempts else 0)
    assert used.cached_tokens == min(cached or 0, prompt_tokens)
    assert used.engine_s == pytest.approx(live_s)
    assert used.engine_s <= now_s + 1e-9
    assert used.attempts == len(attempts)


def test_a_request_for_several_answers_is_one_with_one_prompt() -> None:
    flights = [FlightAccount(prompt_tokens=tokens) for tokens in (100, 0, 0)]
    for flight in flights:
        flight.sent("#1", 0.0)
        flight.answered("#1", 10, 64)
        flight.over("#1", 2.0)
    assert of_request(flights, 9.0) == Usage(
        requests=1,
        prompt_tokens=100,
        cached_tokens=64,
        output_tokens=30,
        engine_s=6.0,
        attempts=3,
    )
    assert of_request([], 0.0) == Usage(requests=1)


def test_counters_add_up_by_tenant_and_model() -> None:
    counters = UsageCounters()
    for tenant, model, tokens in [("a", "m", 1), ("a", "m", 2), ("a", "n", 4), ("b", "m", 8)]:
        counters.add(tenant, model, Usage(requests=1, output_tokens=tokens))
    assert counters.of("a") == {
        "m": Usage(requests=2, output_tokens=3),
        "n": Usage(requests=1, output_tokens=4),
    }
    assert counters.of("nobody") == {}
    assert sum(usage.output_tokens for usage in counters.all().values()) == 15
