"""`tokenfleet loadtest gate RUN`: whether a run met an SLO, as an exit status for CI.

Exit status: 0 it did, 1 it did not, 2 the run is invalid (client-limited, too few samples), 3 wrong
command line, no such run or a wrong SLO.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from loadtest import junit
from loadtest.exit_status import BREACH, INVALID, PASS, complain
from loadtest.judgement import Judgement, judge, slo_of
from loadtest.number_text import faults as faults_text
from loadtest.run_folder import EmptyRunError, RunFolder, RunFolderError
from loadtest.slo_option import HELP, read_slo
from loadtest.summary import load_of, scenario_name
from loadtest.summary_schema import Verdict
from loadtest.text_table import markdown

STATUS = {Verdict.PASS: PASS, Verdict.BREACH: BREACH, Verdict.INVALID: INVALID}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="the folder of a run")
    parser.add_argument("--slo", help=f"{HELP}; default: the scenario's own")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="a test case for each clause")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the table, to keep")


def run(args: argparse.Namespace) -> int:
    """The command, with the arguments of `add_arguments`."""
    try:
        return _gate(args)
    except EmptyRunError as error:
        return complain(error, INVALID)
    except (RunFolderError, ValueError, OSError) as error:
        return complain(error)


def _gate(args: argparse.Namespace) -> int:
    folder = RunFolder.read(args.run_folder)
    slo = read_slo(args.slo) if args.slo else slo_of(folder)
    if slo is None:
        return complain(f"{folder.path} has no SLO of its own: --slo says which one to hold it to")
    load = load_of(folder.measured)
    judged = judge(folder, slo, load.wall_s)
    text = render(scenario_name(folder), judged, folder.faults)
    if args.junit:
        started_at = folder.environment.get("started_at")
        suite = junit.suite(
            scenario_name(folder), judged, load.wall_s, started_at, marks=folder.marks
        )
        args.junit.write_bytes(suite)
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")
    print(text, end="")
    return STATUS[judged.verdict]


def render(scenario: str, judged: Judgement, faults: Mapping[str, int]) -> str:
    """As Markdown: the verdict, what was done to the server meanwhile, the verdict's reasons and a
    table with a line for each clause."""
    lines = [
        [clause.text, clause.measured_text, f"{clause.n:,}", "met" if clause.met else "breach"]
        for clause in judged.clauses
    ]
    table = markdown(["clause", "measured", "n", "verdict"], lines)
    reasons = "\n".join(f"- {reason}" for reason in judged.reasons)
    disturbed = f"With {faults_text(faults)}." if faults else ""
    parts = [f"**{scenario}: {judged.verdict}**", disturbed, reasons, table]
    return "\n\n".join(part for part in parts if part) + "\n"
