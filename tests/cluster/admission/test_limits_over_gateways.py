"""Several gateways with shares of one tenant's limit let through no more than all of it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.admission.admission import Admission
from cluster.admission.boundary import Served
from cluster.admission.reconciler import Reconciler
from cluster.admission.refusal import Refused
from tests.cluster.admission.admission_cases import admission, engine, offer, tenant

PER_MIN = 600
LARGEST = 40
GATEWAYS = 3

BURSTS = st.lists(
    st.tuples(
        st.integers(0, GATEWAYS - 1),
        st.integers(1, 30),  # requests at once
        st.integers(1, LARGEST),  # tokens each
        st.floats(0, 4),  # seconds before
    ),
    max_size=30,
)


def gateways(**limits: int) -> list[Admission]:
    of = tenant(**limits)
    return [
        admission(of, gateway=f"g{number}", share=1 / GATEWAYS, queue_at_gateway=False)
        for number in range(GATEWAYS)
    ]


def reconcile(reconciler: Reconciler, all_of_them: list[Admission], now_s: float) -> None:
    for each in all_of_them:
        each.have_shares(reconciler.report(each.share_report(now_s), now_s), now_s)


@settings(max_examples=60, deadline=None)
@given(BURSTS)
def test_tokens_a_minute_hold_over_all_gateways(bursts: list[tuple[int, int, int, float]]) -> None:
    """At most one request above its burst passes at each gateway (see `token_bucket`)."""
    all_of_them, reconciler, now_s = gateways(tokens_per_min=PER_MIN), Reconciler(0.0), 0.0
    passed: list[tuple[float, int]] = []
    for number, (place, requests, tokens, wait_s) in enumerate(bursts):
        now_s += wait_s
        reconcile(reconciler, all_of_them, now_s)
        for turn in range(requests):
            request = offer(f"{number}.{turn}", tenant(), tokens, 0)
            if not isinstance(all_of_them[place].offer(request, now_s), Refused):
                passed.append((now_s, tokens))
    for first, (start_s, _) in enumerate(passed):
        total = 0
        for at_s, tokens in passed[first:]:
            total += tokens
            assert total <= PER_MIN * (1 + (at_s - start_s) / 60) + GATEWAYS * LARGEST + 1e-3


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, GATEWAYS - 1), st.booleans(), st.floats(0, 3)), max_size=120),
    st.integers(1, 5),
)
def test_concurrent_requests_hold_over_all_gateways(
    steps: list[tuple[int, bool, float]], most: int
) -> None:
    all_of_them, reconciler, now_s = gateways(max_concurrent=most), Reconciler(0.0), 0.0
    open_at: list[list[str]] = [[] for _ in all_of_them]
    for number, (place, comes, wait_s) in enumerate(steps):
        now_s += wait_s
        reconcile(reconciler, all_of_them, now_s)
        if comes:
            answer = all_of_them[place].offer(offer(str(number), tenant(), 1, 1), now_s)
            if not isinstance(answer, Refused):
                open_at[place].append(str(number))
        elif open_at[place]:
            all_of_them[place].ended(open_at[place].pop(), Served(prompt_tokens=1), now_s)
        assert sum(map(len, open_at)) <= most


def test_one_gateway_with_all_the_demand_gets_most_of_the_limit() -> None:
    all_of_them, reconciler = gateways(requests_per_min=60), Reconciler(0.0)
    admitted, until_s = 0, 300
    for now_s in range(1, until_s):
        reconcile(reconciler, all_of_them, now_s)
        for turn in range(5):
            answer = all_of_them[0].offer(offer(f"{now_s}.{turn}", tenant(), 1, 1), now_s)
            admitted += not isinstance(answer, Refused)
    assert admitted >= 0.8 * until_s


def test_with_one_unit_and_two_that_want_it_both_get_it_in_time() -> None:
    """Each request runs for two seconds; both gateways are asked all the time."""
    all_of_them, reconciler = gateways(max_concurrent=1)[:2], Reconciler(0.0)
    served, running = [0, 0], list[tuple[int, str, int]]()
    for now_s in range(1, 400):
        for place, request_id, until_s in list(running):
            if until_s <= now_s:
                all_of_them[place].ended(request_id, Served(output_tokens=1), now_s)
                running.remove((place, request_id, until_s))
        reconcile(reconciler, all_of_them, now_s)
        for place, each in enumerate(all_of_them):
            request_id = f"{now_s}.{place}"
            if not isinstance(each.offer(offer(request_id, tenant(), 1, 1), now_s), Refused):
                each.release("m", [engine()], now_s)
                running.append((place, request_id, now_s + 2))
                served[place] += 1
        assert len(running) <= 1
    assert min(served) > 20


def test_what_was_saved_up_moves_with_the_share() -> None:
    """One gateway is not heard of for a while at its start, as where its models are built."""
    all_of_them, reconciler = gateways(requests_per_min=60)[:2], Reconciler(0.0)
    for now_s in range(60):
        heard = all_of_them[:1] if 10 <= now_s < 30 else all_of_them
        reconcile(reconciler, heard, float(now_s))
    admitted = [
        sum(
            not isinstance(each.offer(offer(str(turn), tenant(), 1, 1), 60.0), Refused)
            for turn in range(60)
        )
        for each in all_of_them
    ]
    assert admitted == [30, 30]
