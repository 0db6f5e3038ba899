"""Every kind of request whose answer must repeat exactly, long enough to be met in mid-stream.

The demo model may be of any quality here: what decides the length is `max_tokens` with
`ignore_eos`, or a grammar. Of both ways to resume, prefill and replay, there are several. Special
tokens are shown: one that is left out of the text makes no chunk, and the stream seems to stand.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

TOKENS = 500
STORY = "Once upon a time there was a small robot who lived by the sea. One day"
CHAT = [{"role": "user", "content": "Tell me a long story about a robot and the sea."}]
CITIES = {
    "type": "object",
    "properties": {
        "cities": {
            "type": "array",
            "items": {"enum": ["Paris", "Berlin", "Tokyo"]},
            "minItems": 100,
            "maxItems": 100,
        }
    },
    "required": ["cities"],
    "additionalProperties": False,
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in some cities.",
            "parameters": CITIES,
            "strict": True,  # else vLLM lets the arguments be any JSON
        },
    }
]


LONG = {
    "temperature": 0,
    "max_tokens": TOKENS,
    "ignore_eos": True,
    "skip_special_tokens": False,
}


@dataclass(frozen=True)
class Kind:
    """A request body without its `stream`; `flights` is how many engine requests it becomes."""

    name: str
    body: dict[str, Any]
    stream: bool = True
    flights: int = 1

    @property
    def is_chat(self) -> bool:
        return "messages" in self.body

    @property
    def path(self) -> str:
        return "/v1/chat/completions" if self.is_chat else "/v1/completions"

    @property
    def has_grammar(self) -> bool:
        """A grammar decides how long it gets, not `max_tokens`."""
        return not self.body["ignore_eos"] and "min_tokens" not in self.body

    def request(self, model: str) -> dict[str, Any]:
        """The JSON body to POST to `path`."""
        body = {"model": model, **self.body, "stream": self.stream, "return_token_ids": True}
        return {**body, "stream_options": {"include_usage": True}} if self.stream else body

    def of_length(self, tokens: int) -> "Kind":
        """The same with an answer of `tokens` tokens; unchanged where a grammar decides."""
        if self.has_grammar:
            return self
        lengths: dict[str, Any] = {
            key: tokens for key in ("max_tokens", "min_tokens") if key in self.body
        }
        return replace(self, body={**self.body, **lengths})


def chat(name: str, *, stream: bool = True, flights: int = 1, **more: Any) -> Kind:
    return Kind(name, {"messages": CHAT, **LONG, **more}, stream, flights)


def completion(name: str, *, stream: bool = True, **more: Any) -> Kind:
    return Kind(name, {"prompt": STORY, **LONG, **more}, stream)


PLAIN = completion("completion", repetition_penalty=10)
"""So large a penalty lets hardly any token come twice: the text has landmarks, trained or not."""

STOP_STRING = "stop string"
"""Made from an answer: see `stopping`."""

KINDS = (
    chat("chat"),
    PLAIN,
    completion("echo", echo=True, logprobs=1),
    completion("prompt logprobs", stream=False, prompt_logprobs=1),
    chat("seeded", temperature=1, seed=7),
    chat("several choices", temperature=1, seed=11, n=2, flights=2),
    chat("chat logprobs", logprobs=True, top_logprobs=2),
    completion("completion logprobs", logprobs=3),
    completion("penalties", presence_penalty=0.8, frequency_penalty=0.6),
    completion("logit bias", logit_bias={"300": 4, "301": -4}, bad_words=["the", "sea"]),
    completion("min_tokens", ignore_eos=False, min_tokens=TOKENS),
    chat("not streamed", stream=False, logprobs=True),
    completion("completion not streamed", stream=False, temperature=1, seed=3),
    chat(
        "JSON schema",
        ignore_eos=False,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "cities", "schema": CITIES},
        },
    ),
    completion("regex", ignore_eos=False, structured_outputs={"regex": "([a-z]{3,6} ){120}end"}),
    chat(
        "named tool",
        ignore_eos=False,
        tools=TOOLS,
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
    ),
    chat("required tool", ignore_eos=False, tools=TOOLS, tool_choice="required"),
)


def spread(kinds: Sequence[Kind], shortest: int, longest: int) -> list[Kind]:
    """The kinds with lengths from `shortest` to `longest` tokens, each as many times the one
    before: many short answers, few long ones."""
    free = [kind.name for kind in kinds if not kind.has_grammar]
    ratio = (longest / shortest) ** (1 / max(1, len(free) - 1))
    tokens = {name: round(shortest * ratio**place) for place, name in enumerate(free)}
    return [kind.of_length(tokens.get(kind.name, 0)) for kind in kinds]


def stopping(text: str, plain: Kind = PLAIN) -> Kind:
    """The plain completion, ended by a stop string that its undisturbed `text` meets late."""
    return Kind(STOP_STRING, {**plain.body, "stop": [landmark(text)]})


def landmark(text: str) -> str:
    """A piece of the text's last third that occurs nowhere before. Raises ValueError where there is
    none."""
    for length in range(6, 40):
        for start in range(len(text) * 2 // 3, len(text) - length):
            piece = text[start : start + length]
            if text.find(piece) == start and "\ufffd" not in piece:
                return piece
    raise ValueError(f"no unique piece in the last third of {text!r}")
