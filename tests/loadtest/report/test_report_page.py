"""The report: all of it in one file that asks nobody for anything, its figures valid for plotly."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs

from loadtest import run_records, summary
from loadtest.report.page import render
from loadtest.report.timeline import MOST_DOTS, mark_lines
from loadtest.run_folder import Mark, RunFolder
from tests.loadtest.made_up_run import made_up_run

WHOLE: dict[str, Any] = {
    "requests": 300,
    "failed_frac": 0.05,
    "missed_frac": 0.02,
    "kills_at_s": (10.0, 20.0),
    "slo": "ttft_p99=5s,tpot_p99=50ms",
}
SECTIONS = [
    *("slo", "glance", "load", "latency", "timeline", "rate", "errors", "kinds", "tenants"),
    *("engines", "configuration", "environment"),
]
FIGURES = [
    *("cdf-ttft", "cdf-tpot", "cdf-itl", "cdf-e2e"),
    *("time-rate", "time-in-flight", "time-ttft", "time-errors", "time-engines"),
    *("rate-ttft", "rate-tpot", "engines-running", "prefix-hits", "engines-hits"),
]
ADDRESS = ("src", "href", "action", "data", "poster", "srcset")


class Page(HTMLParser):
    """Ids, attributes and texts of a page; fails on tags that do not close each other."""

    VOID = frozenset({"meta", "br", "img", "link", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.scripts: dict[str, str] = {}
        self.text = ""
        self._open: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs).get("id") or ""
        self.ids += [found] if found else []
        self.attributes += attrs
        if tag not in self.VOID:
            self._open.append((tag, found))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        tag, found = self._open[-1] if self._open else ("", "")
        if tag == "script":
            self.scripts[found] = data
        elif tag != "style":
            self.text += data


def report_of(path: Path, **options: Any) -> str:
    folder = RunFolder.read(made_up_run(path, **options))
    return render(folder, summary.summary(folder))


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return report_of(tmp_path_factory.mktemp("run"), **WHOLE)


def test_every_section_and_every_figure_is_there_once(html: str) -> None:
    page = Page(html)
    assert [found for found in page.ids if found in SECTIONS] == SECTIONS
    assert sorted(found for found in page.ids if found in FIGURES) == sorted(FIGURES)
    assert len(page.ids) == len(set(page.ids))


def test_the_verdict_comes_before_everything_else(html: str) -> None:
    text = re.sub(r"\s+", " ", Page(html).text)
    verdict = text.index("Pass: the SLO holds")
    assert verdict < min(text.index(word) for word in ("TTFT p99 ≤ 5,000 ms", "At a glance"))


def test_figures_are_what_plotly_takes(html: str) -> None:
    figures = json.loads(Page(html).scripts["figures"])
    assert sorted(figures) == sorted(FIGURES)
    for figure in figures.values():
        drawn = go.Figure(figure)  # raises ValueError for a property that plotly does not have
        assert len(drawn.data) >= 1


def test_every_axis_with_numbers_names_its_unit(html: str) -> None:
    unit = re.compile(r", (ms|s|%)|/s$|requests|engines|% of tokens")
    for figure in json.loads(Page(html).scripts["figures"]).values():
        for axis in (figure["layout"]["xaxis"], figure["layout"]["yaxis"]):
            assert axis.get("type") == "category" or unit.search(axis["title"]["text"])


def test_nothing_is_loaded_from_elsewhere(html: str) -> None:
    page = Page(html)
    assert [value for name, value in page.attributes if name in ADDRESS] == []
    policies = [value or "" for name, value in page.attributes if name == "content"]
    assert any(text.startswith("default-src 'none'") for text in policies)
    own = html.replace(get_plotlyjs(), "").replace("http://127.0.0.1:8000", "the target")
    assert get_plotlyjs() in html
    assert re.findall(r"https?:|//[a-z]|@import|url\(", own) == []


def test_charts_of_the_timeline_have_one_axis(html: str) -> None:
    figures = json.loads(Page(html).scripts["figures"])
    layouts = {name: figure["layout"] for name, figure in figures.items()}
    timed = {name for name, layout in layouts.items() if layout["meta"]["x"] == "time"}
    assert timed == {name for name in figures if name.startswith("time-")}
    assert len({tuple(layouts[name]["xaxis"]["range"]) for name in timed}) == 1


def test_texts_of_a_run_are_no_html(tmp_path: Path) -> None:
    scenario = "<script>alert(1)</script>"
    page = Page(report_of(tmp_path, requests=120, scenario=scenario))
    assert f"Load test: {scenario}" in page.text
    assert set(page.scripts) == {"figures", "plotly", ""}


def test_what_a_run_does_not_have_is_left_out(tmp_path: Path) -> None:
    html = report_of(tmp_path, requests=120, engines=0, failed_frac=0.0, slo="")
    page = Page(html)
    assert {"slo", "engines", "time-engines", "time-errors"}.isdisjoint(page.ids)
    assert "No request failed." in page.text
    assert "No SLO" in page.text


def test_a_run_of_one_failed_request_has_a_report(tmp_path: Path) -> None:
    html = report_of(tmp_path, requests=1, failed_frac=1.0, engines=0)
    assert "Invalid" in Page(html).text


def test_a_long_run_is_drawn_with_fewer_points_and_says_so(tmp_path: Path) -> None:
    html = report_of(tmp_path, requests=6000, rate_per_s=100.0, failed_frac=0.0)
    page = Page(html)
    assert re.search(r"[\d,]+ of 6,000 requests drawn, the slowest among them", page.text)
    (cloud, *_) = json.loads(page.scripts["figures"])["time-ttft"]["data"]
    assert len(cloud["x"]) <= MOST_DOTS
    assert len(html) - len(get_plotlyjs()) < 500_000


def test_marks_are_numbered_as_far_as_there_is_room() -> None:
    few, many = (
        [
            line["label"]["text"]
            for line in mark_lines([Mark(float(at), "kill-host", "host 7") for at in range(n)])
        ]
        for n in (3, 50)
    )
    assert few == ["1", "2", "3"]
    assert [text for text in many if text] == [str(n) for n in range(1, 51, 5)]


def test_what_was_done_to_the_server_is_listed(html: str) -> None:
    assert "10.0 s: kill-host: host 7 of engine a" in Page(html).text
    assert "2 faults: 2 kill-host." in Page(html).text
    figures = json.loads(Page(html).scripts["figures"])
    for name in (name for name in figures if name.startswith("time-")):
        lines = [s for s in figures[name]["layout"]["shapes"] if s["type"] == "line"]
        assert [line["x0"] for line in lines] == [10.0, 20.0]


def test_what_lasted_has_an_end_and_a_band(tmp_path: Path) -> None:
    run = made_up_run(tmp_path, requests=120)
    mark = {"at_s": 3.0, "kind": "pause-core", "what": "EngineCore 8 of engine a", "end_s": 6.0}
    (run / run_records.MARKS).write_text(json.dumps(mark))
    folder = RunFolder.read(run)
    page = Page(render(folder, summary.summary(folder)))
    assert "3.0 to 6.0 s: pause-core" in page.text
    assert "a process stands still" in page.text
    figures = json.loads(page.scripts["figures"])
    (band,) = [s for s in figures["time-rate"]["layout"]["shapes"] if s.get("name") == "pause"]
    assert (band["x0"], band["x1"]) == (3.0, 6.0)


def test_a_closed_loops_stages_are_drawn(tmp_path: Path) -> None:
    run = made_up_run(tmp_path, requests=120)
    config = json.loads((run / run_records.CONFIG).read_text())
    stages = [{"users": 1, "duration_s": 5.0}, {"users": 4, "duration_s": 9.0}]
    config["scenario"] |= {"duration_s": 12.0, "stages": stages}
    (run / run_records.CONFIG).write_text(json.dumps(config))
    folder = RunFolder.read(run)
    page = Page(render(folder, summary.summary(folder)))
    _, users = json.loads(page.scripts["figures"])["time-in-flight"]["data"]
    assert (users["x"], users["y"]) == ([0.0, 5.0, 12.0], [1, 4, 4])
    assert "users of the stage" in page.text


def test_the_report_is_written_beside_the_records(tmp_path: Path) -> None:
    from loadtest.report_command import write_results

    write_results(made_up_run(tmp_path, requests=120))
    assert (tmp_path / run_records.REPORT).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert json.loads((tmp_path / run_records.SUMMARY).read_text())["version"] == 1
