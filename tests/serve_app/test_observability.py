"""Rules, runbooks and dashboards: they name what is recorded, and are those in the repository."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from serve_app.alerts import ALERTS
from serve_app.dashboards import DASHBOARDS
from serve_app.metric_table import METRICS, MetricKind
from serve_app.observability import files

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "k8s" / "observability"
PROMTOOL = shutil.which("promtool")
SERVES_LABELS = {"application", "deployment", "replica"}
PARTS = {MetricKind.HISTOGRAM: ("_bucket", "_sum", "_count")}

EXPRESSIONS = [(alert.name, alert.expression) for alert in ALERTS] + [
    (f"{board.slug}: {panel.title}", expression)
    for board in DASHBOARDS
    for panel in board.panels
    for expression, _ in panel.queries
]


def test_what_is_in_the_repository_is_what_the_code_makes():
    made = files()
    found = {
        str(path.relative_to(FOLDER)): path.read_text()
        for path in FOLDER.rglob("*")
        if path.is_file()
    }
    assert found == made, "run: python -m serve_app.observability k8s/observability"


@pytest.mark.parametrize(
    "expression", [pytest.param(text, id=where) for where, text in EXPRESSIONS]
)
def test_expressions_name_metrics_and_labels_that_there_are(expression):
    labels_of = {
        f"ray_{spec.name}{part}": {*spec.labels, *SERVES_LABELS, "le"}
        for spec in METRICS
        for part in PARTS.get(spec.kind, ("",))
    }
    named = set(re.findall(r"ray_\w+", expression))
    assert named
    assert named <= labels_of.keys()
    grouped = {
        label.strip()
        for group in re.findall(r"by \(([^)]*)\)", expression)
        for label in group.split(",")
    }
    assert grouped <= set.intersection(*(labels_of[each] for each in named))
    assert set(re.findall(r"(\w+)=", expression)) <= set.union(*map(labels_of.get, named))


def test_what_a_line_is_called_has_the_labels_that_it_is_grouped_by():
    for board in DASHBOARDS:
        for panel in board.panels:
            for expression, legend in panel.queries:
                for label in re.findall(r"{{(\w+)}}", legend):
                    assert re.search(rf"by \([^)]*\b{label}\b", expression), (panel.title, label)


def test_every_metric_is_on_a_dashboard_or_in_an_alert():
    everything = " ".join(expression for _, expression in EXPRESSIONS)
    assert [spec.name for spec in METRICS if spec.name not in everything] == []


def test_every_alert_has_a_runbook():
    text = (FOLDER / "runbooks.md").read_text()
    for rule in yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"][0]["rules"]:
        place, _, chapter = rule["annotations"]["runbook_url"].partition("#")
        assert (ROOT / place).is_file()
        assert chapter in {line[3:].lower() for line in text.splitlines() if line.startswith("## ")}
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_panels_do_not_overlap():
    for path in (FOLDER / "dashboards").iterdir():
        places = [panel["gridPos"] for panel in json.loads(path.read_text())["panels"]]
        assert len({(place["x"], place["y"]) for place in places}) == len(places)
        assert all(place["x"] + place["w"] <= 24 for place in places)


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: apt-get install prometheus")
def test_prometheus_accepts_the_rules():
    checked = subprocess.run(
        [str(PROMTOOL), "check", "rules", str(FOLDER / "rules.yaml")],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr
    assert f"SUCCESS: {len(ALERTS)} rules found" in checked.stdout


FIRES = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: 'ray_tokenfleet_lost_engines_total{{model="m",cause="core_dead",replica="g"}}'
        values: '0 0 1 2 4 4 4 4 4 4 4 4 4 4 4 4 4 4 4 4 4 4'
      - series: 'ray_tokenfleet_slo_requests_total{{model="m",replica="g"}}'
        values: '0+100x20'
      - series: 'ray_tokenfleet_slo_good_requests_total{{model="m",replica="g"}}'
        values: '0+70x20'
      - series: 'ray_tokenfleet_engines{{model="m",state="ready",replica="g"}}'
        values: '1 1 1 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0'
      - series: 'ray_tokenfleet_held_requests{{model="m",replica="g"}}'
        values: '0 0 0 0 0 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3'
    promql_expr_test: []
    alert_rule_test:
      - {{eval_time: 3m, alertname: TokenfleetEnginesCrash, exp_alerts: []}}
      - eval_time: 6m
        alertname: TokenfleetEnginesCrash
        exp_alerts: [{{exp_labels: {{severity: page, model: m}}, exp_annotations: {crash}}}]
      - {{eval_time: 4m, alertname: TokenfleetNoReadyEngine, exp_alerts: []}}
      - eval_time: 9m
        alertname: TokenfleetNoReadyEngine
        exp_alerts: [{{exp_labels: {{severity: page, model: m}}, exp_annotations: {empty}}}]
      - eval_time: 10m
        alertname: TokenfleetSloBurnsFast
        exp_alerts: [{{exp_labels: {{severity: page, model: m}}, exp_annotations: {burns}}}]
"""


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: apt-get install prometheus")
def test_alerts_come_when_they_should(tmp_path):
    def annotations(name: str) -> str:
        rules = yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"][0]["rules"]
        (found,) = [rule["annotations"] for rule in rules if rule["alert"] == name]
        return json.dumps(
            {**found, "summary": found["summary"].replace("{{ $labels.model }}", "m")}
        )

    test = tmp_path / "test.yaml"
    test.write_text(
        FIRES.format(
            rules=FOLDER / "rules.yaml",
            crash=annotations("TokenfleetEnginesCrash"),
            empty=annotations("TokenfleetNoReadyEngine"),
            burns=annotations("TokenfleetSloBurnsFast"),
        )
    )
    checked = subprocess.run(
        [str(PROMTOOL), "test", "rules", str(test)], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
