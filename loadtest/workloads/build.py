"""A scenario's sessions, all of them, before the start.

Arrivals, the choice of tenants and each tenant's prompts have random sequences of their own, all
from the scenario's seed. So another rate asks the same questions in the same order, only at other
times, and a tenant more leaves the others' prompts as they were.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from loadtest.arrivals import instants_s
from loadtest.scenario_errors import ScenarioError
from loadtest.sessions import Session
from loadtest.target import Target
from loadtest.workloads.kit import Kit, UnfitError, generator
from loadtest.workloads.trace import Trace

if TYPE_CHECKING:  # a scenario has workloads: at run time it imports this package
    from loadtest.scenario import Scenario


def build_sessions(scenario: "Scenario", target: Target) -> list[Session]:
    """Every session of the load, in the order in which they start; of a closed loop, in which users
    take them.

    Raises ScenarioError for a workload that does not fit the target and for a load without any,
    TargetError where prompts need a tokenizer and there is none, ServerError where the server does
    not answer what it is asked about tokens, and FramingError or ExactTextError where a tokenizer
    defies exact lengths.
    """
    kit = Kit(target)
    instants = _instants_s(scenario)
    if not instants:
        nothing = f"no session starts within the {scenario.duration_s:g} s of the load"
        raise ScenarioError(scenario.name, [("arrivals", nothing)])
    if not scenario.tenants:
        sessions = _asked(scenario, None, len(instants), kit)
        return [replace(next(sessions), at_s=at_s) for at_s in instants]
    places = range(len(scenario.tenants))
    shares = [tenant.share for tenant in scenario.tenants]
    owners = generator((scenario.seed,), "tenants").choices(places, shares, k=len(instants))
    queues = [_asked(scenario, place, owners.count(place), kit) for place in places]
    return [
        replace(next(queues[owner]), index=index, at_s=at_s)
        for index, (owner, at_s) in enumerate(zip(owners, instants, strict=True))
    ]


def _instants_s(scenario: "Scenario") -> list[float] | list[None]:
    """One per session; None where a free user takes it."""
    if scenario.mode == "closed":
        return [None] * (scenario.sessions or 0)
    if scenario.arrivals is not None:
        return instants_s(scenario.arrivals, scenario.duration_s, scenario.seed)
    if not isinstance(scenario.workload, Trace):
        raise ValueError(
            "an open loop without arrivals has a trace: the scenario was not validated"
        )
    try:
        return scenario.workload.instants_s(scenario.duration_s, (scenario.seed,))
    except UnfitError as error:
        raise _at(scenario, "workload", error) from None


def _asked(scenario: "Scenario", place: int | None, count: int, kit: Kit) -> Iterator[Session]:
    """The sessions of the tenant at `place`, or of a scenario without tenants."""
    tenant = None if place is None else scenario.tenants[place]
    if tenant is None or tenant.workload is None:
        key, workload = "workload", scenario.workload
    else:
        key, workload = f"tenants[{place}].workload", tenant.workload
    name = tenant.name if tenant else None
    try:
        sessions = workload.sessions(count, (scenario.seed, name), kit)
    except UnfitError as error:
        raise _at(scenario, key, error) from None
    return (replace(session, tenant=name) for session in sessions)


def _at(scenario: "Scenario", key: str, error: UnfitError) -> ScenarioError:
    return ScenarioError(scenario.name, [(f"{key}.{error.key}", error.message)])
