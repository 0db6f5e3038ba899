"""The planned locustfile with a shape of its own: one user for a second, then three."""

from locust import LoadTestShape

from tests.loadtest.runtime.planned_locustfile import User

__all__ = ["OneThenThree", "User"]


class OneThenThree(LoadTestShape):
    def tick(self) -> tuple[int, float]:
        return (1, 10) if self.get_run_time() < 0.9 else (3, 10)
