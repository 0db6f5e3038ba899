"""A gateway's admission as a whole: offers, releases, refusals, and that nothing is left behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.admission.admission import Admission
from cluster.admission.boundary import Admitted, Queued, Served
from cluster.admission.engine_room import EngineState
from cluster.admission.pausing import RunningBatch
from cluster.admission.reconciler import ShareAnswer
from cluster.admission.refusal import RefusalReason, Refused
from cluster.admission.tenants import Tenant
from cluster.types import ReplicaId
from tests.cluster.admission.admission_cases import admission, engine, full, offer, tenant

A, B, NIGHTLY = tenant("a"), tenant("b"), tenant("n", priority="batch")
SERVED = Served(prompt_tokens=100, output_tokens=50)


def reason(answer: object) -> RefusalReason:
    assert isinstance(answer, Refused), answer
    return answer.reason


def queued(gate: Admission, *names: str, of: object = A, now_s: float = 0.0) -> None:
    for name in names:
        assert isinstance(gate.offer(offer(name, of), now_s), Queued)  # type: ignore[arg-type]


def drained(gate: Admission, per_s: int, seconds: int) -> float:
    """Requests of 150 tokens waited all that time, and so many of them went each second."""
    for second in range(seconds + 1):
        for number in range(per_s + 1):
            gate.offer(offer(f"{second}.{number}"), float(second))
        for _ in range(per_s):
            (name,) = gate.release("m", [room_for_one()], float(second)).send
            gate.sent(name)
    return float(seconds)


def room_for_one() -> EngineState:
    """Its batch is full but for one place."""
    return engine(running_requests=272, inflight_requests=272, max_num_seqs=257)


# Going, waiting, leaving


def test_with_room_it_goes_at_once_and_without_it_waits() -> None:
    gate = admission(A)
    assert isinstance(gate.offer(offer("early"), 0.0), Queued)  # no engine is known yet
    assert gate.release("m", [engine(running_requests=1)], 0.0).send == ["early"]
    assert isinstance(gate.offer(offer("r"), 0.0), Admitted)
    gate.sent("early")
    gate.sent("r")
    gate.release("m", [full()], 1.0)
    queued(gate, "1", "2", now_s=1.0)
    assert gate.release("m", [full()], 2.0).send == []
    assert gate.release("m", [room_for_one()], 3.0).send == ["1"]
    gate.sent("1")
    assert gate.release("m", [engine()], 3.0).send == ["2"]


def test_what_went_but_is_not_there_yet_takes_its_room() -> None:
    gate = admission(A)
    gate.release("m", [full()], 0.0)
    queued(gate, "1", "2")
    assert gate.release("m", [room_for_one()], 1.0).send == ["1"]
    assert gate.release("m", [room_for_one()], 1.1).send == []
    gate.sent("1")
    assert gate.release("m", [room_for_one()], 1.2).send == ["2"]


def test_interactive_goes_before_batch_and_tenants_in_turn() -> None:
    gate = admission(A, B, NIGHTLY)
    gate.release("m", [full()], 0.0)
    queued(gate, "n", of=NIGHTLY)
    queued(gate, "a1", "a2", "a3", of=A)
    queued(gate, "b1", of=B)
    order = []
    for turn in range(4):
        (name,) = gate.release("m", [room_for_one()], float(turn)).send
        gate.sent(name)
        order.append(name)
    assert order[3] == "a3"
    assert order.index("b1") <= 1
    assert gate.release("m", [room_for_one()], 9.0).send == []  # not for batch
    assert gate.release("m", [engine(running_requests=1)], 9.0).send == ["n"]


def test_a_client_that_leaves_the_queue_is_not_sent() -> None:
    gate = admission(A)
    gate.release("m", [full()], 0.0)
    queued(gate, "1", "2")
    gate.cancelled("1", 1.0)
    assert gate.release("m", [room_for_one()], 2.0).send == ["2"]
    gate.cancelled("2", 3.0, SERVED)
    with pytest.raises(LookupError):
        gate.cancelled("2", 3.0)


def test_without_a_queue_all_goes_at_once() -> None:
    gate = admission(tenant(max_concurrent=2), queue_at_gateway=False)
    assert isinstance(gate.offer(offer("1"), 0.0), Admitted)
    gate.release("m", [full()], 0.0)
    assert isinstance(gate.offer(offer("2"), 0.0), Admitted)
    assert reason(gate.offer(offer("3"), 0.0)) is RefusalReason.CONCURRENT


def test_mistakes_of_the_caller_are_errors() -> None:
    gate = admission(A)
    gate.offer(offer("1"), 0.0)
    with pytest.raises(ValueError, match="'1' is open already"):
        gate.offer(offer("1"), 0.0)
    with pytest.raises(LookupError):
        gate.offer(replace(offer("2"), model="other"), 0.0)
    with pytest.raises(LookupError):
        gate.offer(offer("2", B), 0.0)
    gate.sent("never offered")


# Refusals


def test_a_tenant_over_its_limits_is_refused_whatever_room_there_is() -> None:
    gate = admission(tenant(requests_per_min=60, models=("m",)))
    gate.release("m", [engine()], 0.0)
    for number in range(60):
        assert not isinstance(gate.offer(offer(str(number)), 0.0), Refused)
    refused = gate.offer(offer("60"), 0.0)
    assert isinstance(refused, Refused)
    assert (refused.status, refused.retry_after_s) == (429, 1)
    assert not isinstance(gate.offer(offer("60"), 1.0), Refused)


def test_a_model_that_the_tenant_may_not_use_is_not_there() -> None:
    narrow = tenant(models=("other",))
    assert reason(admission(narrow).offer(offer("1", narrow), 0.0)) is RefusalReason.NO_MODEL


def test_one_that_would_wait_too_long_is_refused_at_once_with_the_time_to_come_again() -> None:
    gate = admission(A, B, max_wait_s=10.0)
    now_s = drained(gate, per_s=2, seconds=20)  # 20 wait, at 2 a second
    gate.release("m", [full()], now_s)
    accepted = 0
    while not isinstance(answer := gate.offer(offer(f"more{accepted}"), now_s), Refused):
        accepted += 1
    assert answer.reason is RefusalReason.WOULD_WAIT
    waiting = gate.state("m", now_s).waiting_requests["interactive"]
    assert waiting / 2 * 0.75 == pytest.approx(10.0, rel=0.15)  # 25 % margin
    assert answer.retry_after_s == pytest.approx(waiting / 2 - 10.0, abs=1.5)
    # Another tenant goes in turn, and so has next to nothing ahead of it.
    assert isinstance(gate.offer(offer("b", B), now_s), Queued)


def test_nobody_is_refused_early_before_anything_is_known() -> None:
    gate = admission(A, max_wait_s=0.5)
    gate.release("m", [full()], 0.0)
    queued(gate, *map(str, range(100)))


def test_one_that_has_waited_too_long_is_refused_then() -> None:
    gate = admission(A, tenant("p", max_wait_s=5.0))
    gate.release("m", [full()], 0.0)
    queued(gate, "a")
    queued(gate, "p", of=tenant("p", max_wait_s=5.0))
    assert gate.next_deadline_s == 5.0
    assert gate.release("m", [full()], 4.9).refused == []
    ((name, refused),) = gate.release("m", [engine()], 5.0).refused
    assert (name, refused.reason, refused.status) == ("p", RefusalReason.WAITED, 503)
    assert gate.next_deadline_s is None  # "a" went to the idle engine


def test_while_no_engine_is_up_the_hold_timeout_counts_instead() -> None:
    gate = admission(A, max_wait_s=10.0, hold_timeout_s=60.0)
    gate.release("m", [], 0.0)
    queued(gate, "1", "2")
    assert gate.release("m", [], 10.0).refused == []
    assert gate.next_deadline_s == 60.0
    assert gate.release("m", [room_for_one()], 40.0).send == ["1"]
    assert [name for name, _ in gate.release("m", [], 60.0).refused] == ["2"]


def test_a_request_refused_after_all_gives_back_what_it_had_reserved() -> None:
    limited = tenant(requests_per_min=1, tokens_per_min=150, max_concurrent=1, max_wait_s=5.0)
    gate = admission(limited)
    gate.release("m", [full()], 0.0)
    queued(gate, "1", of=limited)
    assert isinstance(gate.offer(offer("2", limited), 0.0), Refused)
    gate.release("m", [full()], 5.0)
    assert isinstance(gate.offer(offer("2", limited), 5.0), Queued)


def test_one_tenant_cannot_take_all_places_in_the_queue() -> None:
    gate = admission(A, B, max_queued_requests=100)
    gate.release("m", [full()], 0.0)
    queued(gate, *[f"a{number}" for number in range(50)], of=A)
    assert reason(gate.offer(offer("a"), 0.0)) is RefusalReason.QUEUE_FULL
    queued(gate, *[f"b{number}" for number in range(25)], of=B)
    assert reason(gate.offer(offer("b", B), 0.0)) is RefusalReason.QUEUE_FULL


# Sizes


def test_a_size_that_was_estimated_is_corrected() -> None:
    limited = tenant(tokens_per_min=1000)
    gate = admission(limited)
    gate.release("m", [full()], 0.0)
    gate.offer(offer("1", limited, prompt_tokens=10, max_output_tokens=50), 0.0)
    gate.resized("1", prompt_tokens=900, max_output_tokens=50, now_s=0.0)
    gate.resized("never offered", prompt_tokens=900, max_output_tokens=50, now_s=0.0)
    assert gate.state("m", 0.0).waiting_tokens == 950
    assert reason(gate.offer(offer("2", limited, 60, 50), 0.0)) is RefusalReason.TOKENS_RATE
    gate.resized("1", prompt_tokens=500, max_output_tokens=50, now_s=0.0)
    assert isinstance(gate.offer(offer("2", limited, 60, 50), 0.0), Queued)


# Batch makes room


def test_a_batch_request_makes_room_and_goes_on_first_of_its_own() -> None:
    gate = admission(A, NIGHTLY)
    gate.release("m", [engine(running_requests=1)], 0.0)
    assert isinstance(gate.offer(offer("n1", NIGHTLY, 100, 400), 0.0), Admitted)
    gate.sent("n1")
    gate.release("m", [full()], 1.0)
    queued(gate, "n2", of=NIGHTLY, now_s=1.0)
    running = [
        RunningBatch(request_id=f"r{n}", replica_id=ReplicaId("e"), held_tokens=n, left_tokens=99)
        for n in range(200, 240)
    ]
    running.append(replace(running[0], request_id="n1", held_tokens=150))
    assert gate.to_pause("m", running, 1.0) == []  # only batch waits
    queued(gate, "a", of=A, now_s=1.0)
    gate.release("m", [full(report_age_s=0.2)], 2.0)
    chosen = gate.to_pause("m", running, 2.0)
    assert chosen[0] == "n1"
    assert len(chosen) == 29  # 300 run where 256 and a sixteenth may
    assert gate.to_pause("m", running, 2.1) == []  # the engine has not reported since
    gate.paused("n1", Served(prompt_tokens=100, output_tokens=50))
    gate.release("m", [room_for_one()], 3.0)
    assert gate.state("m", 3.0).waiting_requests == {"interactive": 0, "batch": 2}
    assert gate.release("m", [full()], 1000.0).refused[0][0] == "n2"  # n1 has begun: no deadline
    assert gate.release("m", [engine()], 1001.0).send == ["n1"]
    gate.ended("n1", Served(prompt_tokens=100, output_tokens=300), 1002.0)


# Tenants and shares change


def test_tenants_come_go_and_change_while_requests_run() -> None:
    gate = admission(A, B)
    gate.release("m", [full()], 0.0)
    queued(gate, "a", of=A)
    gate.have_tenants([tenant("b", max_concurrent=1)], 1.0)
    queued(gate, "b", of=B, now_s=1.0)
    assert reason(gate.offer(offer("b2", B), 1.0)) is RefusalReason.CONCURRENT
    gate.cancelled("a", 2.0)
    gate.have_tenants([B], 3.0)
    with pytest.raises(LookupError):
        gate.offer(offer("a", A), 3.0)
    queued(gate, "b2", of=B, now_s=3.0)


def test_shares_come_from_the_answer_to_the_last_report_only() -> None:
    gate = admission(tenant(max_concurrent=4, requests_per_min=60), share=0.5)
    report = gate.share_report(0.0)
    assert {name: claim.held for name, claim in report.claims.items()} == {
        "rate/a": 0.5,
        "concurrent/a": 0.5,
    }
    assert report.claims["concurrent/a"].units == 4
    gate.share_report(1.0)
    late = ShareAnswer(number=report.number, shares={"rate/a": 1.0, "concurrent/a": 1.0})
    gate.have_shares(late, 1.0)
    assert gate.share_report(2.0).claims["rate/a"].held == 0.5
    gate.have_shares(ShareAnswer(number=3, shares={"rate/a": 1.0, "concurrent/a": 0.25}), 2.0)
    claims = gate.share_report(3.0).claims
    assert (claims["rate/a"].held, claims["concurrent/a"].held) == (1.0, 0.25)


def test_of_the_free_room_a_gateway_fills_its_share() -> None:
    given = []
    for share in (1.0, 0.5):
        gate = admission(A)
        gate.share_room(share)
        gate.release("m", [full()], 0.0)
        queued(gate, *map(str, range(100)))
        given.append(len(gate.release("m", [engine(running_requests=1)], 0.0).send))
    assert given[1] == pytest.approx(given[0] / 2, abs=1)


def test_a_tenant_that_is_alone_is_given_more_at_a_time() -> None:
    """Whose request comes next is open only between tenants."""
    busy = engine(running_requests=1, inflight_requests=1)

    def sent(*others: Tenant) -> int:
        gate = admission(tenant(), *others)
        gate.release("m", [busy], 0.0)
        answers = [gate.offer(offer(f"r{turn}", tenant(), 1000, 10), 0.0) for turn in range(100)]
        return sum(isinstance(answer, Admitted) for answer in answers)

    assert sent() > 5 * sent(tenant("other"))
