"""Traces: both formats read, bad lines named, and what may be done to a trace before its replay."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import ceil, inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.traces import (
    MOONCAKE_BLOCK_TOKENS,
    MOONCAKE_TICK_S,
    TraceError,
    TraceRequest,
    cap_tokens,
    cut,
    parse_azure,
    parse_mooncake,
    read_trace,
    scale_tokens,
    sped_up,
    spread_ticks,
)

RECORDED = Path(__file__).parents[3] / "shared" / "traces"
"""The two recorded traces, too large for the repository, beside the checkout."""

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
START = datetime(2023, 11, 16, 18, 15, 46, 680590, tzinfo=UTC)

LENGTHS = st.integers(1, 30_000)
REQUESTS = st.lists(
    st.builds(
        lambda tick, prompt, output: TraceRequest(
            at_s=tick * MOONCAKE_TICK_S,
            prompt_tokens=prompt,
            output_tokens=output,
            block_ids=tuple(range(ceil(prompt / MOONCAKE_BLOCK_TOKENS))),
        ),
        st.integers(0, 5),
        LENGTHS,
        LENGTHS,
    ),
    max_size=20,
).map(lambda requests: sorted(requests, key=lambda request: request.at_s))


def mooncake_line(request: TraceRequest, start_ms: int = 0) -> str:
    return json.dumps(
        {
            "timestamp": start_ms + round(request.at_s * 1000),
            "input_length": request.prompt_tokens,
            "output_length": request.output_tokens,
            "hash_ids": request.block_ids,
        }
    )


def azure_line(at_s: float, prompt_tokens: int, output_tokens: int) -> str:
    at = START + timedelta(seconds=at_s)
    return f"{at:%Y-%m-%d %H:%M:%S.%f}0,{prompt_tokens},{output_tokens}\r\n"


@given(REQUESTS, st.integers(0, 10**9))
def test_mooncake_lines_are_read_as_they_were_written(
    requests: list[TraceRequest], start_ms: int
) -> None:
    found = parse_mooncake((mooncake_line(request, start_ms) for request in requests), "trace")
    first_s = requests[0].at_s if requests else 0.0
    assert found == [replace(request, at_s=request.at_s - first_s) for request in requests]


@given(st.lists(st.tuples(st.integers(0, 10**10), LENGTHS, LENGTHS), max_size=20))
def test_azure_instants_are_exact_to_the_microsecond(rows: list[tuple[int, int, int]]) -> None:
    rows.sort()
    lines = [HEADER, *(azure_line(us / 1e6, prompt, output) for us, prompt, output in rows)]
    found = parse_azure(lines, "trace")
    assert [(r.at_s, r.prompt_tokens, r.output_tokens) for r in found] == [
        ((us - rows[0][0]) / 1e6, prompt, output) for us, prompt, output in rows
    ]


def test_lines_out_of_order_are_put_in_order_and_equal_ones_keep_theirs() -> None:
    lines = [
        '{"timestamp": 3000, "input_length": 1, "output_length": 9}',
        "",
        '{"timestamp": 0, "input_length": 2, "output_length": 9}',
        '{"timestamp": 3000, "input_length": 3, "output_length": 9}',
    ]
    found = parse_mooncake(lines, "trace")
    assert [(r.at_s, r.prompt_tokens) for r in found] == [(0, 2), (3, 1), (3, 3)]
    assert found[0].block_ids == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("{", "t.jsonl:2: Invalid JSON", id="cut off"),
        pytest.param("[]", "t.jsonl:2: Input should be an object", id="no object"),
        pytest.param("\ufffd", "t.jsonl:2: Invalid JSON", id="no UTF-8"),
        pytest.param(
            '{"timestamp": 0, "input_length": 0, "output_length": 1}',
            "t.jsonl:2: input_length 0: Input should be greater",
            id="an empty prompt",
        ),
        pytest.param(
            '{"timestamp": "0", "input_length": 1, "output_length": 1}',
            "t.jsonl:2: timestamp '0': Input should be a valid number",
            id="text for a number",
        ),
        pytest.param(
            '{"timestamp": 0, "input_length": 1}',
            "t.jsonl:2: output_length .*Field required",
            id="no length",
        ),
    ],
)
def test_a_bad_mooncake_line_is_named(line: str, message: str) -> None:
    good = '{"timestamp": 0, "input_length": 1, "output_length": 1}'
    with pytest.raises(TraceError, match=message):
        parse_mooncake([good, line, good], "t.jsonl")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        pytest.param([], "t.csv:1: no column TIMESTAMP", id="nothing"),
        pytest.param(["TIMESTAMP,Tokens"], "t.csv:1: no column ContextTokens", id="a header"),
        pytest.param([HEADER, "1,2,3"], "t.csv:2: TIMESTAMP '1': .*isoformat", id="a number"),
        pytest.param(
            [HEADER, azure_line(0, 5, 5), azure_line(0, 5, 0)],
            "t.csv:3: GeneratedTokens '0'",
            id="an empty answer",
        ),
        pytest.param([HEADER, "2023-11-16 18:15:46,7\r\n"], "GeneratedTokens None", id="short"),
        pytest.param([HEADER, "x" * 200_000], "t.csv:2: field larger", id="what csv refuses"),
    ],
)
def test_a_bad_azure_line_is_named(lines: list[str], message: str) -> None:
    with pytest.raises(TraceError, match=message):
        parse_azure(lines, "t.csv")


@given(st.lists(st.text(max_size=40)))
def test_whatever_a_file_holds_it_is_read_or_refused_by_line(lines: list[str]) -> None:
    refused: list[int] = []
    for parse, first in ((parse_mooncake, []), (parse_azure, [HEADER])):
        try:
            parse([*first, *lines], "trace")
        except TraceError as error:
            refused.append(error.line)
    assert all(1 <= number <= len(lines) + 1 for number in refused)


def test_files_are_read_by_their_format(tmp_path: Path) -> None:
    jsonl, table, broken = tmp_path / "t.jsonl", tmp_path / "t.csv", tmp_path / "broken.jsonl"
    jsonl.write_text(
        '{"timestamp": 5, "input_length": 600, "output_length": 2, "hash_ids": [4, 9]}\n'
    )
    table.write_text(HEADER + azure_line(0, 374, 44), newline="")
    broken.write_bytes(b"\xff\n")
    expected = TraceRequest(at_s=0, prompt_tokens=600, output_tokens=2, block_ids=(4, 9))
    assert read_trace(jsonl, "mooncake") == [expected]
    assert read_trace(table, "azure") == [TraceRequest(at_s=0, prompt_tokens=374, output_tokens=44)]
    with pytest.raises(TraceError, match=r"broken\.jsonl:1: Invalid JSON"):
        read_trace(broken, "mooncake")


@given(REQUESTS, st.integers(0, 1000))
def test_ticks_are_spread_over_themselves_in_order(requests: list[TraceRequest], seed: int) -> None:
    spread = spread_ticks(requests, MOONCAKE_TICK_S, seed)
    assert spread == spread_ticks(requests, MOONCAKE_TICK_S, seed)
    for before, after in zip(requests, spread, strict=True):
        assert before.at_s <= after.at_s < before.at_s + MOONCAKE_TICK_S
        assert before.prompt_tokens == after.prompt_tokens
    assert [r.at_s for r in spread] == sorted(r.at_s for r in spread)


def test_spread_requests_fill_their_tick_evenly() -> None:
    together = [TraceRequest(at_s=6, prompt_tokens=1, output_tokens=1)] * 3000
    thirds = Counter(int(r.at_s - 6) for r in spread_ticks(together, 3, seed=1))
    assert set(thirds) == {0, 1, 2}
    assert all(abs(count - 1000) < 6 * 26 for count in thirds.values())  # six sd of a binomial


@given(REQUESTS, st.floats(0.01, 10), st.integers(1, 5000), st.integers(1, 5000))
def test_lengths_are_scaled_then_capped_and_blocks_follow(
    requests: list[TraceRequest], factor: float, prompt_tokens: int, output_tokens: int
) -> None:
    scaled = scale_tokens(requests, factor)
    capped = cap_tokens(scaled, prompt_tokens=prompt_tokens, output_tokens=output_tokens)
    for before, after, last in zip(requests, scaled, capped, strict=True):
        assert after.block_ids == before.block_ids
        assert after.prompt_tokens == max(1, round(before.prompt_tokens * factor))
        assert last.prompt_tokens == min(after.prompt_tokens, prompt_tokens)
        assert last.output_tokens == min(after.output_tokens, output_tokens)
        assert last.block_ids == after.block_ids[: len(last.block_ids)]
        # Enough blocks for the prompt, and none that lies beyond it; rounding is half a token.
        assert len(last.block_ids) * last.block_tokens >= last.prompt_tokens - 1
        assert (len(last.block_ids) - 1) * last.block_tokens <= last.prompt_tokens + 0.5


def test_a_trace_is_sped_up_and_cut() -> None:
    requests = [TraceRequest(at_s=at, prompt_tokens=1, output_tokens=1) for at in (0, 3, 6, 9)]
    assert [r.at_s for r in cut(sped_up(requests, 3), 2)] == [0, 1]


@pytest.mark.parametrize("factor", [0, -1, inf])
def test_factors_and_lengths_must_be_above_0(factor: float) -> None:
    with pytest.raises(ValueError, match="factor must be above 0"):
        sped_up([], factor)
    with pytest.raises(ValueError, match="factor must be above 0"):
        scale_tokens([], factor)
    with pytest.raises(ValueError, match="output_tokens must be above 0"):
        cap_tokens([], prompt_tokens=1, output_tokens=0)


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded traces are not beside the checkout")
def test_the_recorded_traces_are_read() -> None:
    mooncake = read_trace(RECORDED / "mooncake_conversation.jsonl", "mooncake")
    assert (len(mooncake), round(mooncake[-1].at_s)) == (12_031, 3537)
    assert {request.block_ids[0] for request in mooncake} == {0}
    azure = read_trace(RECORDED / "azure_2023_conversation.csv", "azure")
    assert (len(azure), round(azure[-1].at_s)) == (19_366, 3502)
    assert sum(request.prompt_tokens for request in azure) // len(azure) == 1154
