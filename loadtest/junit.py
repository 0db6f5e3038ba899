"""A judgement as JUnit XML, the form in which CI systems take test results.

One test case says whether the run is valid, and one for each clause of the SLO whether it was met.
In an invalid run the clauses were not judged: they are skipped. What was done to the server during
the run is the suite's property `faults`, and its output has a line for each.
"""

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from loadtest.judgement import Judgement
from loadtest.number_text import faults
from loadtest.run_folder import Mark, counted
from loadtest.summary_schema import ClauseResult, Verdict

VALID = "the run is valid"


def suite(
    scenario: str,
    judged: Judgement,
    wall_s: float,
    started_at: str | None = None,
    marks: Sequence[Mark] = (),
) -> bytes:
    """The file's content. `started_at` is ISO 8601."""
    invalid = judged.verdict == Verdict.INVALID
    counts = {
        "tests": len(judged.clauses) + 1,
        "failures": 0 if invalid else len(judged.breaches),
        "errors": int(invalid),
        "skipped": len(judged.clauses) if invalid else 0,
    }
    root = ET.Element("testsuites")
    found = ET.SubElement(root, "testsuite", name=scenario, time=f"{wall_s:.3f}")
    for name, count in counts.items():
        found.set(name, str(count))
    if started_at:
        found.set("timestamp", started_at)
    if marks:  # the order of elements is the schema's: properties first, output last
        properties = ET.SubElement(found, "properties")
        ET.SubElement(properties, "property", name="faults", value=faults(counted(marks)))
    _validity(found, scenario, judged, invalid)
    for clause in judged.clauses:
        _clause(found, scenario, clause, invalid)
    if marks:
        ET.SubElement(found, "system-out").text = "\n".join(mark.text for mark in marks)
    ET.indent(root)
    return ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _case(suite: ET.Element, scenario: str, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=f"loadtest.{scenario}", name=name)


def _validity(suite: ET.Element, scenario: str, judged: Judgement, invalid: bool) -> None:
    case = _case(suite, scenario, VALID)
    if invalid:
        ET.SubElement(case, "error", message=judged.invalid[0]).text = "\n".join(judged.invalid)


def _clause(suite: ET.Element, scenario: str, clause: ClauseResult, invalid: bool) -> None:
    case = _case(suite, scenario, clause.text)
    measured = f"measured {clause.measured_text} (n = {clause.n:,})"
    if invalid:
        ET.SubElement(case, "skipped", message=f"the run is invalid; {measured}")
    elif not clause.met:
        ET.SubElement(case, "failure", message=measured)
