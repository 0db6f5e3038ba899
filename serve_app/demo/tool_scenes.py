"""The tools the demo model knows: eight kinds, and the scenes (question, arguments, result,
answer) they are used in.

Each kind goes under several names and its parameters too, and a share of the cities and
people are invented words, so that reading the offered tools and copying from the question are the
only ways to be right.
"""

# ruff: noqa: RUF001 - Chinese questions use full-width punctuation on purpose

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from serve_app.demo import lexicon

CONDITIONS = {"sunny": "晴", "cloudy": "多云", "rainy": "有雨", "windy": "有风", "snowy": "有雪"}
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
SYLLABLES = (
    "ba", "lo", "ri", "ven", "ta", "mo", "ska", "del", "ku", "na", "por", "shi", "ger", "wil",
    "ox", "fen",
)  # fmt: skip
SONG_MOODS = (
    "Blue", "Red", "Green", "Happy", "Night", "Summer", "Silver", "Golden", "Lonely", "Morning",
)  # fmt: skip
SONG_THINGS = ("Moon", "Day", "River", "Train", "Rain", "Home", "Hills", "Sky", "Road", "Heart")
QUERIES = (
    "cheap {x} bikes", "the history of {x}", "good {x} restaurants", "{x} train times",
    "how to draw a {x}", "{x} news",
)  # fmt: skip
CHORES = (
    "buy milk", "call {x}", "read a book", "water the flowers", "feed the cat", "visit {x}",
    "send the letter", "clean the car",
)  # fmt: skip
TEXTS = (
    "I am late", "see you at {h}", "dinner is ready", "I am at the station", "happy birthday",
    "call me at {h}", "I found the key",
)  # fmt: skip

