"""The fair queue: what fairness means, as properties over arbitrary arrivals and by an oracle."""

from __future__ import annotations

from collections import Counter, deque
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.admission.fair_queue import SAVED_TOKENS, FairQueue

WEIGHTS = {"a": 1.0, "b": 2.0, "c": 0.5}
TENANTS = st.sampled_from(sorted(WEIGHTS))
COSTS = st.integers(1, 1000)


def add(queue: FairQueue, name: str, tenant: str, cost: float, **fields: bool) -> None:
    queue.add(name, tenant, WEIGHTS[tenant], cost, **fields)


class Oracle:
    """Start-time fair queueing by its definition: looks at every tenant every time."""

    def __init__(self) -> None:
        self.virtual = 0.0
        self.tags: dict[str, float] = {}
        self.waiting: dict[str, deque[tuple[str, float]]] = {}
        self.came: dict[str, int] = {}

    def add(self, name: str, tenant: str, cost: float) -> None:
        queue = self.waiting.setdefault(tenant, deque())
        if not queue:
            lowest = self.virtual - SAVED_TOKENS / WEIGHTS[tenant]
            self.tags[tenant] = max(lowest, self.tags.get(tenant, self.virtual))
        queue.append((name, cost))

    def tied(self) -> set[str]:
        tags = {tenant: self.tags[tenant] for tenant, queue in self.waiting.items() if queue}
        least = min(tags.values())
        return {self.waiting[t][0][0] for t, tag in tags.items() if tag <= least + 1e-9}

    def go(self, name: str) -> None:
        tenant = next(t for t, queue in self.waiting.items() if queue and queue[0][0] == name)
        _name, cost = self.waiting[tenant].popleft()
        self.virtual = max(self.virtual, self.tags[tenant])
        self.tags[tenant] += cost / WEIGHTS[tenant]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TENANTS, COSTS) | st.none(), max_size=80))
def test_it_picks_as_the_definition_says(steps: list[tuple[str, int] | None]) -> None:
    """Nothing is settled, so that nothing is forgotten."""
    queue, oracle = FairQueue(), Oracle()
    for number, step in enumerate(steps):
        if step is not None:
            add(queue, str(number), *step)
            oracle.add(str(number), *step)
        elif len(queue):
            head = queue.head()
            assert head in oracle.tied()
            assert queue.pop() == head
            oracle.go(head)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "pop", "remove", "settle", "correct"]), TENANTS, COSTS),
        max_size=120,
    )
)
def test_everything_that_comes_goes_once_and_in_its_tenants_order(
    steps: list[tuple[str, str, int]],
) -> None:
    """Work-conserving: there is a head exactly while something waits."""
    queue = FairQueue()
    waiting: dict[str, list[str]] = {tenant: [] for tenant in WEIGHTS}
    gone: list[str] = []
    for number, (kind, tenant, cost) in enumerate(steps):
        if kind == "add":
            add(queue, str(number), tenant, cost)
            waiting[tenant].append(str(number))
        elif kind == "pop" and len(queue):
            name = queue.pop()
            (of,) = [t for t, names in waiting.items() if name in names]
            assert waiting[of].pop(0) == name
            gone.append(name)
        elif kind == "remove" and waiting[tenant]:
            queue.remove(waiting[tenant].pop(cost % len(waiting[tenant])))
        elif kind == "settle" and gone:
            queue.settle(gone.pop(cost % len(gone)), cost)
        elif kind == "correct":
            queue.correct((gone or ["none"])[0], cost)
        left = sum(map(len, waiting.values()))
        assert len(queue) == left
        assert (queue.head() is None) == (left == 0)
        assert (queue.waiting_cost == 0.0) == (left == 0)
        assert all(queue.waiting_of(t) == len(names) for t, names in waiting.items())
    rest = [queue.pop() for _ in range(len(queue))]
    assert sorted(rest) == sorted(name for names in waiting.values() for name in names)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(COSTS, COSTS, COSTS), min_size=10, max_size=60))
def test_tenants_that_always_wait_share_by_weight(costs: list[tuple[int, int, int]]) -> None:
    """|W_i / w_i - W_j / w_j| is within one request of each, at any time."""
    queue = FairQueue()
    for number, row in enumerate(costs):
        for tenant, cost in zip(WEIGHTS, row, strict=True):
            add(queue, f"{tenant}{number}", tenant, cost)
    largest = {t: max(row[place] for row in costs) for place, t in enumerate(WEIGHTS)}
    cost_of = {
        f"{t}{number}": row[place]
        for number, row in enumerate(costs)
        for place, t in enumerate(WEIGHTS)
    }
    served: Counter[str] = Counter()
    while all(queue.waiting_of(tenant) for tenant in WEIGHTS):
        name = queue.pop()
        served[name[0]] += cost_of[name]
        for i in WEIGHTS:
            for j in WEIGHTS:
                apart = abs(served[i] / WEIGHTS[i] - served[j] / WEIGHTS[j])
                assert apart <= largest[i] / WEIGHTS[i] + largest[j] / WEIGHTS[j] + 1e-6


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TENANTS, COSTS), min_size=1, max_size=60), st.lists(COSTS, max_size=10))
def test_the_cost_ahead_is_what_goes_before_a_new_request(
    requests: list[tuple[str, int]], own: list[int]
) -> None:
    """No starvation: a request waits for no more than that, whatever else comes behind it."""
    queue = FairQueue()
    for number, (tenant, cost) in enumerate(requests):
        add(queue, str(number), tenant, cost)
        if number % 3 == 0:
            queue.pop()
    for number, cost in enumerate(own):
        queue.add(f"own{number}", "own", 1.5, cost)
    ahead = queue.cost_ahead("own", 1.5)
    queue.add("new", "own", 1.5, 7)
    cost_of = {str(number): cost for number, (_, cost) in enumerate(requests)}
    cost_of |= {f"own{number}": cost for number, cost in enumerate(own)}
    before = 0
    while (name := queue.pop()) != "new":
        before += cost_of[name]
    largest = max([cost for _, cost in requests], default=0)
    assert ahead - 1e-6 <= before + len(WEIGHTS) * largest
    assert before <= ahead + len(WEIGHTS) * largest + 1e-6


