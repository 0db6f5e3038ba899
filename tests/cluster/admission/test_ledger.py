"""The ledger's lines: what is written is what is read, and nothing else is taken for it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.admission import ledger
from cluster.admission.ledger import LedgerError, LedgerRecord, parse_line
from cluster.admission.usage import Usage

RECORD = LedgerRecord(
    at=1.7e9,
    id="r",
    tenant="a",
    model="m",
    outcome="answered",
    usage=Usage(
        requests=1, prompt_tokens=9, cached_tokens=4, output_tokens=3, engine_s=0.5, attempts=2
    ),
    waited_s=0.25,
)
COUNTS = st.integers(0, 10**12)


def test_a_line_is_one_flat_object_with_its_version() -> None:
    assert json.loads(RECORD.line()) == {
        **{"v": 1, "at": 1.7e9, "id": "r", "tenant": "a", "model": "m", "outcome": "answered"},
        **{"reason": "", "waited_s": 0.25, "prompt_tokens": 9, "cached_tokens": 4},
        **{"output_tokens": 3, "engine_s": 0.5, "attempts": 2},
    }


def test_every_field_is_in_the_schema() -> None:
    table = ledger.__doc__ or ""
    assert [name for name in json.loads(RECORD.line()) if name not in table] == []


@given(
    st.builds(
        LedgerRecord,
        at=st.floats(0, 1e10),
        id=st.text(max_size=20),
        tenant=st.text(max_size=20),
        model=st.text(max_size=20),
        outcome=st.sampled_from(["answered", "failed", "cancelled", "refused"]),
        reason=st.sampled_from(["", "would_wait"]),
        usage=st.builds(
            Usage,
            requests=st.just(1),
            prompt_tokens=COUNTS,
            cached_tokens=COUNTS,
            output_tokens=COUNTS,
            engine_s=st.floats(0, 1e9),
            attempts=COUNTS,
        ),
        waited_s=st.floats(0, 1e9),
    )
)
def test_what_is_written_is_read(record: LedgerRecord) -> None:
    line = record.line()
    assert "\n" not in line
    assert parse_line(line) == record


def test_a_later_field_is_ignored() -> None:
    assert parse_line(RECORD.line()[:-1] + ',"new":1}') == RECORD


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "not JSON"),
        (RECORD.line()[:-9], "not JSON"),
        ("[]", "no record of version 1"),
        (RECORD.line().replace('"v":1', '"v":2'), "no record of version 1"),
        (RECORD.line().replace("answered", "eaten"), "outcome"),
        (RECORD.line().replace('"prompt_tokens":9', '"prompt_tokens":"x"'), "usage.prompt_tokens"),
    ],
)
def test_anything_else_is_an_error(line: str, why: str) -> None:
    with pytest.raises(LedgerError, match=why):
        parse_line(line)
