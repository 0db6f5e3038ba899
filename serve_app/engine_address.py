"""Where an engine is found; light, for Ray Serve's controller and drivers import it too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """Where an engine host listens, and the public key (z85) that proves it is that host."""

    endpoint: str
    public_key: str
