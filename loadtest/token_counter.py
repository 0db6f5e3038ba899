"""How many tokens a text has, so that prompts are built to exact lengths before the start.

    LocalTokenizer   a `tokenizer.json` on this machine, thousands of prompts a second
    TokenizeRoute    the server's own `POST /tokenize`, which vLLM has, one call per text

Both count a text alone. What a request has around its texts (a chat template, a BOS token) is
asked of the server, see `loadtest/framing.py`.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from tokenizers import Tokenizer

from loadtest.json_server import JsonServer, ServerError

TOKENIZE = "/tokenize"
TOKENIZER_FILE = "tokenizer.json"
AT_ONCE = 16  # questions to the server


class TokenCounter(Protocol):
    """Counts tokens of texts."""

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text alone, in order: no BOS, no template."""


class TokenizerError(ValueError):
    """A tokenizer that was named cannot be used."""


class LocalTokenizer:
    """The tokenizer in a `tokenizer.json`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        # A file may say to cut or to fill up texts, as for training: then lengths would be wrong.
        tokenizer.no_truncation()
        tokenizer.no_padding()

    @classmethod
    def load(cls, path: str | Path) -> "LocalTokenizer":
        """From a file, or the folder of a model that has one. Raises TokenizerError."""
        file = Path(path).expanduser()
        if file.is_dir():
            file /= TOKENIZER_FILE
        if not file.is_file():
            raise TokenizerError(f"--tokenizer {path}: there is no {file}")
        try:
            return cls(Tokenizer.from_file(str(file)))
        except Exception as error:  # the library raises Exception itself
            raise TokenizerError(f"--tokenizer {path}: {error}") from None

    def counts(self, texts: Sequence[str]) -> list[int]:
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(each.ids) for each in encoded]


class TokenizeRoute:
    """vLLM's `/tokenize`. Raises ServerError where the server does not answer."""

    def __init__(self, server: JsonServer, model: str) -> None:
        self._server = server
        self._model = model

    def counts(self, texts: Sequence[str]) -> list[int]:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return list(threads.map(self._count, texts))

    def _count(self, text: str) -> int:
        body = {"model": self._model, "prompt": text, "add_special_tokens": False}
        return count_in(self._server, TOKENIZE, body, "count")


def count_in(server: JsonServer, path: str, body: Mapping[str, Any], key: str) -> int:
    """The number that an answer has under `key`, itself or in its `usage`. Raises ServerError."""
    answer = server.post(path, body)
    count = (answer.get("usage") or answer).get(key)
    if not isinstance(count, int):
        raise ServerError(server.base_url + path, 200, f"no {key} in {answer!r:.80}")
    return count
