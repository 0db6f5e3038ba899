"""The stages of a closed loop as Locust's LoadTestShape."""

from collections.abc import Sequence
from typing import Any

from locust import LoadTestShape
from locust.env import Environment

from loadtest.runtime.load import Load, LoadError, Stage


class StagedShape(LoadTestShape):
    """Holds the last stage until the load ends by itself. `use_common_options` is off: Locust says
    that `-u` and `-r` have no meaning beside it."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.stages = tuple(stages)

    def tick(self) -> tuple[int, float]:
        """Users, and how many of them come or go a second."""
        at_s = self.get_run_time()
        now = [stage for stage in self.stages if stage.from_s <= at_s][-1]
        return now.users, now.spawn_rate_per_s


def hold(shape: Any, load: Load) -> None:
    """Has the shape hold the load's stages, or all the time its users: the web UI may have another
    scenario in each run. Raises LoadError where Locust began without a shape for them."""
    if isinstance(shape, StagedShape):
        shape.stages = load.stages or (Stage(users=load.users),)
    elif load.stages:
        raise LoadError(
            f"{load.name} has stages, and Locust began "
            + ("with a scenario without" if shape is None else "with a shape of its own")
        )


def install_shape(environment: Environment, load: Load) -> None:
    if load.stages and environment.shape_class is None:
        environment.shape_class = StagedShape(load.stages)
