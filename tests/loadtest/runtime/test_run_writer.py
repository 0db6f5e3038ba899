"""A run's folder, and what it says beside its requests."""

import json
from pathlib import Path

from loadtest.runtime.facts import shown
from loadtest.runtime.run_writer import RunWriter, new_folder


def test_no_run_is_written_over(tmp_path: Path) -> None:
    wanted = tmp_path / "run"
    assert new_folder(wanted) == wanted
    assert new_folder(wanted) == wanted, "it is empty"
    (wanted / "config.json").touch()
    second = new_folder(wanted)
    assert second.name == "run-2"
    (second / "config.json").touch()
    assert new_folder(wanted).name == "run-3"


def test_what_was_measured_is_there_before_the_end(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, {"scenario": "东"}, {"started_at": "now"})
    writer.requests(["{}", "{}"])
    assert (tmp_path / "requests.jsonl").read_text() == "{}\n{}\n"
    assert not (tmp_path / "server.jsonl").exists(), "the server has said nothing"
    writer.server(1.00049, {"a": 1.0})
    assert (tmp_path / "server.jsonl").read_text() == '{"at_s":1.0,"metrics":{"a":1.0}}\n'
    writer.mark({"at_s": 2.0, "kind": "kill-host", "what": "host 7"})
    (mark,) = (tmp_path / "marks.jsonl").read_text().splitlines()
    assert mark == '{"at_s":2.0,"kind":"kill-host","what":"host 7"}'
    writer.close({"problems": []})
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment == {"started_at": "now", "problems": []}
    assert json.loads((tmp_path / "config.json").read_text()) == {"scenario": "东"}


def test_a_key_is_not_shown() -> None:
    argv = ["--api-key", "secret", "--host", "h", "--api-key=secret", "--headless"]
    assert shown(argv) == ["--api-key", "***", "--host", "h", "--api-key=***", "--headless"]
