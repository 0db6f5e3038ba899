"""The search for the limit: it finds a known one, confirms what chance decided, and always ends."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from math import exp, log, log2
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.arrivals import Poisson, instants_s
from loadtest.search import (
    CLIENT_TRIALS,
    Found,
    SearchSettings,
    Trial,
    Tried,
    Try,
    next_step,
    trial_of,
)
from loadtest.slo import parse_slo
from tests.loadtest.made_records import missed, record
from tests.loadtest.simulated_server import served

Server = Callable[[float], Trial]
SETTINGS = SearchSettings()
NOT_HURRIED = settings(deadline=None)  # an example is much work, on a busy machine too


def trial(rate_per_s: float, good: int, offered: int = 1000, **fields: int) -> Trial:
    """A trial whose requests in flight do not grow."""
    flight = {"missed": 0, "late_offered": offered // 2, "in_flight_midway": 9}
    flight = {**flight, "in_flight_at_end": 9, **fields}
    client_limited = bool(flight.pop("client_limited", False))
    return Trial(
        rate_per_s=rate_per_s, offered=offered, good=good, client_limited=client_limited, **flight
    )


def sharp(limit_per_s: float, offered: int = 1000) -> Server:
    """All requests are good up to the limit, none above it."""
    return lambda rate_per_s: trial(
        rate_per_s, offered if rate_per_s <= limit_per_s else 0, offered
    )


def noisy(middle_per_s: float, seed: int, offered: int = 300) -> Server:
    """Half of the requests are good at the middle; chance decides on each."""
    rng = Random(seed)

    def server(rate_per_s: float) -> Trial:
        share = 1 / (1 + exp(20 * log(rate_per_s / middle_per_s)))
        return trial(rate_per_s, sum(rng.random() < share for _ in range(offered)), offered)

    return server


def searched(settings: SearchSettings, server: Server) -> tuple[Found, list[Trial]]:
    trials: list[Trial] = []
    while isinstance(step := next_step(settings, trials), Try):
        trials.append(server(step.rate_per_s))
    return step, trials


@NOT_HURRIED
@given(st.floats(0.02, 9000), st.floats(0.01, 10_000), st.floats(0.001, 1))
def test_a_sharp_limit_is_found_to_the_precision(
    limit_per_s: float, start_per_s: float, precision: float
) -> None:
    settings = SearchSettings(start_per_s=start_per_s, precision=precision)
    found, trials = searched(settings, sharp(limit_per_s))
    assert found.why == "within precision"
    assert found.best is not None
    assert found.beyond is not None
    assert found.best.rate_per_s <= limit_per_s < found.beyond.rate_per_s
    assert found.beyond.rate_per_s <= found.best.rate_per_s * (1 + precision)
    # Doublings or halvings, then halvings of what is between, and one for its rounding.
    doublings = abs(log2(limit_per_s / start_per_s)) + 2
    assert len(trials) <= doublings + log2(max(1, log(2) / log(1 + precision))) + 2


@NOT_HURRIED
@given(st.lists(st.floats(0.05, 5000), min_size=2, max_size=2, unique=True))
def test_a_faster_server_never_gets_a_lower_rate(limits_per_s: list[float]) -> None:
    slow, fast = (searched(SETTINGS, sharp(limit))[0].best for limit in sorted(limits_per_s))
    assert slow is not None
    assert fast is not None
    assert slow.rate_per_s <= fast.rate_per_s


@NOT_HURRIED
@given(st.integers(0, 2**32), st.floats(0.5, 500))
def test_with_chance_the_search_ends_near_the_rate_that_meets_the_target(
    seed: int, middle_per_s: float
) -> None:
    settings = SearchSettings(target=0.9)
    found, trials = searched(settings, noisy(middle_per_s, seed))
    at_target = middle_per_s * (1 / 0.9 - 1) ** (1 / 20)
    assert found.best is not None
    assert found.best.rate_per_s == pytest.approx(at_target, rel=0.12)
    assert len(trials) <= settings.max_trials
    assert all(t.trials <= settings.attempts for t in found.tried)


@NOT_HURRIED
@given(
    st.lists(
        st.builds(trial, st.sampled_from([0.5, 1.0, 2.0, 4.0]), st.integers(0, 100), st.just(100)),
        max_size=30,
    ),
    st.randoms(),
)
def test_the_order_of_the_trials_does_not_matter(trials: list[Trial], rng: Random) -> None:
    shuffled = list(trials)
    rng.shuffle(shuffled)
    assert next_step(SETTINGS, shuffled) == next_step(SETTINGS, trials)


@NOT_HURRIED
@given(st.integers(0, 2**32), st.integers(1, 30))
def test_whatever_a_server_does_the_search_ends(seed: int, max_trials: int) -> None:
    rng = Random(seed)
    settings = SearchSettings(max_trials=max_trials)
    found, trials = searched(settings, lambda rate: trial(rate, rng.randint(0, 20), 20))
    assert len(trials) <= max_trials
    assert sum(t.trials for t in found.tried) == len(trials)
    if found.best and found.beyond:
        assert found.best.rate_per_s < found.beyond.rate_per_s


def test_the_rate_doubles_until_it_fails_then_the_middle_is_tried() -> None:
    _, trials = searched(SearchSettings(precision=0.2), sharp(5))
    assert [t.rate_per_s for t in trials] == [1, 2, 4, 8, 5.6569, 4.7568]


def test_the_rate_halves_where_the_first_fails() -> None:
    _, trials = searched(SearchSettings(precision=0.5, start_per_s=8), sharp(1.9))
    assert [t.rate_per_s for t in trials] == [8, 4, 2, 1, 1.4142]


def test_where_everything_passes_the_greatest_rate_is_found() -> None:
    found, trials = searched(SearchSettings(max_per_s=5), sharp(100))
    assert [t.rate_per_s for t in trials] == [1, 2, 4, 5]
    assert found.best is not None
    assert (found.best.rate_per_s, found.beyond, found.why) == (5, None, "max_per_s passes")


def test_where_nothing_passes_no_rate_is_found() -> None:
    found, trials = searched(SearchSettings(min_per_s=0.3), sharp(0))
    assert [t.rate_per_s for t in trials] == [1, 0.5, 0.3]
    assert (found.best, found.why) == (None, "min_per_s fails")


def test_too_many_trials_end_it_with_the_best_so_far() -> None:
    found, _ = searched(SearchSettings(max_trials=3), sharp(1000))
    assert found.best is not None
    assert (found.best.rate_per_s, found.why) == (4, "max_trials")


def ended(settings: SearchSettings, *trials: Trial) -> Found:
    step = next_step(settings, trials)
    assert isinstance(step, Found)
    return step


def test_an_uncertain_end_is_tried_again_with_all_its_requests_counted() -> None:
    """99 of 100 is the target, and may as well be a rate that misses it."""
    settings, likely = SearchSettings(max_per_s=2, attempts=3), trial(2, 99, 100)
    assert next_step(settings, [likely]) == Try(2)
    assert next_step(settings, [likely] * 2) == Try(2)
    best = ended(settings, likely, likely, likely).best
    assert best is not None
    assert (best.trials, best.offered, best.good, best.certain) == (3, 300, 297, False)


def test_a_certain_end_is_not_tried_again() -> None:
    best = ended(SearchSettings(max_per_s=2), trial(2, 1000)).best
    assert best is not None
    assert (best.trials, best.certain) == (1, True)


def test_an_uncertain_rate_on_the_way_up_is_passed_by() -> None:
    assert next_step(SETTINGS, [trial(2, 99, 100)]) == Try(4)


def test_an_end_that_changes_sides_is_searched_on_from() -> None:
    settings = SearchSettings(precision=1)
    lucky = [trial(1, 1000), trial(2, 99, 100), trial(4, 0)]
    assert next_step(settings, lucky) == Try(2)
    found = ended(settings, *lucky, trial(2, 80, 100))
    assert found.best is not None
    assert found.beyond is not None
    assert (found.best.rate_per_s, found.beyond.rate_per_s) == (1, 2)


def test_a_rate_that_passes_above_one_that_fails_does_not_count() -> None:
    found = ended(SearchSettings(precision=1), trial(1, 1000), trial(2, 0), trial(4, 1000))
    assert found.best is not None
    assert found.best.rate_per_s == 1


@pytest.mark.parametrize(
    ("fields", "saturated"),
    [
        pytest.param({}, False, id="as many end as come"),
        pytest.param({"missed": 1}, True, id="one was not sent"),
        pytest.param({"in_flight_at_end": 46}, False, id="within 5 % and chance"),
        pytest.param({"in_flight_at_end": 47}, True, id="more than that"),
        pytest.param({"in_flight_at_end": 0}, False, id="fewer at the end"),
    ],
)
def test_over_saturation_fails_for_certain(fields: dict[str, int], saturated: bool) -> None:
    """Of 500 in the second half 5 % are 25; three times √(2 · 9) are 12.7 more than the 9."""
    one = trial(1.0, 1000, 1000, **fields)
    assert one.over_saturated(0.05) is saturated
    step = next_step(SETTINGS, [one])
    assert step == Try(0.5 if saturated else 2.0)


def test_a_trial_counts_what_came_and_what_is_still_there() -> None:
    slo = parse_slo("ttft_p99=500ms")
    records = [
        record(1, ttft_s=0.1, tokens=1),
        record(2, ttft_s=3.5, tokens=1),  # until 5.5: in flight midway, and too late
        record(6, ttft_s=0.2, tokens=1),
        record(7, ttft_s=9, tokens=1),  # in flight at the end
        record(8, error="timeout"),
        missed(9),
        record(0, warm_up=True),
    ]
    assert trial_of(records, slo, rate_per_s=0.6, duration_s=10) == Trial(
        rate_per_s=0.6,
        offered=6,
        good=2,
        missed=1,
        late_offered=3,
        in_flight_midway=1,
        in_flight_at_end=1,
    )


def late(rate_per_s: float) -> Trial:
    """One that the client could not keep up with; what else it says must count for nothing."""
    return trial(rate_per_s, 0, missed=1, client_limited=True)


@NOT_HURRIED
@given(st.floats(0.02, 5000), st.floats(0.02, 5000))
def test_a_client_that_cannot_offer_more_is_told_from_the_limit_of_the_server(
    server_per_s: float, client_per_s: float
) -> None:
    server = sharp(server_per_s)
    found, trials = searched(SETTINGS, lambda r: server(r) if r <= client_per_s else late(r))
    assert found.best is not None
    assert found.beyond is not None
    assert found.best.rate_per_s <= min(server_per_s, client_per_s) < found.beyond.rate_per_s
    assert found.beyond.rate_per_s <= found.best.rate_per_s * (1 + SETTINGS.precision)
    limited = found.beyond.rate_per_s > client_per_s
    assert found.limited_by == ("client" if limited else "server")
    for rate_per_s in (t.rate_per_s for t in trials if t.client_limited):
        assert sum(t.rate_per_s == rate_per_s for t in trials) == CLIENT_TRIALS


@NOT_HURRIED
@given(st.floats(0.5, 500), st.sets(st.integers(0, 20)))
def test_a_client_that_was_late_by_chance_changes_nothing_but_the_number_of_trials(
    limit_per_s: float, late_at: set[int]
) -> None:
    expected, _ = searched(SETTINGS, sharp(limit_per_s))
    late_rates: list[float] = []

    def server(rate_per_s: float) -> Trial:
        number = next(numbers)
        if number in late_at and rate_per_s not in late_rates:
            late_rates.append(rate_per_s)
            return late(rate_per_s)
        return sharp(limit_per_s)(rate_per_s)

    numbers = count()
    found, _ = searched(SETTINGS, server)
    assert (found.why, found.limited_by) == (expected.why, expected.limited_by)
    assert [as_measured(t) for t in found.tried] == [as_measured(t) for t in expected.tried]
    assert sum(t.client_limited_trials for t in found.tried) == len(late_rates)


def as_measured(tried: Tried) -> Tried:
    return replace(
        tried, trials=tried.trials - tried.client_limited_trials, client_limited_trials=0
    )


def test_a_client_limited_trial_is_made_again_at_once_and_then_bounds_the_search() -> None:
    assert next_step(SETTINGS, [trial(1, 1000), late(2)]) == Try(2)
    assert next_step(SETTINGS, [trial(1, 1000), late(2), late(2)]) == Try(1.4142)
    assert next_step(SETTINGS, [trial(1, 1000), late(2), trial(2, 1000)]) == Try(4)


def test_a_rate_that_is_not_yet_known_is_neither_end() -> None:
    found = ended(SearchSettings(max_trials=2), trial(1, 1000), late(2))
    assert found.best is not None
    assert (found.best.rate_per_s, found.beyond, found.limited_by) == (1, None, None)


def test_where_the_client_can_offer_nothing_the_server_is_not_blamed() -> None:
    found, _ = searched(SearchSettings(min_per_s=0.5), late)
    assert (found.best, found.limited_by, found.why) == (None, "client", "min_per_s fails")


def test_the_limit_of_a_simulated_queue_is_found() -> None:
    """M/M/1 of 10 a second: 90 % have waited and been served within t = 1 s up to the rate at which
    the sojourn, exponential with rate 10 - r, does: r = 10 - ln(10) / t. The first token comes
    before the whole is served, so E2E is what is bounded."""
    slo = parse_slo("e2e_p90=1s")
    rng = Random(11)

    def server(rate_per_s: float) -> Trial:
        due_s = instants_s(Poisson(rate_per_s=rate_per_s), 400, rng.randrange(2**32))
        return trial_of(served(due_s, rng), slo, rate_per_s, 400)

    found, _ = searched(SearchSettings(target=0.9), server)
    assert found.best is not None
    assert found.best.rate_per_s == pytest.approx(10 - log(10), rel=0.08)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_per_s": 2.0}, "min 2 <= start 1"),
        ({"max_per_s": 0.5}, "start 1 <= max 0.5"),
        ({"precision": 0.0}, r"precision must be in \[0.001, 1\], not 0"),
        ({"target": 0.0}, r"target must be in \(0, 1\], not 0"),
        ({"attempts": 0}, "at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SearchSettings(**fields)  # type: ignore[arg-type]
