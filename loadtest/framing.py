"""What a request has around its texts: the chat template's own tokens, or a completion's BOS.

Only the server knows its template, so the tokens of a few tiny requests are asked of it, and what
is theirs beyond their texts' is the framing. Two different texts must find the same: else lengths
cannot be added up, and prompts of exact length cannot be built.
"""

from collections.abc import Callable, Sequence
from functools import cached_property

from loadtest.json_server import JsonServer
from loadtest.token_counter import TOKENIZE, TokenCounter, count_in

Message = dict[str, str]
Prompt = str | Sequence[Message]
"""A completion's prompt, or a chat's messages."""

CountPrompt = Callable[[Prompt], int]
"""Prompt tokens of a whole request, as the server's `usage` would say."""

PROBES = ("time", "question about home")


class FramingError(ValueError):
    """A request's tokens are not the sum of its texts' and of something that stays the same."""


class Framing:
    """Tokens around texts, each measured when it is first asked for. All raise FramingError, and
    ServerError where the server refuses such a request."""

    def __init__(self, counter: TokenCounter, count_prompt: CountPrompt) -> None:
        self._counter = counter
        self._count_prompt = count_prompt

    @cached_property
    def completion_tokens(self) -> int:
        """Of a completion with one prompt."""
        return self._beyond_texts(lambda text: text, texts=1)

    @cached_property
    def chat_tokens(self) -> int:
        """Of a chat with one user message, the start of the answer included."""
        return self._beyond_texts(lambda text: [said("user", text)], texts=1)

    @cached_property
    def system_tokens(self) -> int:
        """What a system prompt adds to `chat_tokens`; below 0 where it replaces a default one."""
        both = self._beyond_texts(lambda text: [said("system", text), said("user", text)], texts=2)
        return both - self.chat_tokens

    @cached_property
    def exchange_tokens(self) -> int:
        """What an answer and the next user message add to a chat."""
        roles = ("user", "assistant", "user")
        three = self._beyond_texts(lambda text: [said(role, text) for role in roles], texts=3)
        return three - self.chat_tokens

    def _beyond_texts(self, prompt_of: Callable[[str], Prompt], texts: int) -> int:
        """Tokens of a prompt that holds a text `texts` times, less those of the texts."""
        counts = self._counter.counts(PROBES)
        found = {
            self._count_prompt(prompt_of(text)) - texts * count
            for text, count in zip(PROBES, counts, strict=True)
        }
        if len(found) > 1:
            raise FramingError(
                f"the tokens around a prompt's texts depend on the texts ({sorted(found)}): is the "
                "tokenizer the server's own?"
            )
        return found.pop()


def said(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def by_tokenize_route(server: JsonServer, model: str) -> CountPrompt:
    """Counts by the server's `/tokenize`, which renders a chat as a request would."""

    def count(prompt: Prompt) -> int:
        key = "prompt" if isinstance(prompt, str) else "messages"
        return count_in(server, TOKENIZE, {"model": model, key: prompt}, "count")

    return count


def by_request(server: JsonServer, model: str) -> CountPrompt:
    """Counts by the `usage` of a request for one token, where there is no `/tokenize`."""

    def count(prompt: Prompt) -> int:
        body = {"model": model, "max_tokens": 1}
        if isinstance(prompt, str):
            return count_in(server, "/v1/completions", body | {"prompt": prompt}, "prompt_tokens")
        path = "/v1/chat/completions"
        return count_in(server, path, body | {"messages": prompt}, "prompt_tokens")

    return count
