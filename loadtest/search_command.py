"""`tokenfleet loadtest search SCENARIO`: the highest open-loop rate at which the SLO is still met.

`loadtest/search.py` says which rate to try next; here each trial is run, into a folder of its own,
and read again. Every trial has its own seed: prompts that come again would find their KV blocks
cached. Exit status: 0 the server's limit was found, 1 no rate passed, 2 what was found is the
client's limit, which the server meets, or a trial is invalid in another way; 3 wrong command line,
scenario, SLO or server.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace

from loadtest.arrivals import scaled
from loadtest.exit_status import BREACH, INVALID, PASS, complain
from loadtest.judgement import why_invalid
from loadtest.number_text import NONE
from loadtest.run_folder import RunFolder, RunFolderError
from loadtest.runtime.launch import RunError, add_target_arguments, run_of, run_trial
from loadtest.runtime.run_writer import folder_of
from loadtest.scenario import Scenario, load_scenario
from loadtest.scenario_layers import settings
from loadtest.search import Found, SearchSettings, Trial, Tried, Try, next_step, trial_of
from loadtest.slo import Slo
from loadtest.slo_option import HELP, read_slo
from loadtest.text_table import aligned
from loadtest.validity import Kind, Reason

RESULT = "search.json"
CLIENT_LIMITED: Kind = "client-limited"


class InvalidTrialError(Exception):
    """A trial says nothing about the server."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    defaults = SearchSettings()
    add_target_arguments(parser)
    parser.add_argument("--slo", help=f"{HELP}; default: the scenario's own")
    parser.add_argument("--start", type=float, metavar="PER_S",
                        help="rate of the first trial; default: the scenario's")  # fmt: skip
    parser.add_argument("--target", type=float, default=defaults.target, metavar="FRAC",
                        help="of the requests must be good; default %(default)s")  # fmt: skip
    parser.add_argument("--precision", type=float, default=defaults.precision, metavar="FRAC",
                        help="of the rate that is found; default %(default)s")  # fmt: skip
    parser.add_argument("--max-trials", type=int, default=defaults.max_trials)


def run(args: argparse.Namespace) -> int:
    """The command, with the arguments of `add_arguments`."""
    try:
        scenario = load_scenario(args.scenario, args.variant, settings(args.set))
        search = Search(args, scenario, read_slo(args.slo) if args.slo else scenario.slo)
        found = search.found()
    except InvalidTrialError as error:
        return complain(error, INVALID)
    except (RunError, RunFolderError, ValueError, OSError) as error:
        return complain(error)
    print(f"\n{_table(found)}\n\n{_verdict(found)}\n{search.folder}")
    if found.limited_by == "client":
        return INVALID
    return PASS if found.best else BREACH


class Search:
    """Runs trials into numbered folders below `folder` until the limit is found."""

    def __init__(self, args: argparse.Namespace, scenario: Scenario, slo: Slo) -> None:
        if scenario.arrivals is None:
            raise ValueError(f"{scenario.name} has no arrivals: a search needs an open loop")
        self._args, self._scenario, self._slo = args, scenario, slo
        self._arrivals = scenario.arrivals
        start_per_s = args.start or scenario.arrivals.average_per_s()
        self._settings = SearchSettings(
            start_per_s=start_per_s,
            target=args.target,
            precision=args.precision,
            max_trials=args.max_trials,
        )
        self.folder = folder_of(args.out, f"search-{scenario.name}", time.time())

    def found(self) -> Found:
        """Raises InvalidTrialError, RunError and RunFolderError."""
        trials: list[Trial] = []
        while isinstance(step := next_step(self._settings, trials), Try):
            trials.append(self._trial(step.rate_per_s, len(trials) + 1))
        slo = self._slo.model_dump(mode="json")
        result = {"slo": slo, "limited_by": step.limited_by, "found": asdict(step)}
        (self.folder / RESULT).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        return step

    def _trial(self, rate_per_s: float, number: int) -> Trial:
        args, scenario = self._args, self._scenario
        arrivals = scaled(self._arrivals, rate_per_s).model_dump(mode="json")
        asked = run_of(args)
        own = f"arrivals={json.dumps(arrivals)}", f"seed={scenario.seed + number}"
        wanted = replace(asked, settings=(*asked.settings, *own))
        out = self.folder / f"trial-{number:02}"
        path = run_trial(wanted, out, log=self.folder / "locust.log")
        folder = RunFolder.read(path)
        reasons = _invalid(folder, self._slo)
        if other := [reason.text for reason in reasons if reason.kind != CLIENT_LIMITED]:
            raise InvalidTrialError(f"{path}, at {rate_per_s:g} requests/s: {'; '.join(other)}")
        trial = trial_of(
            *(folder.records, self._slo, rate_per_s, scenario.duration_s),
            client_limited=bool(reasons),
        )
        _say_trial(trial, reasons)
        return trial


def _invalid(folder: RunFolder, slo: Slo) -> list[Reason]:
    """Why a trial says nothing. How many samples a percentile needs is not among it: what counts
    here is how many requests were good, whose interval says how sure that is."""
    return [reason for reason in why_invalid(folder, slo) if reason.kind != "too few samples"]


def _say_trial(trial: Trial, reasons: Sequence[Reason]) -> None:
    missed = f", {trial.missed} missed" if trial.missed else ""
    said = [f"{reason.kind}: {reason.text}" for reason in reasons]
    said = said or [f"{trial.good} of {trial.offered} good{missed}"]
    print(f"{trial.rate_per_s:8.3g} requests/s: {'; '.join(said)}", flush=True)


def _table(found: Found) -> str:
    header = ["requests/s", "trials", "offered", "good", "95 % interval", "verdict"]
    return aligned(header, [_line(tried) for tried in found.tried])


def _line(tried: Tried) -> list[str]:
    rate, trials = f"{tried.rate_per_s:.3g}", str(tried.trials)
    if tried.trials == tried.client_limited_trials:
        return [rate, trials, NONE, NONE, NONE, CLIENT_LIMITED]
    interval = tried.interval
    verdict = "over-saturated" if tried.over_saturated else "passes" if tried.passes else "fails"
    return [
        rate,
        trials,
        f"{tried.offered:,}",
        f"{tried.good:,}",
        f"{interval.low:.3f} to {interval.high:.3f}",
        verdict if tried.certain else f"{verdict}, not for certain",
    ]


def _verdict(found: Found) -> str:
    beyond, best = found.beyond, found.best
    if beyond and found.limited_by == "client":
        late = f"the client could not offer {beyond.rate_per_s:.3g} requests/s"
        if best is None:
            return f"the server's limit is not known: {late} ({found.why})"
        return f"the SLO is met at {best.rate_per_s:.3g} requests/s at least: {late} ({found.why})"
    if best is None:
        return f"no rate passes ({found.why})"
    return f"highest rate that meets the SLO: {best.rate_per_s:.3g} requests/s ({found.why})"
