"""Where calibration texts come from."""

import json
from pathlib import Path

import pytest

from serve_app.compress import calibration
from serve_app.compress.calibration import CalibrationError
from serve_app.demo import corpus

CHAT = {"messages": [{"role": "user", "content": "Hello"}]}


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def test_texts_and_chats_are_read(tmp_path: Path):
    file = write(tmp_path / "c.jsonl", {"text": "Once", "source": "a book"}, CHAT)
    assert calibration.read(file, 10, seed=0) == [{"text": "Once"}, {**CHAT, "tools": []}]


def test_of_more_than_are_wanted_the_seed_decides(tmp_path: Path):
    file = write(tmp_path / "c.jsonl", *({"text": str(at)} for at in range(50)))
    one, same, other = (calibration.read(file, 5, seed) for seed in (1, 1, 2))
    assert one == same != other
    assert len({sample["text"] for sample in one}) == 5


@pytest.mark.parametrize(
    ("line", "said"), [('{"txt": "a"}', 'neither "text"'), ("Once upon", "no JSON")]
)
def test_a_line_that_is_no_sample_is_named(tmp_path: Path, line: str, said: str):
    file = tmp_path / "c.jsonl"
    file.write_text('{"text": "a"}\n\n' + line)
    with pytest.raises(CalibrationError, match=f"c.jsonl:3: {said}"):
        calibration.read(file, 10, seed=0)


def test_an_empty_file_is_refused(tmp_path: Path):
    (tmp_path / "c.jsonl").write_text("\n")
    with pytest.raises(CalibrationError, match="has no samples"):
        calibration.read(tmp_path / "c.jsonl", 10, seed=0)


def test_the_demo_s_own_are_of_all_its_tasks_and_none_of_them_is_held_out():
    samples = calibration.of_the_demo(110, seed=3)
    assert samples == calibration.of_the_demo(110, seed=3)
    prompts = {m["content"] for s in samples for m in s.get("messages", ()) if m["role"] == "user"}
    held_out = {
        message["content"]
        for task in ("arithmetic", "translation_en_zh", "translation_zh_en")
        for item in corpus.held_out_items(task, 200, seed=0)
        for message in item.messages
    }
    assert len(prompts) > 40
    assert not prompts & held_out
