"""Scenarios through Locust: in its web UI, headless, over several processes or machines.

    locust -f loadtest/locustfile.py --host http://127.0.0.1:8000 --scenario chat

Everything else is in `loadtest/runtime`; here are only the options, and what a scenario is to it.
"""

import os
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

from locust import events

from loadtest.chaos.order import Order
from loadtest.json_server import ServerError
from loadtest.runtime.installed import LoadUser, install
from loadtest.runtime.load import Load, LoadError, Stage
from loadtest.runtime.options import (
    ADMIN_KEY_VARIABLE,
    KEY_VARIABLE,
    add_key_option,
    add_load_options,
    bearer,
)
from loadtest.scenario import Scenario, load_scenario
from loadtest.scenario_faults import Disturbance
from loadtest.scenario_layers import settings
from loadtest.scenario_stages import FASTEST_SPAWN_PER_S, StagePart, starts_s
from loadtest.sessions import Session
from loadtest.slo import good_under
from loadtest.target import Target, find_target
from loadtest.workloads import build_sessions

REFUSALS = (ValueError, ServerError, OSError)
"""What a wrong scenario, model, tokenizer or server raises."""


def load_of(options: Namespace) -> Load:
    """Raises LoadError."""
    if not options.scenario:
        raise LoadError("--scenario says what to send: the name of a scenario, or a YAML file")
    given = [
        setting for setting in options.set if setting
    ]  # a field left empty in the web UI is ""
    try:
        scenario = load_scenario(options.scenario, options.variant, settings(given))
        headers = {t.name: t.request_headers(os.environ) for t in scenario.tenants}
    except REFUSALS as error:
        raise LoadError(str(error)) from error
    stages = _stages(scenario.stages or ())
    return Load(
        name=f"{scenario.name}-{scenario.variant}",
        mode=scenario.mode,
        duration_s=scenario.duration_s,
        warm_up_s=scenario.warm_up_s,
        timeout_s=scenario.timeout_s,
        users=max((stage.users for stage in stages), default=scenario.users or 1),
        stages=stages,
        max_in_flight=scenario.max_in_flight,
        tenant_headers=headers,
        config={"scenario": scenario.model_dump(mode="json")},
        find=lambda host: _target(host, options),
        build=lambda target: _sessions(scenario, target),
        is_good=good_under(scenario.slo),
        faults=_faults(scenario, scenario.faults, options.api_key or None),
    )


def _target(host: str, options: Namespace) -> Target:
    headers = bearer(options.api_key)
    model, tokenizer = options.model or None, options.tokenizer or None
    try:
        return find_target(host, model=model, headers=headers, tokenizer=tokenizer)
    except REFUSALS as error:
        raise LoadError(str(error)) from error


def _sessions(scenario: Scenario, target: Target) -> Sequence[Session]:
    try:
        return build_sessions(scenario, target)
    except REFUSALS as error:
        raise LoadError(str(error)) from error


def _stages(asked: Sequence[StagePart]) -> tuple[Stage, ...]:
    return tuple(
        Stage(
            users=stage.users,
            from_s=from_s,
            spawn_rate_per_s=stage.spawn_rate_per_s or FASTEST_SPAWN_PER_S,
        )
        for stage, from_s in zip(asked, starts_s(asked), strict=True)
    )


def _faults(
    scenario: Scenario, asked: Disturbance | None, api_key: str | None
) -> Callable[[Target], Order] | None:
    if asked is None:
        return None
    admin_key = os.environ.get(ADMIN_KEY_VARIABLE) or api_key
    return lambda target: Order(
        url=target.base_url,
        model=target.model,
        faults=asked.kinds,
        every_s=asked.every_s,
        duration_s=scenario.duration_s,
        seed=scenario.seed,
        api_key=admin_key,
    )


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    add_load_options(parser, "--scenario")
    add_key_option(parser, env_var=KEY_VARIABLE, is_secret=True)


install(load_of)


class User(LoadUser):
    """Plays the scenario's sessions."""
