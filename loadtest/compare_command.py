"""`tokenfleet loadtest compare A B`: what changed from run A to run B, and whether it is noise.

Exit status: 0 compared, whatever came out; 3 wrong command line, no such run, or two runs of
different scenarios, which say nothing about each other.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest import comparison_text
from loadtest.comparison import Change, compare
from loadtest.exit_status import PASS, complain
from loadtest.judgement import slo_of, why_invalid
from loadtest.run_folder import RunFolder, RunFolderError
from loadtest.settings import differences
from loadtest.slo import Slo
from loadtest.summary import load_of, scenario_name
from loadtest.text_table import aligned, markdown


class UnlikeError(Exception):
    """The two runs are of different loads."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Two runs and what changed; `notes` say why one of them should not be trusted."""

    a: RunFolder
    b: RunFolder
    changes: list[Change]
    notes: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", type=Path, help="the folder of the run before")
    parser.add_argument("b", metavar="B", type=Path, help="the folder of the run after")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="the table as Markdown")
    form.add_argument("--json", action="store_true", help="every change, in s, shares and per s")


def run(args: argparse.Namespace) -> int:
    """The command, with the arguments of `add_arguments`."""
    try:
        found = compared(RunFolder.read(args.a), RunFolder.read(args.b))
    except (RunFolderError, UnlikeError, ValueError) as error:
        return complain(error)
    print(as_json(found) if args.json else as_text(found, in_markdown=args.markdown))
    return PASS


def compared(a: RunFolder, b: RunFolder) -> Compared:
    """Target and model may differ: they are what is compared.

    Raises UnlikeError for runs of different scenarios, RunFolderError for a wrong SLO and
    ValueError for a run that took no time.
    """
    scenarios = ({"scenario": folder.config.get("scenario")} for folder in (a, b))
    if unlike := differences(*scenarios):
        lines = "".join(f"\n  {line}" for line in unlike)
        raise UnlikeError(f"{a.path} and {b.path} are runs of different scenarios:{lines}")
    slo = slo_of(a)
    windows_s = load_of(a.measured).wall_s, load_of(b.measured).wall_s
    changes = compare(a.records, b.records, windows_s, slo)
    return Compared(a, b, changes, [*_notes("A", a, slo), *_notes("B", b, slo)])


def _notes(side: str, folder: RunFolder, slo: Slo | None) -> list[str]:
    reasons = why_invalid(folder, slo)
    return [f"{side} is invalid, {reason.kind}: {reason.text}" for reason in reasons]


def as_text(found: Compared, *, in_markdown: bool) -> str:
    lines = [comparison_text.line(change) for change in found.changes]
    table = (markdown if in_markdown else aligned)(comparison_text.HEADER, lines)
    about = [f"{side}: {_about(run)}" for side, run in (("A", found.a), ("B", found.b))]
    said: Sequence[str] = [f"scenario: {scenario_name(found.a)}", *about, *found.notes]
    if in_markdown:
        said = [f"- {line}" for line in said]
    return "\n".join([*said, "", table])


def _about(folder: RunFolder) -> str:
    """Which run it is: its folder, who was asked, and when."""
    known = [folder.path, folder.config.get("model"), folder.config.get("target")]
    known.append(folder.environment.get("started_at"))
    return ", ".join(str(value) for value in known if value)


def as_json(found: Compared) -> str:
    return json.dumps(
        {
            "scenario": scenario_name(found.a),
            "a": str(found.a.path),
            "b": str(found.b.path),
            "notes": found.notes,
            "changes": [comparison_text.as_json(change) for change in found.changes],
        },
        indent=2,
    )
