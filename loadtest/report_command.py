"""`tokenfleet loadtest report RUN`: a run's summary and report, written (again) from its records.

Exit status: 0 done, 3 wrong command line, no such run or a wrong SLO.
"""

import argparse
from pathlib import Path

from loadtest import run_records, summary
from loadtest.exit_status import PASS, complain
from loadtest.number_text import faults
from loadtest.report.page import render
from loadtest.run_folder import RunFolder, RunFolderError
from loadtest.slo import Slo
from loadtest.slo_option import HELP, read_slo
from loadtest.summary_schema import Summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="the folder of a run")
    parser.add_argument("--slo", help=f"{HELP}; default: the scenario's own")


def run(args: argparse.Namespace) -> int:
    """The command, with the arguments of `add_arguments`."""
    try:
        found = write_results(args.run_folder, read_slo(args.slo) if args.slo else None)
    except (RunFolderError, ValueError, OSError) as error:
        return complain(error)
    print(said(args.run_folder, found))
    return PASS


def said(path: Path, found: Summary) -> str:
    """A run's verdict, its faults, why it is not a pass, and where its report is."""
    verdict = f"{found.scenario}: {found.verdict}"
    if found.faults:
        verdict += f"; {faults(found.faults)}"
    return "\n".join([verdict, *found.reasons, str(path / run_records.REPORT)])


def write_results(path: Path, slo: Slo | None = None) -> Summary:
    """Writes `summary.json` and `report.html` into the run's folder; `slo` stands for the
    scenario's own. Raises RunFolderError and OSError."""
    folder = RunFolder.read(path)
    found = summary.summary(folder, slo)
    summary.write(folder, found)
    (path / run_records.REPORT).write_text(render(folder, found), encoding="utf-8")
    return found
