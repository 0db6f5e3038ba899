"""The faults of a scenario: what is done to the server while it is loaded.

    faults: {kinds: [kill-host, pause-core], every_s: 15}
    faults: {}                                             # all that the fleet is large enough for

They are those of `tokenfleet chaos` that are done by signals to processes of this machine, with its
rules: another engine or gateway must be there to take over, and of those that may be done, one that
was done least is chosen. Without them: `--set faults=null`.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from loadtest.chaos.plan import BY_SIGNAL, Fault
from loadtest.scenario_parts import Part


def _by_signal(value: Any) -> Fault:
    if value not in BY_SIGNAL:
        raise ValueError(f"{value!r:.80} is not one of {', '.join(BY_SIGNAL)}")
    return Fault(value)


def _some(value: tuple[Fault, ...]) -> tuple[Fault, ...]:
    if not value:
        raise ValueError("names no fault; without faults: null for the whole part")
    return value


Kinds = Annotated[
    tuple[Annotated[Fault, BeforeValidator(_by_signal)], ...],
    Field(strict=False),  # YAML has lists
    AfterValidator(_some),
]


class Disturbance(Part):
    """Which faults, and how often."""

    kinds: Kinds | None = Field(
        default=None,
        description="Which. A fleet that is too small for one of them is refused. Default none "
        "named: all that it is large enough for.",
    )
    every_s: float = Field(
        default=10.0,
        gt=0,
        description="Seconds between two of them, at least: a fault waits until the fleet is whole "
        "enough. Default 10, the chaos command's.",
    )
