"""A tokenizer on disk."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from loadtest.token_counter import LocalTokenizer, TokenizerError
from tests.loadtest.demo_target import MODEL, token_ids

TEXTS = ["time", "a question about home\n\nand water", "你好", ""]


@pytest.mark.parametrize("path", [MODEL, MODEL / "tokenizer.json"])
def test_a_folder_or_a_file_is_named(path: Path) -> None:
    assert LocalTokenizer.load(path).counts(TEXTS) == [len(token_ids(text)) for text in TEXTS]


def test_a_files_own_cutting_and_filling_is_not_counted(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert LocalTokenizer.load(tmp_path).counts(["time " * 20]) == [len(token_ids("time " * 20))]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=rf"--tokenizer {tmp_path}: there is no .*\.json"):
        LocalTokenizer.load(tmp_path)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerError, match=f"--tokenizer {tmp_path}: "):
        LocalTokenizer.load(tmp_path)
