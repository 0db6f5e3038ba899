"""Charts with one time axis are zoomed together: the page's own script, in node, without a browser.

Plotly is played by a few lines that keep each chart's range and tell of every change, as it does.
"""

import json
import shutil
import subprocess
from importlib.resources import files
from typing import Any

import pytest

from loadtest.report.chart import BLUE, axis, layout

BROWSER = """
const boxes = {};
for (const id of Object.keys(FIGURES)) boxes[id] = { on: (_, told) => { boxes[id].told = told; } };
const schemes = [];
globalThis.document = {
  documentElement: {}, body: {},
  getElementById: (id) => id === "figures" ? { textContent: JSON.stringify(FIGURES) } : boxes[id],
};
globalThis.window = { matchMedia: () => ({ addEventListener: (_, again) => schemes.push(again) }) };
globalThis.getComputedStyle = () => ({ getPropertyValue: () => "red", fontFamily: "sans" });
let moves = 0;
globalThis.Plotly = {
  react: (box, _, layout) => { box.layout = layout; },
  relayout: (id, change) => {
    if (++moves > 100) throw new Error("charts follow each other without end");
    if (change["xaxis.range"]) boxes[id].layout.xaxis.range = change["xaxis.range"];
    boxes[id].told(change);
  },
};
function drag(id, first, last) {  // as a reader's zoom or pan is told
  boxes[id].layout.xaxis.range = [first, last];
  boxes[id].told({ "xaxis.range[0]": first, "xaxis.range[1]": last });
}
function all(id) {
  boxes[id].layout.xaxis.range = [-3, 33];
  boxes[id].told({ "xaxis.autorange": true });
}
const ranges = () => Object.fromEntries(
  Object.entries(boxes).map(([id, box]) => [id, box.layout.xaxis.range]));
"""
WHOLE, OTHER = [0.0, 30.0], [0.0, 9.0]


def figure(same_x: str, shown: list[float]) -> dict[str, Any]:
    drawn = layout(axis("time, s", range=shown), axis("requests"), [BLUE], same_x=same_x)
    return {"data": [], "layout": drawn}


FIGURES = {
    "rate": figure("time", WHOLE),
    "ttft": figure("time", WHOLE),
    "engines": figure("time", WHOLE),
    "cdf": figure("", OTHER),
    "hits": figure("", OTHER),
}


def ranges_after(*actions: str) -> dict[str, list[float]]:
    """Each chart's x range after what a reader does."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node to run the page's script")
    own = files("loadtest.report").joinpath("charts.js").read_text(encoding="utf-8")
    given = f"const FIGURES = {json.dumps(FIGURES)};"
    done = "".join(f"{action};\n" for action in actions)
    script = f"{given}{BROWSER}\n(() => {{{own}}})();\n{done}console.log(JSON.stringify(ranges()))"
    said = subprocess.run([node, "-e", script], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    found: dict[str, list[float]] = json.loads(said.stdout)
    return found


def test_nothing_moves_by_itself() -> None:
    found = ranges_after()
    assert found == {name: each["layout"]["xaxis"]["range"] for name, each in FIGURES.items()}


def test_who_zooms_one_chart_of_the_time_zooms_them_all_and_no_other() -> None:
    found = ranges_after("drag('ttft', 4, 8)", "drag('rate', 5, 9)")
    assert [found[name] for name in ("rate", "ttft", "engines")] == [[5, 9]] * 3
    assert (found["cdf"], found["hits"]) == (OTHER, OTHER)


def test_what_is_seen_is_kept_when_the_colours_change() -> None:
    assert ranges_after("drag('ttft', 4, 8)", "schemes[0]()")["engines"] == [4, 8]


def test_all_of_it_is_the_whole_run_in_each() -> None:
    found = ranges_after("drag('ttft', 4, 8)", "all('rate')")
    assert [found[name] for name in ("rate", "ttft", "engines")] == [WHOLE] * 3


def test_a_chart_with_an_axis_of_its_own_moves_alone() -> None:
    found = ranges_after("drag('cdf', 1, 2)")
    assert (found["cdf"], found["hits"], found["rate"]) == ([1, 2], OTHER, WHOLE)


def test_a_vertical_zoom_is_of_one_chart() -> None:
    told = "boxes.ttft.told({ 'yaxis.range[0]': 0, 'yaxis.range[1]': 1 })"
    assert ranges_after(told)["rate"] == WHOLE
