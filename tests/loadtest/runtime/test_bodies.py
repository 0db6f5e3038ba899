"""Sessions as request bodies."""

import json
from typing import Any

from loadtest.runtime.bodies import Conversation, path_of
from loadtest.sessions import Session, Turn


def asked(conversation: Conversation, turn: Turn) -> Any:
    return json.loads(conversation.ask(turn))


def test_a_chat_grows_by_what_was_said() -> None:
    turns = (Turn(user="你好", max_tokens=5), Turn(user="and?", max_tokens=6, min_tokens=6))
    session = Session(index=0, turns=turns, system="Be brief.", extra={"temperature": 0})
    conversation = Conversation(session, "demo")
    system = {"role": "system", "content": "Be brief."}
    first = {"role": "user", "content": "你好"}
    assert asked(conversation, turns[0]) == {
        "model": "demo",
        "messages": [system, first],
        "max_tokens": 5,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    conversation.answered("hi")
    body = asked(conversation, turns[1])
    answer, second = {"role": "assistant", "content": "hi"}, {"role": "user", "content": "and?"}
    assert body["messages"] == [system, first, answer, second]
    assert (body["max_tokens"], body["min_tokens"]) == (6, 6)
    assert path_of(session) == "/v1/chat/completions"


def test_a_completions_prompt_is_all_that_was_said() -> None:
    turns = (Turn(user="once", max_tokens=5), Turn(user=" then", max_tokens=5))
    session = Session(index=0, turns=turns, chat=False)
    conversation = Conversation(session, "demo")
    assert asked(conversation, turns[0])["prompt"] == "once"
    conversation.answered(" upon")
    assert asked(conversation, turns[1])["prompt"] == "once upon then"
    assert path_of(session) == "/v1/completions"


def test_no_extra_field_turns_streaming_off() -> None:
    session = Session(index=0, turns=(Turn(user="a", max_tokens=1),), extra={"stream": False})
    assert asked(Conversation(session, "demo"), session.turns[0])["stream"] is True
