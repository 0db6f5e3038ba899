"""The report, as a pure function of rows, against numbers worked out by hand."""

from loadtest.bench.records import Row
from loadtest.bench.report import render
from tests.loadtest.bench.rows import IDLE, RUN, cell, sample


def lines_of(rows: list[Row]) -> dict[str, list[str]]:
    """Table cells by the first cell of their line."""
    tables = [line.strip("| ").split(" | ") for line in render(rows).splitlines() if "|" in line]
    return {cells[0]: cells[1:] for cells in tables}


# Rates: 3 tokens in 20 ms and 25 ms (150 and 120 tokens/s), then 3 in 20 ms on both sides.
PAIRS = [
    RUN,
    *cell("bare", sample(10, 5), pair=0),
    *cell("fleet", sample(15, 5), pair=0),
    *cell("fleet", sample(10, 5), pair=1),
    *cell("bare", sample(10, 5), pair=1),
]


def test_ratios_and_differences_are_taken_within_a_pair() -> None:
    lines = lines_of(PAIRS)
    assert lines["output tokens/s"] == ["150", "135", "x 0.900 (x 0.800 to x 1.000)"]
    assert lines["TTFT p50, ms"] == ["10.00", "12.50", "+2.50 (+0.00 to +5.00)"]
    assert lines["ITL p50, ms"] == ["5.00", "5.00", "+0.00 (+0.00 to +0.00)"]


def test_p99_is_of_the_pooled_samples_with_their_number() -> None:
    lines = lines_of(PAIRS)
    assert lines["TTFT p99, ms"][:2] == ["10.00 (n=2)", "15.00 (n=2)"]
    assert lines["ITL p99, ms"][:2] == ["5.00 (n=4)", "5.00 (n=4)"]


def test_cpu_is_per_1000_output_tokens_and_the_client_stays_apart() -> None:
    rows = [
        RUN,
        *cell("bare", sample(), API_server=0.3, engine_core=0.6, load_client=0.03, other=0.0),
        *cell("fleet", sample(), gateway=0.36, engine_core=0.6, rest_of_the_machine=9.0),
    ]
    lines = lines_of(rows)
    assert lines["engine core"] == ["200.0000", "200.0000"]
    assert lines["API server"] == ["100.0000", "-"]
    assert lines["gateway"] == ["-", "120.0000"]
    assert lines["whole server"] == ["300.0000", "320.0000"]
    assert "other" not in lines


def test_failed_requests_are_counted_and_leave_the_latencies() -> None:
    failed = sample(1000, error="http 503")
    lines = lines_of([RUN, *cell("bare", sample()), *cell("fleet", sample(), failed)])
    assert lines["failed requests"][:2] == ["0", "1"]
    assert lines["TTFT p99, ms"][1] == "10.00 (n=1)"


def test_a_side_where_all_failed_has_no_numbers() -> None:
    silent = sample(t1_s=None, tn_s=None, itl_us=(), error="connect: refused")
    lines = lines_of([RUN, *cell("bare", sample()), *cell("fleet", silent, gateway=1.0)])
    assert lines["TTFT p50, ms"] == ["-", "-", "-"]
    assert lines["TTFT p99, ms"][:2] == ["10.00 (n=1)", "-"]
    assert lines["output tokens/s"] == ["150", "0", "x 0.000 (x 0.000 to x 0.000)"]


def test_a_pair_that_lacks_a_side_is_left_out() -> None:
    text = render([*PAIRS, *cell("bare", sample(), pair=2)])
    assert "### 1 streams, 2 pairs" in text


def test_replies_are_compared_by_index() -> None:
    bare = cell("bare", sample(text_crc32=1), sample(text_crc32=2))
    fleet = cell("fleet", sample(text_crc32=1), sample(text_crc32=3))
    assert "same text on both sides: 1 of 2." in render([RUN, *bare, *fleet])


def test_each_concurrency_has_its_section_in_order() -> None:
    rows = [RUN]
    for streams in (32, 8):
        for side in ("bare", "fleet"):
            rows += cell(side, sample(), streams=streams)
    text = render(rows)
    assert text.index("### 8 streams, 1 pairs") < text.index("### 32 streams, 1 pairs")


def test_the_head_says_what_was_run_where() -> None:
    text = render(PAIRS)
    for part in (RUN.started_at, f"`{RUN.command}`", "output tokens 3", "cores 2"):
        assert part in text


def test_idle_cpu_is_in_cores() -> None:
    assert lines_of([*PAIRS, IDLE])["bare vLLM"] == ["0.020", "VLLM: 3 CPUs"]


def test_the_client_says_what_it_cost() -> None:
    text = render([RUN, *cell("bare", sample(), load_client=0.00003)])
    assert "Load client: 10.0 (10.0 to 10.0) µs CPU a chunk, at most 0.00 of one core: not" in text
    assert "**client-limited**" in render([RUN, *cell("bare", sample(), load_client=0.6)])


def test_a_run_beside_other_work_is_marked() -> None:
    for rest_s, verdict in ((0.1, ": quiet."), (0.5, ": **disturbed**.")):
        load = {"load_client": 0.01, "rest_of_the_machine": rest_s}
        assert verdict in render([RUN, *cell("bare", sample(), **load)])


def test_the_summary_has_a_line_per_concurrency() -> None:
    rows = [*PAIRS, *cell("bare", sample(), streams=8), *cell("fleet", sample(), streams=8)]
    lines = lines_of(rows)
    assert lines["1"][:5] == [
        *("150", "135", "0.900 (0.800 to 1.000)"),
        *("+2.50 (+0.00 to +5.00)", "+0.00 (+0.00 to +0.00)"),
    ]
    assert lines["8"][:3] == ["150", "150", "1.000 (1.000 to 1.000)"]
