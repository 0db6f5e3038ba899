"""Rows survive the file, gzipped or not."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.bench.records import RequestRow, from_json, open_text, read_rows, row_file, to_json
from tests.loadtest.bench.rows import IDLE, RUN, cell, sample

ROWS = [RUN, IDLE, *cell("fleet", sample(error="http 503"), pair=2, streams=8, gateway=0.5)]


@pytest.mark.parametrize("name", ["rows.jsonl", "new/rows.jsonl.gz"])
def test_a_file_gives_back_its_rows(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    with row_file(path) as write:
        for row in ROWS:
            write(row)
    with open_text(path, "rt") as file:
        assert list(read_rows(file)) == ROWS


def test_without_a_file_rows_go_nowhere() -> None:
    with row_file(None) as write:
        write(RUN)


@given(st.floats(0, 1e6), st.lists(st.integers(0, 10**9)), st.text())
def test_a_request_survives_json(t1_s: float, itl_us: list[int], error: str) -> None:
    measured = sample(t1_s=t1_s, itl_us=tuple(itl_us), error=error)
    row = RequestRow(pair=0, streams=1, side="bare", index=3, sample=measured)
    assert from_json(to_json(row)) == row


def test_a_line_of_another_kind_is_refused() -> None:
    with pytest.raises(KeyError):
        from_json('{"kind": "weather"}')
