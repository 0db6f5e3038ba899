"""A reply's bytes to its record."""

from functools import partial

import pytest

from loadtest.metrics import RequestSample
from loadtest.reply import RawReply
from loadtest.run_records import RequestRecord, from_json
from loadtest.runtime.reading import Asked, read
from tests.loadtest.fake_server import DONE, delta, usage

RECORD = partial(RequestRecord, session=3, turn=1, kind="chat")


def reply(*events: bytes, status: int = 200) -> RawReply:
    """One that began at second 100, an event each second after it."""
    return RawReply(100.0, status, [(101.0 + n, data) for n, data in enumerate(events)])


WHOLE = reply(delta(role="assistant", content=""), delta(content=" Pa"), delta(content="ris\n"),
              usage(2), DONE)  # fmt: skip


def test_instants_count_from_the_start_of_the_load() -> None:
    found = read(WHOLE, Asked(RECORD, 90.0, 9.5))
    assert found.record == RECORD(
        sample=RequestSample(
            t_sched_s=9.5,
            t0_s=10.0,
            t1_s=12.0,
            tn_s=13.0,
            itl_us=(1_000_000,),
            output_tokens=2,
            prompt_tokens=7,
            text_crc32=found.record.sample.text_crc32,
        )
    )
    assert from_json(found.line) == found.record
    assert found.text is None, "nobody wants it"


def test_a_request_that_was_never_due_was_due_when_it_was_sent() -> None:
    sample = read(WHOLE, Asked(RECORD, 90.0, None)).record.sample
    assert sample.t_sched_s == sample.t0_s == 10.0


@pytest.mark.parametrize(("expected", "right"), [("Paris", True), ("London", False), (None, None)])
def test_an_answer_is_held_against_the_expected_one(
    expected: str | None, right: bool | None
) -> None:
    found = read(WHOLE, Asked(RECORD, 90.0, None, expected=expected))
    assert found.record.right is right


def test_a_failed_answer_is_neither_right_nor_wrong() -> None:
    found = read(reply(delta(content="Paris")), Asked(RECORD, 90.0, None, expected="Paris"))
    assert found.record.sample.error == "ended without [DONE]"
    assert found.record.right is None


@pytest.mark.parametrize(("objective", "good"), [(True, True), (False, False), (None, None)])
def test_the_objective_is_asked_about_the_record(objective: bool | None, good: bool | None) -> None:
    asked: list[RequestRecord] = []

    def judge(record: RequestRecord) -> bool | None:
        asked.append(record)
        return objective

    found = read(WHOLE, Asked(RECORD, 90.0, None, good=judge))
    assert (found.good, asked) == (good, [found.record])


def test_the_text_is_there_where_it_is_wanted() -> None:
    assert read(WHOLE, Asked(RECORD, 90.0, None, wants_text=True)).text == " Paris\n"
