"""A recipe's stages, with a worker that only writes what the real one would."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from serve_app.compress import job as subject
from serve_app.compress import manifest
from serve_app.compress.job import CompressError, Job
from serve_app.compress.manifest import Made

# Appends the stage to the folder's weights; ends with 1 where it is told to.
WORKER = """
import json, sys
from pathlib import Path
job = json.loads(Path(sys.argv[1]).read_text())
if Path(job["out"]).name == "stage-%s":
    sys.exit(1)
Path("../calls").open("a").write(Path(job["out"]).name + " ")
out = Path(job["out"])
out.mkdir()
before = (Path(job["source"]) / "model.safetensors").read_text()
(out / "model.safetensors").write_text(before[1:])
(out / "config.json").write_text(json.dumps({"modifiers": job["modifiers"]}))
print("progress")
print(json.dumps({"kept": ["lm_head"], "zero_frac": 0.5, "samples": job["samples"]}))
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "model.safetensors").write_text("weights")
    (folder / "config.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("template")
    return folder


@pytest.fixture
def fails_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def set_to(stage: int) -> None:
        worker = tmp_path / "worker.py"
        worker.write_text(WORKER % stage)
        monkeypatch.setattr(subject, "WORKER", worker)

    set_to(0)
    return set_to


def made(source: Path, recipe: str = "sparse50-int8") -> Made:
    return Made(
        recipe=recipe,
        seed=0,
        samples=1,
        max_seq_tokens=64,
        source_digest=manifest.digest(source),
        calibration_digest="c",
        compressor="1",
    )


def wanted(source: Path, recipe: str = "sparse50-int8") -> Job:
    return Job(
        source_name="here",
        source=source,
        out=source.parent / "out",
        made=made(source, recipe),
        samples=[{"text": "Once"}],
    )


def run(job: Job) -> manifest.Manifest:
    return subject.run(job, lambda: Path(sys.executable), lambda line: None)


def test_its_folder_has_all_of_the_model_and_says_how_it_was_made(source, fails_at):
    job = wanted(source)
    found = run(job)
    assert (job.out / "model.safetensors").read_text() == "ights"  # two stages
    assert (job.out / "chat_template.jinja").read_text() == "template"
    assert manifest.read(job.out) == found
    assert (found.bytes_before, found.bytes_after) == (7, 5)
    assert (found.zero_frac, found.kept, found.source) == (0.5, ("lm_head",), "here")
    assert not job.partial.exists()
    assert {path.name for path in job.out.iterdir()} == {
        *("model.safetensors", "config.json", "chat_template.jinja", manifest.FILE)
    }


def test_only_a_calibrated_stage_gets_samples(source, fails_at):
    job = wanted(source, "fp8")
    run(job)
    config = json.loads((job.out / "config.json").read_text())
    assert config["modifiers"][0][0] == "QuantizationModifier"


def test_what_was_done_is_not_done_again(source, fails_at):
    job = wanted(source)
    fails_at(2)
    with pytest.raises(CompressError, match=r"goes on from the stages in .*out\.partial"):
        run(job)
    assert not job.out.exists()
    fails_at(0)
    run(job)
    assert (source.parent / "calls").read_text().split() == ["stage-1", "stage-2"]
    assert (job.out / "model.safetensors").read_text() == "ights"


def test_another_job_s_stages_are_not_built_on(source, fails_at):
    fails_at(2)
    with pytest.raises(CompressError):
        run(wanted(source))
    fails_at(0)
    said: list[str] = []
    subject.run(wanted(source, "sparse50"), lambda: Path(sys.executable), said.append)
    assert any("it is removed" in line for line in said)


def test_a_second_time_it_is_there_and_nothing_runs(source, fails_at):
    first = run(wanted(source))
    fails_at(1)
    assert run(wanted(source)) == first


def test_what_is_there_and_something_else_is_left_alone(source, fails_at):
    run(wanted(source))
    with pytest.raises(CompressError, match="something else"):
        run(wanted(source, "int8"))
    assert (source.parent / "out" / "model.safetensors").read_text() == "ights"


def test_more_than_fits_in_memory_is_refused_before_any_work(source, fails_at, monkeypatch):
    monkeypatch.setattr(manifest, "weight_bytes", lambda folder: 2**50)
    with pytest.raises(CompressError, match=r"2621440.0 GiB of memory are needed"):
        run(wanted(source))
    assert not (source.parent / "out.partial").exists()


def test_without_weights_it_is_refused(source, fails_at):
    (source / "model.safetensors").unlink()
    with pytest.raises(CompressError, match=r"has no \*.safetensors"):
        run(replace(wanted(source), made=made(source)))


def test_a_digest_is_of_weights_shape_and_template(source):
    before = manifest.digest(source)
    (source / "README.md").write_text("words")
    assert manifest.digest(source) == before
    (source / "chat_template.jinja").write_text("another")
    assert manifest.digest(source) != before
