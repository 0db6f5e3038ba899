"""Tasks with a right answer: the files of the package against the demo model's own corpus."""

import json
from pathlib import Path

import pytest

from loadtest.exact_text import Seed
from loadtest.target import Target
from loadtest.workloads.kit import Kit, UnfitError
from loadtest.workloads.tasks import FOLDER, TaskItem, Tasks, load_items
from serve_app.demo import corpus
from tests.loadtest.demo_target import MODEL, demo_target, token_ids

ITEMS = {
    "translate": {"translation_en_zh": 150, "translation_zh_en": 150},
    "qa": {"arithmetic": 120, "passages": 120, "capitals": 100},
}
ITEMS_SEED = 4
SEED: Seed = (0, None)
KIT = Kit(Target(base_url="http://x", model="m"))


def lines_of(file: str) -> str:
    """What a file of the package has to say; writing it there makes it anew."""
    lines = [
        {"task": task, "prompt": item.messages[0]["content"], "expected": item.answer}
        for task, count in ITEMS[file].items()
        for item in corpus.held_out_items(task, count, ITEMS_SEED)
    ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


@pytest.mark.parametrize("file", ITEMS)
def test_the_files_are_held_out_items_of_the_corpus(file: str) -> None:
    assert (FOLDER / f"{file}.jsonl").read_text(encoding="utf-8") == lines_of(file)


@pytest.mark.parametrize("file", ITEMS)
def test_the_model_was_measured_on_these_tasks(file: str) -> None:
    measured = json.loads((MODEL / "evaluation.json").read_text())["held_out"]
    tasks = {item.task for item in load_items(file)}
    assert tasks == ITEMS[file].keys()
    assert all(measured[task]["exact_match"] >= 0.95 for task in tasks)


@pytest.mark.parametrize("file", ITEMS)
def test_right_answers_fit_and_have_no_white_space_around(file: str) -> None:
    for item in load_items(file):
        assert item.expected == item.expected.strip()
        assert len(token_ids(item.expected)) < Tasks(file=file).max_tokens / 2


def test_sessions_ask_the_items_and_know_the_answers() -> None:
    sessions = Tasks(file="qa").sessions(340, SEED, Kit(demo_target()))
    asked = {(s.kind, s.turns[0].user, s.turns[0].expected) for s in sessions}
    assert asked == {(i.task, i.prompt, i.expected) for i in load_items("qa")}
    assert all(session.extra == {"temperature": 0} for session in sessions)
    assert all(len(session.turns) == 1 and session.chat for session in sessions)


def test_every_item_comes_once_a_round() -> None:
    sessions = Tasks(file="translate").sessions(700, SEED, KIT)
    prompts = [session.turns[0].user for session in sessions]
    assert len(set(prompts[:300])) == len(set(prompts[300:600])) == 300
    assert prompts[:300] != prompts[300:600]


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"task": "t", "prompt": "1 + 1?", "expected": "2"}\n\n')
    assert load_items(str(path)) == [TaskItem(task="t", prompt="1 + 1?", expected="2")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no items"),
        ('{"task": "t", "prompt": "p"}\n', r"mine\.jsonl:1: expected: Field required"),
        ("\n{", r"mine\.jsonl:2: .*Invalid JSON"),
        (None, "cannot read .*No such file"),
    ],
)
def test_a_file_that_has_no_items_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "mine.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UnfitError, match=message) as caught:
        load_items(str(path))
    assert caught.value.key == "file"
