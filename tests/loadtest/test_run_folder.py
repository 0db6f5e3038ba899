"""Reading a run's folder: what is there comes back, what is missing or broken is named."""

from pathlib import Path

import pytest

from loadtest import run_records
from loadtest.run_folder import EmptyRunError, Mark, RunFolder, RunFolderError
from tests.loadtest.made_up_run import WARM_UP_REQUESTS, made_up_records, made_up_run


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    folder = RunFolder.read(made_up_run(tmp_path, requests=20, kills_at_s=(1.5,)))
    assert folder.records == made_up_records(requests=20, kills_at_s=(1.5,))
    assert len(folder.measured) == 20
    assert len(folder.records) == 20 + WARM_UP_REQUESTS
    assert folder.config["scenario"]["name"] == "chat"
    assert folder.marks == [Mark(1.5, "kill-host", "host 7 of engine a")]
    assert folder.server[0].metrics['vllm:num_requests_running{engine="2",model_name="demo"}'] > 0


def test_a_server_without_metrics_that_nobody_disturbed(tmp_path: Path) -> None:
    folder = RunFolder.read(made_up_run(tmp_path, requests=20, engines=0))
    assert folder.server == folder.marks == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (run_records.CONFIG, None, "config.json is missing"),
        (run_records.CONFIG, "{", "config.json is not JSON"),
        (run_records.CONFIG, "[1]", r"config.json must hold an object, not \[1\]"),
        (run_records.ENVIRONMENT, None, "environment.json is missing"),
        (run_records.REQUESTS, None, "requests.jsonl is missing"),
        (run_records.REQUESTS, '{"session": 1', "requests.jsonl line 1 cannot be read: JSON"),
        (run_records.REQUESTS, "\n{}\n", "requests.jsonl line 2 cannot be read: KeyError"),
        (run_records.REQUESTS, "[]", "requests.jsonl line 1 cannot be read"),
        (run_records.SERVER, '{"at_s": 1}', "server.jsonl line 1 cannot be read: KeyError"),
        (run_records.MARKS, '{"at_s": "x", "what": "y"}', "marks.jsonl line 1 cannot be read"),
        (run_records.MARKS, "\udcff", "marks.jsonl cannot be read"),
    ],
)
def test_a_broken_file_is_named(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    made_up_run(tmp_path, requests=5)
    (tmp_path / name).unlink(missing_ok=True)
    if content is not None:
        (tmp_path / name).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(RunFolderError, match=message):
        RunFolder.read(tmp_path)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no such folder"):
        RunFolder.read(tmp_path / "runs")


def test_a_run_of_nothing_but_warm_up_measured_nothing(tmp_path: Path) -> None:
    made_up_run(tmp_path, requests=5)
    requests = tmp_path / run_records.REQUESTS
    lines = requests.read_text().splitlines()
    requests.write_text("\n".join(line for line in lines if '"warm_up":true' in line))
    with pytest.raises(EmptyRunError, match="no measured request"):
        RunFolder.read(tmp_path)
