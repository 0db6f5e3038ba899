"""Which variant is to be taken, what is on the front, and how it is written down."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.acceleration import measured, report
from loadtest.acceleration.measured import Measured, Speed
from loadtest.acceleration.quality import Matches, Position, Quality
from loadtest.acceleration.variants import AGAIN, BASE
from loadtest.acceleration.verdict import Point, front, verdict


def result(variant: str, tokens_per_s: float, correct: int) -> Measured:
    return Measured(
        variant=variant,
        source="demo",
        engine={},
        weight_bytes=6_000_000,
        start_s=31.5,
        memory_bytes=2**29,
        kv_tokens=32_768,
        speed=Speed(
            requests=100, failed=0, ttft_s=0.031, tpot_s=0.012, output_tokens_per_s=tokens_per_s
        ),
        quality=Quality(
            matches={"translation": Matches(correct=correct, n=100)},
            perplexity=1.5,
            agreement_frac=0.99,
            divergence_nats=0.001,
        ),
    )


RUNS = [
    result(BASE, 1000, 98),
    result("int8", 1300, 97),
    result("w4a16", 1600, 90),
    result("sparse50", 1010, 98),
    result(AGAIN, 1030, 98),
]


def test_the_fastest_of_those_that_are_right_enough():
    assert verdict(RUNS, 0.01).chosen == "int8"
    assert verdict(RUNS, 0.1).chosen == "w4a16"


def test_what_the_base_differs_by_from_itself_is_no_gain():
    found = verdict([each for each in RUNS if each.variant in (BASE, "sparse50", AGAIN)], 0.01)
    assert found.chosen is None
    assert found.noise_frac == pytest.approx(0.03)
    assert "nothing is faster" in found.sentence


def test_on_the_front_are_those_that_no_other_beats_in_both():
    points = [
        Point(variant="a", speed=1.0, quality=0.9),
        Point(variant="b", speed=2.0, quality=0.9),
        Point(variant="c", speed=1.5, quality=0.8),
        Point(variant="d", speed=3.0, quality=0.5),
    ]
    assert front(points) == ["b", "d"]


def test_equal_ones_are_both_on_it():
    twins = [Point(variant=name, speed=1.0, quality=1.0) for name in "ab"]
    assert front(twins) == ["a", "b"]


def test_one_that_did_not_start_is_a_line_that_says_so():
    failed = Measured(variant="fp8", source="demo", engine={}, failure="no kernel")
    runs = [*RUNS, failed]
    text = report.markdown(runs, verdict(runs, 0.01))
    assert "\nfp8: no kernel\n" in text
    (row,) = (line for line in text.splitlines() if line.startswith("| int8 |"))
    assert row.split(" | ")[1:5] == ["1,300", "31.0 ms", "12.0 ms", "6.0"]
    page = report.page(runs, verdict(runs, 0.01), {"spec": "s.yaml", "scenario": "saturated"})
    assert "no kernel" in page
    assert "int8: 1.30 times" in page


def test_what_was_measured_is_read_back_and_only_for_the_same(tmp_path: Path):
    readings = [[Position(-0.5, {7: -0.5, 8: -1.5})]]
    measured.write(tmp_path, RUNS[1], readings)
    assert measured.read(tmp_path, replace(RUNS[1], speed=None, quality=None)) == (
        RUNS[1],
        readings,
    )
    assert measured.read(tmp_path, replace(RUNS[1], work="another")) is None
    (tmp_path / measured.FILE).write_text(json.dumps({"half": "written"})[:-3])
    assert measured.read(tmp_path, RUNS[1]) is None
