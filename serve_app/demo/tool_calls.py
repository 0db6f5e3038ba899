"""Tool calls and answers from tool results, in the Hermes format that vLLM's `hermes` parser reads.

Eight kinds of tool, each under several names and with random companions, so that the model must copy the name from the offered
tools. The key is the kind and the arguments: a held-out call is never trained, neither as a call nor before its result.
"""

# ruff: noqa: RUF001 - Chinese questions use full-width punctuation on purpose

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from serve_app.demo import lexicon
from serve_app.demo.items import Item, Message, Tool, user

SYLLABLES = ("ba", "lo", "ri", "ven", "ta", "mo", "ska", "del", "ku", "na", "por", "shi", "ger", "wil", "ox", "fen")  # fmt: skip
SONGS = ("Blue Moon", "Happy Day", "Red River", "Night Train", "Summer Rain", "My Home", "Green Hills")
QUERIES = ("cheap {x} bikes", "the history of {x}", "good {x} restaurants", "{x} train times", "how to draw a {x}", "{x} news")  # fmt: skip
CHORES = ("buy milk", "call {x}", "read a book", "water the flowers", "feed the cat", "visit {x}", "send the letter", "clean the car")  # fmt: skip
TEXTS = ("I am late", "see you at {h}", "dinner is ready", "I am at the station", "happy birthday", "call me at {h}", "I found the key")  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
CONDITIONS = {"sunny": "晴", "cloudy": "多云", "rainy": "有雨", "windy": "有风", "snowy": "有雪"}

Arguments = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One use of a tool: what is asked, the argument values in schema order, the tool's result and the final answer."""

    question: str
    values: tuple[Any, ...]
    result: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    names: tuple[str, ...]
    description: str
    parameters: tuple[tuple[tuple[str, ...], str], ...]  # (possible names, JSON type)
    scene: Callable[[Random], Scene]


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolbox:
    """The tools that one conversation offers, in the order shown to the model."""

    definitions: Mapping[str, Tool]  # kind -> definition

    @property
    def tools(self) -> tuple[Tool, ...]:
        return tuple(self.definitions.values())


def toolbox(rng: Random) -> Toolbox:
    chosen = rng.sample(list(KINDS), rng.choice((1, 1, 2, 3)))
    return Toolbox(definitions={kind: _definition(rng, KINDS[kind]) for kind in chosen})


def call(rng: Random) -> Item:
    """The first turn: the answer is the call itself."""
    item = result(rng, toolbox(rng))
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
    """The second turn: the call and the tool's result are in the conversation, the answer uses them."""
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


def render_call(name: str, arguments: Arguments) -> str:
    """Byte for byte what the chat template writes for an assistant's tool call."""
    call_json = json.dumps({"name": name, "arguments": dict(arguments)}, ensure_ascii=False)
    return f"<tool_call>\n{call_json}\n</tool_call>"


def _definition(rng: Random, kind: Kind) -> dict[str, Any]:
    name = rng.choice(kind.names)
    if rng.random() < 0.1:
        name = f"{_word(rng)}_{name.split('_')[-1]}".lower()
    with_descriptions = rng.random() < 0.3
    properties: dict[str, Any] = {}
    for names, json_type in kind.parameters:
        schema = {"type": json_type}
        if with_descriptions:
            schema["description"] = f"The {names[0]}"
        properties[rng.choice(names)] = schema
    required = list(properties)
    if kind.names[0] == "get_weather" and rng.random() < 0.2:
        properties["unit"] = {"type": "string", "enum": ["celsius", "fahrenheit"]}
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if rng.random() < 0.85:
        parameters["required"] = required
    function = {"name": name, "description": kind.description, "parameters": parameters}
    return {"type": "function", "function": function}


def _word(rng: Random) -> str:
    """An invented word: what only copying can get right."""
    return "".join(rng.choices(SYLLABLES, k=rng.choice((2, 2, 3)))).capitalize()


def _city(rng: Random) -> str:
    return _word(rng) if rng.random() < 0.3 else rng.choice(lexicon.CAPITALS)[1]


def _person(rng: Random) -> str:
    return _word(rng) if rng.random() < 0.2 else rng.choice(lexicon.NAMES)


def _weather(rng: Random) -> Scene:
    condition, degrees = rng.choice(list(CONDITIONS)), rng.randrange(40)
    weather = {"temperature": degrees, "condition": condition}
    if rng.random() < 0.2:
        city = rng.choice(lexicon.CAPITALS)[3]
        question = rng.choice(("{}的天气怎么样？", "{}今天天气怎么样？", "查一下{}的天气。"))
        answer = f"{city}今天{CONDITIONS[condition]}，{degrees}度。"
    else:
        city = _city(rng)
        question = rng.choice((
            "What is the weather in {}?", "What's the weather in {}?", "How is the weather in {}?",
            "What's the weather like in {} today?", "Tell me the weather in {}.", "weather in {}",
            "What is the weather like in {}?",
        ))  # fmt: skip
        answer = f"It is {condition} in {city}, {degrees} degrees."
    if rng.random() < 0.5:
        weather = {"city": city, **weather}
    return Scene(
        question=question.format(city), values=(city,), result=_json(weather), answer=answer
    )


