"""Which engines a model needs, before a weight is downloaded: memory, speed and number.

config.json ─ model_shape ─▶ ModelShape ─ memory ─▶ what fits on so many GPUs
                                        ─ speed  ─▶ what a step takes there
                                        ─ plan   ─▶ engines for the load

PlanError (ValueError)
├── ShapeError       the model's config.json cannot be planned with: which field, or which kind
└── InfeasibleError  no plan: which bound binds, and what would lift it
"""

from __future__ import annotations


class PlanError(ValueError):
    """See the package's docstring."""


class ShapeError(PlanError):
    """The message names the field of config.json, or the kind of model."""


class InfeasibleError(PlanError):
    """The message says what binds, and what would lift it."""
