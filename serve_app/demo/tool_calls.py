"""Tool calls and answers from tool results, in the Hermes format that vLLM's `hermes` parser
reads.

The key of an item is the kind of tool and the argument values: a held-out call is never trained,
neither as a call nor before its result.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from serve_app.demo import lexicon
from serve_app.demo.items import Item, Message, Tool, user
from serve_app.demo.tool_scenes import KINDS, Kind

ODD_WORDS = tuple(noun for noun, *_ in lexicon.NOUNS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolbox:
    """The tools that one conversation offers, in the order shown to the model."""

    definitions: Mapping[str, Tool]  # kind -> definition

    @property
    def tools(self) -> tuple[Tool, ...]:
        return tuple(self.definitions.values())


def toolbox(rng: Random, odd_frac: float = 0.0) -> Toolbox:
    """One to three tools; of a share of them, names of the tool and its parameters say nothing.

    Odd names are for training only. Without them a model guesses one of a kind's usual names
    rather than read what is offered: 27 % of the calls were right at 800 steps.
    """
    chosen = rng.sample(list(KINDS), rng.choice((1, 1, 2, 3)))
    return Toolbox(definitions={kind: _definition(rng, KINDS[kind], odd_frac) for kind in chosen})


def call(rng: Random) -> Item:
    """The first turn: the answer is the call itself."""
    item = result(rng)
    question, asked, _ = item.messages
    function = asked["tool_calls"][0]["function"]
    return Item(
        task="tool_calls",
        key=item.key,
        messages=(question,),
        tools=item.tools,
        answer=render_call(function["name"], function["arguments"]),
    )


def result(rng: Random, box: Toolbox | None = None) -> Item:
    """The second turn: the conversation holds the call and its result, and the answer uses it."""
    box = box or toolbox(rng)
    kind = rng.choice(list(box.definitions))
    scene = KINDS[kind].scene(rng)
    function = box.definitions[kind]["function"]
    parameters = list(function["parameters"]["properties"])
    call_made = {
        "name": function["name"],
        "arguments": dict(zip(parameters, scene.values, strict=False)),
    }
    messages: tuple[Message, ...] = (
        user(scene.question),
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"type": "function", "function": call_made}],
        },
        {"role": "tool", "content": scene.result},
    )
    return Item(
        task="tool_results",
        key=f"tools|{kind}|{scene.values!r}",
        messages=messages,
        tools=box.tools,
        answer=scene.answer,
    )


def render_call(name: str, arguments: Mapping[str, Any]) -> str:
    """Byte for byte what the chat template writes for an assistant's tool call."""
    call_json = json.dumps({"name": name, "arguments": dict(arguments)}, ensure_ascii=False)
    return f"<tool_call>\n{call_json}\n</tool_call>"


def _definition(rng: Random, kind: Kind, odd_frac: float) -> dict[str, Any]:
    """The kind's tool as an OpenAI function, spelled in one of the ways that users do."""
    name, odd = rng.choice(kind.names), rng.random() < odd_frac
    words = rng.sample(ODD_WORDS, 1 + len(kind.parameters))
    if odd:
        name = f"{words[0]}_{name.split('_')[-1]}"
    with_descriptions = rng.random() < 0.3
    properties: dict[str, Any] = {}
    for word, (names, json_type) in zip(words[1:], kind.parameters, strict=True):
        schema = {"type": json_type}
        if with_descriptions:
            schema["description"] = f"The {names[0]}"
        properties[word if odd else rng.choice(names)] = schema
    required = list(properties)
    if kind is KINDS["weather"] and rng.random() < 0.2:
        properties["unit"] = {"type": "string", "enum": ["celsius", "fahrenheit"]}
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if rng.random() < 0.85:
        parameters["required"] = required
    function = {"name": name, "description": kind.description, "parameters": parameters}
    return {"type": "function", "function": function}
