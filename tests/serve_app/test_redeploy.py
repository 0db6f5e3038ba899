"""Deploying one spec after the other."""

from pathlib import Path

from serve_app import redeploy


def test_a_wrong_spec_is_answered_and_not_deployed(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("models: []")
    assert redeploy._answer(path).startswith("refused: models: at least one model is needed")
