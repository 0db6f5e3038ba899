"""The stages of a closed loop as Locust's LoadTestShape."""

from collections.abc import Sequence
from typing import Any

from locust import LoadTestShape
from locust.env import Environment

from loadtest.runtime.load import Load, LoadError, Stage


class StagedShape(LoadTestShape):
    """Holds the first stage until the load begins, which may take longer than that stage, and the
    last until it ends by itself. `use_common_options` is off: Locust says that `-u` and `-r` have
    no meaning beside it."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.stages = tuple(stages)
        self.begun = False

    def tick(self) -> tuple[int, float]:
        """Users, and how many of them come or go a second."""
        at_s = self.get_run_time() if self.begun else 0.0
        now = [stage for stage in self.stages if stage.from_s <= at_s][-1]
        return now.users, now.spawn_rate_per_s


def hold(shape: Any, load: Load) -> None:
    """Has the shape hold the load's stages, or all the time its users: the web UI may have another
    scenario in each run. Raises LoadError where Locust began without a shape for them."""
    if isinstance(shape, StagedShape):
        shape.stages = load.stages or (Stage(users=load.users),)
        shape.begun = False
    elif load.stages:
        raise LoadError(
            f"{load.name} has stages, and Locust began "
            + ("with a scenario without" if shape is None else "with a shape of its own")
        )


def begin(shape: Any) -> None:
    """The load begins, and with it a shape's time."""
    if shape is not None:
        shape.reset_time()
    if isinstance(shape, StagedShape):
        shape.begun = True


def install_shape(environment: Environment, load: Load) -> None:
    if load.stages and environment.shape_class is None:
        environment.shape_class = StagedShape(load.stages)
