"""Tokenfleet's mechanism: Ray Serve deployments, the switch, engine hosts, the wire.

`serve run serve_app:build spec=<spec>` starts a cluster; `serve_app:fleet` is the application of
the spec that TOKENFLEET_SPEC names, for `serve build`. Both are made on first use, so that the
light parts of this package (the demo model's path, the wire) do not pull in Ray and vLLM.
"""

from typing import Any

__all__ = ["build", "fleet"]


def __getattr__(name: str) -> Any:
    if name == "build":
        from serve_app.app import build

        return build
    if name == "fleet":
        from serve_app.app import app_from_environment

        return app_from_environment()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
