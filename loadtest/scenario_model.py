"""What a scenario holds; `loadtest/scenario.py` reads it from a file.

The descriptions of the fields give unit, default and reason. A workload that pydantic refuses hides
one thing: whether arrivals may be left out, as with a trace.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from loadtest.arrivals import Arrivals
from loadtest.scenario_faults import Disturbance
from loadtest.scenario_parts import Part
from loadtest.scenario_stages import StagePart, mistakes
from loadtest.slo import Slo
from loadtest.workloads.kinds import Workload

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"


class Tenant(Part):
    """One of those who share the server."""

    name: str = Field(pattern=NAME, description="What the report calls it. Required; unique.")
    share: float = Field(
        gt=0,
        description="Its part of the sessions, in proportion to the other tenants'. Required.",
    )
    workload: Workload | None = Field(
        default=None, description="What it asks. Default none: the scenario's workload."
    )
    api_key_env: str | None = Field(
        default=None,
        pattern=ENV_NAME,
        description="Environment variable that holds its API key, sent as a bearer token. Default "
        "none: the key of the whole load, if there is one.",
    )
    headers: dict[str, str] = Field(
        default={}, description="Further headers of its requests. Default none."
    )

    def request_headers(self, environ: Mapping[str, str]) -> dict[str, str]:
        """What its requests have over the load's own. Raises ValueError without its API key."""
        if self.api_key_env is None:
            return self.headers
        key = environ.get(self.api_key_env)
        if not key:
            raise ValueError(
                f"tenant {self.name}: the environment variable {self.api_key_env}, which should "
                "hold its API key, is not set"
            )
        return self.headers | {"Authorization": f"Bearer {key}"}


class Scenario(Part):
    """A load test's load, and its objective. Fields that others are held against come first."""

    name: str = Field(
        pattern=NAME, description="What reports call it. Default the file's name, less `.yaml`."
    )
    description: str = Field(min_length=1, description="One line for people. Required.")
    variant: Literal["cpu", "gpu"] = Field(
        description="Which of the file's variants this is; not written in the file."
    )
    mode: Literal["open", "closed"] = Field(
        description="open: sessions start at their instants, whatever the server does, as the "
        "world's users do. closed: so many users, each waiting for an answer before the next "
        "session; a slow server then gets less load. Required."
    )
    workload: Workload = Field(description="What is asked. Required.")
    tenants: tuple[Tenant, ...] = Field(
        default=(),
        strict=False,  # YAML has lists, the scenario holds a tuple
        description="Who asks. Default none: the report has no such groups.",
    )
    seed: int = Field(
        default=0,
        ge=0,
        description="Everything random is drawn from it. Default 0. The same seed asks the same "
        "prompts again: a server that is not restarted finds them in its prefix cache.",
    )
    duration_s: float = Field(
        gt=0,
        description="Seconds in which sessions start, warm-up included; those in flight at its end "
        "are let end. Required.",
    )
    warm_up_s: float = Field(
        default=0.0,
        ge=0,
        description="How many of these seconds, at the start, count for nothing; below duration_s. "
        "Default 0; a cold server or client doubles the first requests' TTFT.",
    )
    arrivals: Arrivals | None = Field(
        default=None,
        validate_default=True,
        description="When sessions start in an open loop, over the whole duration. Required there, "
        "but for a trace, which has instants of its own; none in a closed loop.",
    )
    stages: tuple[StagePart, ...] | None = Field(
        default=None,
        strict=False,
        description="How many ask at once in a closed loop, and for how long: see "
        "`loadtest/scenario_stages.py`. Default none: `users`, all the time.",
    )
    users: int | None = Field(
        default=None,
        ge=1,
        validate_default=True,
        description="How many ask at once in a closed loop. Required there, but with stages; none "
        "in an open loop.",
    )
    sessions: int | None = Field(
        default=None,
        ge=1,
        validate_default=True,
        description="Most sessions of a closed loop, which ends when they are used up or at "
        "duration_s. Required there, since all are built before the start; none in an open loop.",
    )
    timeout_s: float = Field(
        default=120.0,
        gt=0,
        description="Seconds after which a request is given up and counts as failed. Default 120: "
        "people have left by then.",
    )
    max_in_flight: int = Field(
        default=1024,
        ge=1,
        description="Requests in flight at most; one that is due beyond is not sent, and counts "
        "as missed. Default 1024: what a server this far behind gets no more goodput from, and a "
        "bound on the client's memory.",
    )
    faults: Disturbance | None = Field(
        default=None,
        description="What is done to the server meanwhile, with a mark in the report for each; the "
        "server must be a Tokenfleet on this machine. Default none.",
    )
    slo: Slo = Field(
        description="The objective that the report and the gate hold the run against: a mapping or "
        "text, see `loadtest/slo.py`. Required."
    )

    @property
    def measured_s(self) -> float:
        """Seconds of the load that count."""
        return self.duration_s - self.warm_up_s

    @field_validator("tenants")
    @classmethod
    def _tenants(cls, value: tuple[Tenant, ...], info: ValidationInfo) -> tuple[Tenant, ...]:
        names = [tenant.name for tenant in value]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"{twice!r} names two tenants")
        shared = [info.data["workload"]] if value and "workload" in info.data else []
        if any(w and w.kind == "trace" for w in [*shared, *(t.workload for t in value)]):
            raise ValueError("a trace cannot be split among tenants: its requests share prefixes")
        return value

    @field_validator("warm_up_s")
    @classmethod
    def _within_duration(cls, value: float, info: ValidationInfo) -> float:
        duration_s = info.data.get("duration_s")
        if duration_s is not None and value >= duration_s:
            raise ValueError(f"{value} must be below duration_s ({duration_s})")
        return value

    @field_validator("stages")
    @classmethod
    def _stages(
        cls, value: tuple[StagePart, ...] | None, info: ValidationInfo
    ) -> tuple[StagePart, ...] | None:
        if value is not None and info.data.get("mode") == "open":
            raise ValueError("has no meaning in mode open")
        if value is not None and (wrong := list(mistakes(value, info.data.get("duration_s")))):
            raise ValueError("; ".join(wrong))
        return value

    @field_validator("arrivals", "users", "sessions")
    @classmethod
    def _of_mode(cls, value: Any, info: ValidationInfo) -> Any:
        mode = info.data.get("mode")
        if mode is None:
            return value
        belongs = (mode == "open") == (info.field_name == "arrivals")
        if value is not None and not belongs:
            raise ValueError(f"has no meaning in mode {mode}")
        told = cls._told_elsewhere(info)
        if value is None and belongs and told is None:
            raise ValueError(f"required in mode {mode}, and not given")
        if value is not None and told == "stages":
            raise ValueError("is what the stages say; give one of the two")
        return value

    @classmethod
    def _told_elsewhere(cls, info: ValidationInfo) -> str | None:
        """The other field that says what this one would; None where there is none. What is wrong
        there, is reported there."""
        if info.field_name == "users":
            return "stages" if info.data.get("stages", ()) is not None else None
        workload = info.data.get("workload")
        is_open = info.field_name == "arrivals"
        return "workload" if is_open and (workload is None or workload.kind == "trace") else None
