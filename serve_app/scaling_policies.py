"""What Serve's controller calls to size deployments: a class for engines, one for gateways.

Serve pickles this module's classes by value, so their methods reach the rest, and the state that
policies share, through imports of their own; the package must be importable where the controller
runs. Each deploy, and each new controller, makes new ones.
"""

from __future__ import annotations

from typing import Any


class EnginesPolicy:
    """For the engines of one model; arguments as in `autoscaling.engines`."""

    def __init__(self, **arguments: Any) -> None:
        from serve_app import autoscaling

        self._paced = autoscaling.engines(**arguments)

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        return self._paced.target(context), {}


class GatewaysPolicy:
    """For the gateways; arguments as in `autoscaling.gateways`."""

    def __init__(self, **arguments: Any) -> None:
        from serve_app import autoscaling

        self._paced = autoscaling.gateways(**arguments)

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        return self._paced.target(context), {}