def test_shares_go_by_the_tokens_that_were_served_not_by_what_was_expected() -> None:
    """`a` is expected to need five times what it does, `b` half: with eight requests of each at a
    time they still get equal tokens."""
    queue, rng = FairQueue(), Random(2)
    served: Counter[str] = Counter()
    running: deque[str] = deque()
    for number in range(4000):
        queue.add(f"a{number}", "a", 1.0, 500)
        queue.add(f"b{number}", "b", 1.0, 50)
    for _ in range(3000):
        running.append(queue.pop())
        if len(running) > 8:
            name = running.popleft()
            cost = rng.randint(50, 150)
            served[name[0]] += cost
            queue.settle(name, cost)
    assert served["a"] == pytest.approx(served["b"], rel=0.02)


def test_an_overestimate_of_another_spell_is_no_more_credit_than_can_be_saved() -> None:
    """`a` had a request estimated too high, and virtual time has passed what it paid for it."""
    queue = FairQueue()
    add(queue, "old", "a", 10_000)
    queue.pop()
    for number in range(80):
        queue.add(f"x{number}", "x", 1.0, 1000)
    for _ in range(40):
        queue.pop()
    for number in range(30):
        add(queue, f"a{number}", "a", 1000)
    queue.correct("old", 1)
    ahead = [queue.pop()[0] for _ in range(20)].count("a") - 10
    assert 3 <= ahead <= SAVED_TOKENS / 1000 / 2 + 1


def test_a_tenant_that_uses_little_may_send_a_small_burst() -> None:
    """All of it goes before the flood; of a large one only the beginning."""
    queue = FairQueue()
    add(queue, "first", "a", 100)
    for number in range(100):
        queue.add(f"x{number}", "x", 1.0, 1000)
    while queue.waiting_of("x") > 50:
        queue.pop()
    for number in range(20):
        add(queue, f"a{number}", "a", 1000)
    burst = [queue.pop()[0] for _ in range(20)]
    assert burst[:8] == ["a"] * 8
    assert burst.count("a") <= 15


def test_what_is_owed_is_given_back() -> None:
    """The same, while it is still waiting for it: there it comes first again."""
    queue = FairQueue()
    add(queue, "old", "a", 10_000)
    queue.pop()
    for number in range(10):
        queue.add(f"x{number}", "x", 1.0, 1000)
    add(queue, "a0", "a", 1000)
    assert queue.pop() == "x0"
    queue.correct("old", 1)
    assert queue.pop() == "a0"


def test_a_rush_is_forgotten_when_it_is_over() -> None:
    queue = FairQueue()
    for number in range(10):
        add(queue, f"a{number}", "a", 1000)
        queue.pop()
    for number in range(10):
        queue.settle(f"a{number}", 5000)
    add(queue, "b", "b", 1)
    add(queue, "a", "a", 1)
    queue.pop()
    add(queue, "b2", "b", 1)
    assert queue.pop() == "a"


def test_who_comes_back_goes_first_among_its_own() -> None:
    queue = FairQueue()
    for name in ("1", "2"):
        add(queue, name, "a", 10)
    assert queue.pop() == "1"
    queue.settle("1", 10)
    add(queue, "1", "a", 10, first=True)
    assert [queue.pop(), queue.pop()] == ["1", "2"]


def test_one_tenant_at_twenty_times_its_share_delays_only_itself() -> None:
    """Between two requests of `light` never more goes than a request of each."""
    queue = FairQueue()
    for number in range(400):
        queue.add(f"flood{number}", "flood", 1.0, 100)
    gaps = []
    for number in range(20):
        queue.add(f"light{number}", "light", 1.0, 100)
        gap = 0
        while queue.pop() != f"light{number}":
            gap += 1
        gaps.append(gap)
    assert max(gaps) <= 2


def test_unknown_requests_are_ignored_and_impossible_ones_refused() -> None:
    queue = FairQueue()
    queue.remove("x")
    queue.settle("x", 1)
    queue.correct("x", 1)
    add(queue, "1", "a", 1)
    assert "1" in queue
    with pytest.raises(ValueError, match="waits already"):
        add(queue, "1", "a", 1)
    with pytest.raises(ValueError, match="at weight 1"):
        add(queue, "2", "a", 0)
    queue.pop()
    with pytest.raises(LookupError):
        queue.pop()
