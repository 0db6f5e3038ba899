"""The report of a run: its sections in order, put into one page."""

from collections.abc import Iterable

from loadtest.report import engines, latency, tables
from loadtest.report.document import Section, document
from loadtest.report.timeline import Timeline
from loadtest.run_folder import RunFolder
from loadtest.summary_schema import Summary


def render(folder: RunFolder, summary: Summary) -> str:
    """The whole report as one HTML file."""
    return document(
        f"Load test: {summary.scenario}",
        _about(folder),
        _sections(folder, summary),
        lead_html=tables.headline(summary),
    )


def _sections(folder: RunFolder, summary: Summary) -> Iterable[Section]:
    samples = [record.sample for record in folder.measured if not record.missed]
    bounds = latency_bounds(summary)
    yield Section("slo", "SLO", tables.slo(summary.slo))
    yield Section("glance", "At a glance", f'<div class="tiles">{tables.glance(summary)}</div>')
    yield Section("load", "Load", tables.load(summary))
    yield Section(
        "latency",
        "Latency",
        tables.latencies(summary.latency),
        latency.distributions(samples, bounds),
    )
    yield Section("timeline", "Timeline", tables.marks(folder.marks), Timeline(folder).charts())
    yield Section("rate", "Latency against rate", charts=latency.against_rate(samples))
    yield Section("errors", "Errors", tables.errors(summary) or "<p>No request failed.</p>")
    yield Section("kinds", "By kind", tables.groups("kind", summary.kinds))
    yield Section("tenants", "By tenant", tables.groups("tenant", summary.tenants))
    yield Section(
        "engines",
        "Engines",
        tables.engines(engines.engines(folder.server)),
        [*engines.balance(folder.server), *engines.hits(folder.server)],
    )
    yield Section("configuration", "Configuration", tables.settings(folder.config))
    yield Section("environment", "Environment", tables.settings(folder.environment))


def latency_bounds(summary: Summary) -> dict[str, list[tuple[str, float]]]:
    """The SLO's bounds on latencies, for lines in their charts."""
    bounds: dict[str, list[tuple[str, float]]] = {}
    for clause in summary.slo:
        metric = clause.name.partition("_p")[0]  # other clauses give names that no chart has
        bounds.setdefault(metric, []).append((clause.text, clause.bound))
    return bounds


def _about(folder: RunFolder) -> str:
    """Who was tested, and when."""
    known = [folder.config.get("model"), folder.config.get("target")]
    known.append(folder.environment.get("started_at"))
    return " · ".join(str(value) for value in known if value)
