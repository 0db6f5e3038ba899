"""How much more an engine is given: enough to stay busy, and no more."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.admission.engine_room import (
    AHEAD_S,
    BLIND_PREFILL_TOKENS,
    BLIND_REQUESTS,
    EXTRA_FRAC,
    EngineRoom,
    EngineState,
    Need,
    Rooms,
    engine_room,
)
from cluster.routing.added_latency import CHUNK_TOKENS
from cluster.types import ReplicaId
from tests.cluster.admission.admission_cases import COST, engine

SMALL = Need(prefill_tokens=100, kv_tokens=150)


def room(of: EngineState, itl_s: float | None = None, share: float = 1.0) -> EngineRoom:
    return engine_room(of, typical_output_tokens=200, itl_s=itl_s, share=share)


def test_the_prefill_lasts_for_the_step_under_way_and_a_replys_time() -> None:
    step_s = 0.01 + 100 * 50e-6
    token_s = 50e-6 + step_s / (CHUNK_TOKENS - 100)
    busy = engine(running_requests=100, decode_requests=100)
    assert room(busy).prefill_tokens == pytest.approx((AHEAD_S + step_s) / token_s)
    queued = engine(running_requests=100, decode_requests=100, queued_prefill_tokens=500)
    assert room(queued).prefill_tokens == pytest.approx((AHEAD_S + step_s) / token_s - 500)


def test_a_small_step_beside_many_decodes_leaves_little_for_prefill() -> None:
    fields = {"running_requests": 250, "decode_requests": 250}
    small = room(engine(max_num_batched_tokens=256, **fields)).prefill_tokens
    large = room(engine(max_num_batched_tokens=8192, **fields)).prefill_tokens
    assert 0 < small < large / 5


def test_what_it_has_prefilled_since_its_report_is_not_queued_any_more() -> None:
    token_s = 50e-6 + 0.01 / CHUNK_TOKENS
    fresh = engine(running_requests=9, queued_prefill_tokens=4500, reported_prefill_tokens=4000)
    later = replace(fresh, report_age_s=0.1)
    gained = room(later).prefill_tokens - room(fresh).prefill_tokens
    assert gained == pytest.approx(0.1 / token_s)
    begun = replace(fresh, begun_prefill_tokens=3000)
    assert room(begun).prefill_tokens - room(fresh).prefill_tokens == pytest.approx(3000)
    much_later = replace(fresh, report_age_s=60.0)  # what was sent since has still not begun
    assert room(much_later).prefill_tokens == pytest.approx((AHEAD_S + 0.01) / token_s - 500)


def test_what_is_not_known_of_it_is_a_fixed_number() -> None:
    blind = room(engine(step_cost=None, running_requests=6, queued_prefill_tokens=192))
    assert blind.prefill_tokens == BLIND_PREFILL_TOKENS - 192
    assert blind.requests == BLIND_REQUESTS * (1 + EXTRA_FRAC) - 6
    assert blind.kv_tokens == inf


@pytest.mark.parametrize(
    ("max_num_seqs", "itl_s", "most"),
    [
        (None, None, BLIND_REQUESTS),
        (64, None, 64),
        (64, 0.012, 40),
        (None, 0.02, 200),
        (8, 0.02, 8),
    ],
)
def test_the_batch_is_as_large_as_vllm_and_the_slo_allow(
    max_num_seqs: int | None, itl_s: float | None, most: int
) -> None:
    busy = engine(running_requests=1, max_num_seqs=max_num_seqs)
    assert room(busy, itl_s).requests == pytest.approx(most * (1 + EXTRA_FRAC) - 1)


def test_an_slo_below_any_step_still_lets_one_run() -> None:
    assert room(engine(running_requests=1), itl_s=0.001).requests == pytest.approx(EXTRA_FRAC)


def test_kv_is_kept_free_for_half_of_what_is_still_to_be_decoded() -> None:
    busy = engine(
        kv_total_tokens=100_000,
        kv_use_frac=0.5,
        running_requests=100,
        decode_requests=100,
        queued_prefill_tokens=1000,
    )
    assert room(busy).kv_tokens == pytest.approx(50_000 - 1000 - 100 * 200 / 4)


def test_an_engine_with_nothing_to_do_takes_one_of_any_size() -> None:
    idle = room(engine(kv_total_tokens=1000))
    huge = Need(prefill_tokens=10**6, kv_tokens=10**6)
    assert idle.fits(huge, "batch")
    idle.take(huge)
    assert not idle.fits(SMALL, "interactive")


def test_batch_leaves_room_for_interactive_requests() -> None:
    target = room(engine(running_requests=1)).prefill_tokens
    half_full = room(engine(running_requests=1, queued_prefill_tokens=round(0.6 * target)))
    assert half_full.fits(SMALL, "interactive")
    assert not half_full.fits(SMALL, "batch")
    few_places = room(engine(running_requests=240, max_num_seqs=256))
    assert few_places.fits(SMALL, "interactive")
    assert not few_places.fits(SMALL, "batch")
    little_kv = room(engine(running_requests=1, kv_total_tokens=10_000, kv_use_frac=0.95))
    assert little_kv.fits(SMALL, "interactive")
    assert not little_kv.fits(SMALL, "batch")


def test_two_gateways_fill_half_of_the_room_each() -> None:
    busy = engine(running_requests=20, max_num_seqs=100, kv_total_tokens=10_000, kv_use_frac=0.2)
    whole, half = room(busy), room(busy, share=0.5)
    assert half.prefill_tokens == pytest.approx(whole.prefill_tokens / 2)
    assert half.requests == pytest.approx(whole.requests / 2)
    assert half.kv_tokens == pytest.approx(whole.kv_tokens / 2)


def test_the_last_place_is_nobodys_half() -> None:
    assert room(engine(running_requests=105, max_num_seqs=100), share=0.5).requests == 1.0


@given(st.lists(st.integers(1, 3000), max_size=60), st.lists(st.integers(0, 5000), min_size=1))
def test_requests_are_given_out_until_no_engine_lacks_any(
    prompts: list[int], queued: list[int]
) -> None:
    """Each engine's room is overshot by the last request alone; none is left with room while a
    request is turned away."""
    engines = [
        engine(f"e{n}", running_requests=1, queued_prefill_tokens=tokens)
        for n, tokens in enumerate(queued)
    ]
    free = [room(each).prefill_tokens for each in engines]
    rooms = Rooms(room(each) for each in engines)
    taken = [
        tokens
        for tokens in prompts
        if rooms.take(Need(prefill_tokens=tokens, kv_tokens=0), "batch")
    ]
    rooms = Rooms(room(each) for each in engines)
    given_out = 0
    for tokens in prompts:
        if not rooms.take(Need(prefill_tokens=tokens, kv_tokens=0), "interactive"):
            break
        given_out += tokens
    else:
        return
    positive = [each for each in free if each > 0]
    assert given_out >= sum(positive)
    assert given_out <= sum(positive) + len(positive) * max(prompts)
    assert sum(taken) <= given_out + max(prompts)


def test_what_is_on_its_way_takes_room_too() -> None:
    rooms = Rooms([room(engine())])
    rooms.count(Need(prefill_tokens=10**6, kv_tokens=0))
    assert not rooms.take(SMALL, "interactive")
    Rooms().count(SMALL)  # nothing to take it from


def test_what_is_lacking_but_a_place_in_the_prefill_queue() -> None:
    no_place = room(engine("full", running_requests=107, max_num_seqs=100))
    no_kv = room(engine("kv", running_requests=1, kv_total_tokens=1000, kv_use_frac=0.9))
    lacking = Rooms([no_place, no_kv]).lacking(SMALL)
    assert lacking[ReplicaId("full")].requests == 2
    assert lacking[ReplicaId("full")].kv_tokens == 0
    assert lacking[ReplicaId("kv")].requests == 0
    assert lacking[ReplicaId("kv")].kv_tokens == pytest.approx(50)
    long_queue = room(engine("q", running_requests=1, queued_prefill_tokens=10**6))
    assert Rooms([no_place, long_queue]).lacking(SMALL) == {}


def test_a_cost_of_nothing_leaves_everything_finite() -> None:
    free = replace(COST, base_s=0.0, prefill_token_s=0.0, decode_request_s=0.0)
    assert room(engine(step_cost=free, running_requests=1), itl_s=0.1).prefill_tokens < inf


def test_with_several_gateways_batch_leaves_as_much_free_and_no_more() -> None:
    """Of 4 that may run, and 0.25 above, 0.65 are spared: a third batch request still goes, to
    whichever of two gateways it came; a fourth waits, and an interactive one does not."""
    need = Need(prefill_tokens=10, kv_tokens=10)
    for running, fits in ((1, True), (2, True), (3, False)):
        half = room(engine(running_requests=running, max_num_seqs=4), share=0.5)
        assert half.fits(need, "batch") is fits
        assert half.fits(need, "interactive")
