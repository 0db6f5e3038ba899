"""What the spec says of waiting and refusing."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.admission_spec import DEFAULT_MAX_WAIT_S
from cluster.spec import SpecError, parse


def spec_with(model: dict[str, Any], gateway: dict[str, Any]) -> Any:
    return parse({"models": [{"name": "m", "source": "org/m", **model}], "gateway": gateway})


def test_it_needs_no_word() -> None:
    spec = spec_with({}, {})
    assert spec.models[0].max_wait_s == DEFAULT_MAX_WAIT_S
    assert spec.gateway.admission.queue_at_gateway


@pytest.mark.parametrize(
    ("model", "admission", "path", "message"),
    [
        ({"max_wait_s": 0}, {}, "models[0].max_wait_s", "0 must be above 0"),
        ({}, {"max_queued_requests": 0}, "max_queued_requests", "0 is below the minimum 1"),
        ({}, {"refuse_margin_frac": 1}, "refuse_margin_frac", "1 must be below 1"),
        ({}, {"share_report_s": 0}, "share_report_s", "0 must be above 0"),
        ({}, {"queue": True}, "queue", "unknown key"),
    ],
)
def test_a_mistake_is_reported_at_its_key(
    model: dict[str, Any], admission: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        spec_with(model, {"admission": admission})
    ((found, said),) = caught.value.violations
    assert found == (path if model else f"gateway.admission.{path}")
    assert said.startswith(message)