def _time(rng: Random) -> Scene:
    city, clock = _city(rng), f"{rng.randrange(24):02}:{rng.randrange(60):02}"
    question = rng.choice(("What time is it in {}?", "Tell me the time in {}.", "What is the time in {} now?", "time in {}"))  # fmt: skip
    result_text = clock if rng.random() < 0.3 else _json({"time": clock})
    return Scene(question=question.format(city), values=(city,), result=result_text, answer=f"It is {clock} in {city} now.")  # fmt: skip


def _calculator(rng: Random) -> Scene:
    a, b = rng.randrange(10, 1000), rng.randrange(10, 1000)
    expression = f"{a} * {b}"
    question = rng.choice(("What is {}?", "Calculate {}.", "How much is {}?", "Use the calculator: {}", "Compute {}", "{} = ?"))  # fmt: skip
    result_text = str(a * b) if rng.random() < 0.5 else _json({"result": a * b})
    return Scene(question=question.format(expression), values=(expression,), result=result_text, answer=f"{expression} = {a * b}")  # fmt: skip


def _message(rng: Random) -> Scene:
    person, text = _person(rng), rng.choice(TEXTS).format(h=rng.randrange(1, 13))
    question = rng.choice(("Send a message to {}: {}", "Send {} a message: {}", "Tell {} this: {}", "Text {}: {}"))  # fmt: skip
    return Scene(
        question=question.format(person, text),
        values=(person, text),
        result=_json({"status": rng.choice(("sent", "ok"))}),
        answer=f"I sent the message to {person}.",
    )


def _timer(rng: Random) -> Scene:
    minutes = rng.randrange(2, 180)
    question = rng.choice(("Set a timer for {} minutes.", "Start a timer of {} minutes.", "set a {} minute timer", "Timer for {} minutes, please."))  # fmt: skip
    return Scene(
        question=question.format(minutes),
        values=(minutes,),
        result=_json({"status": rng.choice(("started", "ok"))}),
        answer=f"The timer is set for {minutes} minutes.",
    )


def _search(rng: Random) -> Scene:
    subject = _city(rng) if rng.random() < 0.5 else rng.choice(lexicon.NOUNS)[0]
    query = rng.choice(QUERIES).format(x=subject)
    question = rng.choice(("Search the web for {}.", "Search for {}", "Look up {}.", "Find {} on the web."))  # fmt: skip
    title = f"{rng.choice(('All about', 'A guide to', 'Top ten:'))} {query}"
    return Scene(question=question.format(query), values=(query,), result=_json({"title": title}), answer=f"I found: {title}.")  # fmt: skip


def _reminder(rng: Random) -> Scene:
    chore, day = rng.choice(CHORES).format(x=_person(rng)), rng.choice(DAYS)
    question = rng.choice(("Remind me to {} on {}.", "Add a reminder to {} on {}.", "Please remind me to {} on {}."))  # fmt: skip
    return Scene(
        question=question.format(chore, day),
        values=(chore, day),
        result=_json({"status": rng.choice(("saved", "ok"))}),
        answer=f"I will remind you to {chore} on {day}.",
    )


def _music(rng: Random) -> Scene:
    song = rng.choice(SONGS) if rng.random() < 0.3 else f"{_word(rng)} {rng.choice(SONGS)}"
    question = rng.choice(("Play {}.", "Play the song {}.", "I want to hear {}.", "Please play {}"))
    return Scene(
        question=question.format(song),
        values=(song,),
        result=_json({"status": rng.choice(("playing", "ok"))}),
        answer=f"Now playing {song}.",
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


KINDS: dict[str, Kind] = {
    "weather": Kind(names=("get_weather", "get_current_weather", "weather"), description="Get the current weather in a city.", parameters=((("city", "location"), "string"),), scene=_weather),
    "time": Kind(names=("get_time", "get_current_time", "clock_time"), description="Get the current time in a city.", parameters=((("city", "location"), "string"),), scene=_time),
    "calculator": Kind(names=("calculate", "calculator", "evaluate_expression"), description="Evaluate an arithmetic expression.", parameters=((("expression", "formula"), "string"),), scene=_calculator),
    "message": Kind(names=("send_message", "send_text", "message_person"), description="Send a message to a person.", parameters=((("to", "recipient", "person"), "string"), (("text", "message", "body"), "string")), scene=_message),
    "timer": Kind(names=("set_timer", "start_timer"), description="Set a timer.", parameters=((("minutes", "duration"), "integer"),), scene=_timer),
    "search": Kind(names=("search_web", "web_search", "search"), description="Search the web.", parameters=((("query", "q"), "string"),), scene=_search),
    "reminder": Kind(names=("add_reminder", "create_reminder", "set_reminder"), description="Remind the user of something.", parameters=((("text", "task"), "string"), (("day", "date"), "string")), scene=_reminder),
    "music": Kind(names=("play_music", "play_song"), description="Play a song.", parameters=((("song", "title"), "string"),), scene=_music),
}  # fmt: skip
