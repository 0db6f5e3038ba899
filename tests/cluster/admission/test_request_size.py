"""What a request is expected to take."""

from dataclasses import replace

from cluster.admission.boundary import Served
from cluster.admission.engine_room import Need
from cluster.admission.output_estimate import OutputEstimate
from cluster.admission.request_size import size_of, size_of_rest
from tests.cluster.admission.admission_cases import offer


def learnt(tokens: int = 40) -> OutputEstimate:
    estimate = OutputEstimate()
    for _ in range(300):
        estimate.saw("a", tokens)
    return estimate


def test_limits_go_by_the_bound_and_shares_by_what_is_expected() -> None:
    size = size_of(offer("r", prompt_tokens=100, max_output_tokens=1000), learnt(40))
    assert size.reserved_tokens == 1100
    assert size.cost == 140
    assert size.need == Need(prefill_tokens=100, kv_tokens=120)


def test_without_a_bound_the_expected_output_is_reserved() -> None:
    size = size_of(offer("r", prompt_tokens=100, max_output_tokens=None), learnt(40))
    assert size.reserved_tokens == 140


def test_what_is_cached_is_not_computed_but_is_held() -> None:
    cached = replace(offer("r", prompt_tokens=100, max_output_tokens=40), cached_tokens=100)
    size = size_of(cached, learnt(40))
    assert size.cost == 41
    assert size.need == Need(prefill_tokens=1, kv_tokens=120)


def test_after_a_pause_all_is_computed_again_and_only_the_rest_counts() -> None:
    served = Served(prompt_tokens=100, output_tokens=30)
    rest = size_of_rest(offer("r", max_output_tokens=1000), served, learnt(40))
    assert rest.cost == 10
    assert rest.need == Need(prefill_tokens=130, kv_tokens=135)
    far = Served(prompt_tokens=100, output_tokens=300)
    assert size_of_rest(offer("r", max_output_tokens=1000), far, learnt(40)).cost == 1
