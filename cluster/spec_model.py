"""What all parts of the spec have in common."""

from pydantic import BaseModel, ConfigDict


class SpecModel(BaseModel):
    # strict: `replicas: "2"` and `replicas: true` are mistakes to report, not numbers to guess.
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, ser_json_inf_nan="constants"
    )
