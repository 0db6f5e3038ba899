"""What is asked of a server before a load is built for it."""

import pytest

from loadtest.exact_text import ExactTexts, Piece
from loadtest.framing import Framing, FramingError, Prompt, said
from loadtest.json_server import ServerError
from loadtest.target import TargetError, find_target
from loadtest.token_counter import TokenizerError
from tests.loadtest.demo_target import MODEL, token_ids
from tests.loadtest.tokenizing_server import tokenizing

SYSTEM, USER, ANSWER = said("system", "be brief"), said("user", "hello"), said("assistant", "well")


def texts_tokens(*messages: dict[str, str]) -> int:
    return sum(len(token_ids(message["content"])) for message in messages)


def beyond(*messages: dict[str, str]) -> int:
    """Tokens of a chat that are not its texts'."""
    return len(token_ids(messages)) - texts_tokens(*messages)


@pytest.mark.parametrize("tokenizer", [None, MODEL])
@pytest.mark.parametrize("has_route", [True, False])
def test_the_framing_is_what_the_server_says(tokenizer: str | None, has_route: bool) -> None:
    with tokenizing(has_route=has_route) as server:
        target = find_target(server.url, tokenizer=tokenizer)
        if tokenizer is None and not has_route:
            with pytest.raises(TargetError, match=r"no /tokenize route: give .* --tokenizer"):
                target.counting()
            return
        _, framing = target.counting()
        assert framing.completion_tokens == 1
        assert framing.chat_tokens == beyond(USER)
        assert framing.system_tokens == beyond(SYSTEM, USER) - beyond(USER)
        assert framing.exchange_tokens == beyond(USER, ANSWER, USER) - beyond(USER)
        assert (target.model, target.max_model_len) == ("demo", 2048)


def test_the_route_builds_the_same_texts_as_the_tokenizer_itself() -> None:
    recipes = [[Piece(n, (n,))] for n in range(1, 40)]
    with tokenizing() as server:
        asked, _ = find_target(server.url).counting()
        local, _ = find_target(server.url, tokenizer=MODEL).counting()
        assert ExactTexts(asked).build(recipes) == ExactTexts(local).build(recipes)


def test_a_model_and_a_key_may_be_given() -> None:
    with tokenizing() as server:
        target = find_target(server.url, model="other", headers={"Authorization": "Bearer k"})
    assert target.model == "other"
    assert target.max_model_len is None
    assert {key for _, key in server.asked} == {"Bearer k"}


def test_an_unknown_model_is_refused() -> None:
    with tokenizing() as server, pytest.raises(TargetError, match="no model 'x', only demo, other"):
        find_target(server.url, model="x")


def test_a_server_that_is_not_there_is_named() -> None:
    with tokenizing() as server:
        url = server.url
    with pytest.raises(ServerError, match=f"{url}/v1/models: ") as caught:
        find_target(url)
    assert caught.value.status is None


def test_a_tokenizer_that_is_not_there_is_named() -> None:
    with tokenizing() as server, pytest.raises(TokenizerError, match="there is no"):
        find_target(server.url, tokenizer="/nowhere")


def test_another_models_tokenizer_is_found_out() -> None:
    class Words:
        def counts(self, texts: list[str]) -> list[int]:
            return [len(text.split()) for text in texts]

    def count(prompt: Prompt) -> int:
        return len(token_ids(prompt))

    with pytest.raises(FramingError, match="is the tokenizer the server's own"):
        _ = Framing(Words(), count).chat_tokens