WEATHER_ASKS = (
    "What is the weather in {}?", "What's the weather in {}?", "How is the weather in {}?",
    "What's the weather like in {} today?", "Tell me the weather in {}.", "weather in {}",
    "What is the weather like in {}?",
)  # fmt: skip
ZH_WEATHER_ASKS = ("{}的天气怎么样？", "{}今天天气怎么样？", "查一下{}的天气。")
TIME_ASKS = (
    "What time is it in {}?", "Tell me the time in {}.", "What is the time in {} now?",
    "time in {}",
)  # fmt: skip
CALCULATOR_ASKS = (
    "What is {}?", "Calculate {}.", "How much is {}?", "Use the calculator: {}", "Compute {}",
    "{} = ?",
)  # fmt: skip
MESSAGE_ASKS = (
    "Send a message to {}: {}", "Send {} a message: {}", "Tell {} this: {}", "Text {}: {}",
)  # fmt: skip
TIMER_ASKS = (
    "Set a timer for {} minutes.", "Start a timer of {} minutes.", "set a {} minute timer",
    "Timer for {} minutes, please.",
)  # fmt: skip
SEARCH_ASKS = ("Search the web for {}.", "Search for {}", "Look up {}.", "Find {} on the web.")
REMINDER_ASKS = (
    "Remind me to {} on {}.", "Add a reminder to {} on {}.", "Please remind me to {} on {}.",
)  # fmt: skip
MUSIC_ASKS = ("Play {}.", "Play the song {}.", "I want to hear {}.", "Please play {}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One use of a tool: the argument values stand in the order of the kind's parameters."""

    question: str
    values: tuple[Any, ...]
    result: str
    answer: str


@dataclass(frozen=True, slots=True)
class Kind:
    scene: Callable[[Random], Scene]
    description: str
    names: tuple[str, ...]
    parameters: tuple[tuple[tuple[str, ...], str], ...]  # (possible names, JSON type)


def invented_word(rng: Random) -> str:
    return "".join(rng.choices(SYLLABLES, k=rng.choice((2, 2, 3)))).capitalize()


def _city(rng: Random) -> str:
    return invented_word(rng) if rng.random() < 0.3 else rng.choice(lexicon.CAPITALS)[1]


def _person(rng: Random) -> str:
    return invented_word(rng) if rng.random() < 0.2 else rng.choice(lexicon.NAMES)


def _scene(
    asks: tuple[str, ...], rng: Random, values: tuple[Any, ...], *, result: Any, answer: str
) -> Scene:
    """The question holds the values; a result that is not text yet becomes JSON."""
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    question = rng.choice(asks).format(*values)
    return Scene(question=question, values=values, result=text, answer=answer)


def _done(rng: Random, word: str) -> dict[str, str]:
    return {"status": rng.choice((word, "ok"))}


def _weather(rng: Random) -> Scene:
    asks: tuple[str, ...]
    condition, degrees = rng.choice(list(CONDITIONS)), rng.randrange(40)
    if rng.random() < 0.2:
        city, asks = rng.choice(lexicon.CAPITALS)[3], ZH_WEATHER_ASKS
        answer = f"{city}今天{CONDITIONS[condition]}，{degrees}度。"
    else:
        city, asks = _city(rng), WEATHER_ASKS
        answer = f"It is {condition} in {city}, {degrees} degrees."
    result: dict[str, Any] = {"city": city} if rng.random() < 0.5 else {}
    result |= {"temperature": degrees, "condition": condition}
    return _scene(asks, rng, (city,), result=result, answer=answer)


def _time(rng: Random) -> Scene:
    city, clock = _city(rng), f"{rng.randrange(24):02}:{rng.randrange(60):02}"
    result = clock if rng.random() < 0.3 else {"time": clock}
    return _scene(TIME_ASKS, rng, (city,), result=result, answer=f"It is {clock} in {city} now.")


def _calculator(rng: Random) -> Scene:
    a, b = rng.randrange(10, 1000), rng.randrange(10, 1000)
    expression = f"{a} * {b}"
    result = str(a * b) if rng.random() < 0.5 else {"result": a * b}
    answer = f"{expression} = {a * b}"
    return _scene(CALCULATOR_ASKS, rng, (expression,), result=result, answer=answer)


def _message(rng: Random) -> Scene:
    person, text = _person(rng), rng.choice(TEXTS).format(h=rng.randrange(1, 13))
    answer = f"I sent the message to {person}."
    return _scene(MESSAGE_ASKS, rng, (person, text), result=_done(rng, "sent"), answer=answer)


def _timer(rng: Random) -> Scene:
    minutes = rng.randrange(2, 180)
    answer = f"The timer is set for {minutes} minutes."
    return _scene(TIMER_ASKS, rng, (minutes,), result=_done(rng, "started"), answer=answer)


def _search(rng: Random) -> Scene:
    subject = _city(rng) if rng.random() < 0.5 else rng.choice(lexicon.NOUNS)[0]
    query = rng.choice(QUERIES).format(x=subject)
    title = f"{rng.choice(('All about', 'A guide to', 'Top ten:'))} {query}"
    answer = f"I found: {title}."
    return _scene(SEARCH_ASKS, rng, (query,), result={"title": title}, answer=answer)


def _reminder(rng: Random) -> Scene:
    chore, day = rng.choice(CHORES).format(x=_person(rng)), rng.choice(DAYS)
    answer = f"I will remind you to {chore} on {day}."
    return _scene(REMINDER_ASKS, rng, (chore, day), result=_done(rng, "saved"), answer=answer)


def _music(rng: Random) -> Scene:
    song = f"{rng.choice(SONG_MOODS)} {rng.choice(SONG_THINGS)}"
    answer = f"Now playing {song}."
    return _scene(MUSIC_ASKS, rng, (song,), result=_done(rng, "playing"), answer=answer)


KINDS: dict[str, Kind] = {
    "weather": Kind(
        _weather,
        "Get the current weather in a city.",
        ("get_weather", "get_current_weather", "weather"),
        ((("city", "location"), "string"),),
    ),
    "time": Kind(
        _time,
        "Get the current time in a city.",
        ("get_time", "get_current_time", "clock_time"),
        ((("city", "location"), "string"),),
    ),
    "calculator": Kind(
        _calculator,
        "Evaluate an arithmetic expression.",
        ("calculate", "calculator", "evaluate_expression"),
        ((("expression", "formula"), "string"),),
    ),
    "message": Kind(
        _message,
        "Send a message to a person.",
        ("send_message", "send_text", "message_person"),
        ((("to", "recipient", "person"), "string"), (("text", "message", "body"), "string")),
    ),
    "timer": Kind(
        _timer,
        "Set a timer.",
        ("set_timer", "start_timer"),
        ((("minutes", "duration"), "integer"),),
    ),
    "search": Kind(
        _search,
        "Search the web.",
        ("search_web", "web_search", "search"),
        ((("query", "q"), "string"),),
    ),
    "reminder": Kind(
        _reminder,
        "Remind the user of something.",
        ("add_reminder", "create_reminder", "set_reminder"),
        ((("text", "task"), "string"), (("day", "date"), "string")),
    ),
    "music": Kind(
        _music,
        "Play a song.",
        ("play_music", "play_song"),
        ((("song", "title"), "string"),),
    ),
}
