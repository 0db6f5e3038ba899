"""A scenario: one YAML file that says what a load test asks, when, and what it should find.

    description: people who chat
    mode: open
    workload: {kind: text, prompt_tokens: 200, output_tokens: 64}
    arrivals: {kind: poisson, rate_per_s: 4}
    duration_s: 60
    slo: {ttft_p99_ms: 500, tpot_p99_ms: 50}
    variants:
      cpu: {}                                  # the embedded demo model on two cores
      gpu: {arrivals: {rate_per_s: 40}}        # an 8B model on one H100

A variant's keys are laid over the file's, and those of the command line over both; a file without
variants is the same in each. Unknown keys are refused, and every violation is reported at once,
each under its key path. `loadtest/scenarios/` has the scenarios that come with this package: they
are called by name, all others by path. The fields are `loadtest/scenario_model.py`'s; faults that
are done to the server meanwhile, `loadtest/scenario_faults.py`'s.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from loadtest.scenario_errors import ScenarioError, Violation, violations_of
from loadtest.scenario_layers import SET, Layer, merged, written_at
from loadtest.scenario_model import Scenario, Tenant

__all__ = ["Scenario", "ScenarioError", "Tenant", "known_scenarios", "load_scenario"]

FOLDER = Path(__file__).parent / "scenarios"
VARIANTS = "variants"
VARIANT_NAMES = ("cpu", "gpu")


def known_scenarios() -> list[str]:
    """The names of the scenarios of this package, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_scenario(
    name_or_path: str, variant: str, overrides: Mapping[str, Any] | None = None
) -> Scenario:
    """A scenario of this package by name, or one in a file. `overrides` are laid over it:
    `scenario_layers.settings` makes them from a command line.

    Raises ScenarioError with every violation, also for a missing file or broken YAML.
    """
    path = _path(name_or_path)
    file = _read(path)
    layers = [Layer("", {key: file[key] for key in file if key != VARIANTS})]
    violations = _variant_violations(file, variant)
    if not violations and VARIANTS in file:
        layers.append(Layer(f"{VARIANTS}.{variant}.", file[VARIANTS][variant] or {}))
    layers.append(Layer(SET, overrides or {}))
    data = {"name": path.stem} | merged(layers) | {"variant": variant}
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        found = violations_of(error, Scenario, data)
        violations += [(written_at(layers, location), message) for location, message in found]
    if violations:
        raise ScenarioError(str(path), violations)
    return scenario


def _path(name_or_path: str) -> Path:
    """A path has a slash or an ending; all else is a name. Raises ScenarioError."""
    path = Path(name_or_path).expanduser()
    if path.suffix or len(path.parts) > 1:
        return path
    known = known_scenarios()
    if name_or_path not in known:
        near = get_close_matches(name_or_path, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
        raise ScenarioError(name_or_path, [("", f"no such scenario{hint}")])
    return FOLDER / f"{name_or_path}.yaml"


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScenarioError(str(path), [("", f"cannot read it: {error.strerror}")]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ScenarioError(str(path), [("", f"not valid YAML: {error}")]) from None
    if not isinstance(data, dict):
        raise ScenarioError(str(path), [("", f"{data!r:.80} is not a mapping of keys")])
    return data


def _variant_violations(file: Mapping[str, Any], variant: str) -> list[Violation]:
    """What is wrong with the file's variants, and with asking for this one."""
    variants = file.get(VARIANTS, {variant: {}})
    if not isinstance(variants, Mapping):
        return [(VARIANTS, f"{variants!r:.80} is not a mapping of {', '.join(VARIANT_NAMES)}")]
    found: list[Violation] = []
    if "variant" in file:
        found.append(("variant", "is chosen when a scenario is run, not written in its file"))
    unknown = [name for name in variants if name not in VARIANT_NAMES]
    found += [(f"{VARIANTS}.{name}", "no such variant; there are cpu, gpu") for name in unknown]
    if variant not in variants:
        found.append((VARIANTS, f"has no {variant}"))
    elif not isinstance(variants[variant] or {}, Mapping):
        found.append((f"{VARIANTS}.{variant}", f"{variants[variant]!r:.80} is not a mapping"))
    return found
