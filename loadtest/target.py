"""The server a load is meant for, as far as building the load needs to know it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loadtest.framing import Framing, by_request, by_tokenize_route
from loadtest.json_server import JsonServer, ServerError
from loadtest.token_counter import TOKENIZE, LocalTokenizer, TokenCounter, TokenizeRoute

MODELS = "/v1/models"


class TargetError(ValueError):
    """The load cannot be built for this server; the message says what to give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An OpenAI-compatible server and one of its models. `headers` carry its API key, if any;
    `counter` is None where nothing can count tokens, and then only tasks can be asked.
    `max_model_len` is the longest prompt with its answer in tokens, None where it is not known."""

    base_url: str
    model: str
    headers: Mapping[str, str] = field(default_factory=dict)
    counter: TokenCounter | None = None
    framing: Framing | None = None
    max_model_len: int | None = None

    def counting(self) -> tuple[TokenCounter, Framing]:
        """What builds prompts of exact length. Raises TargetError where there is nothing."""
        if self.counter is None or self.framing is None:
            raise TargetError(
                f"prompts of exact length need a tokenizer, and {self.base_url} has no {TOKENIZE} "
                "route: give the model's with --tokenizer (a folder, or its tokenizer.json)"
            )
        return self.counter, self.framing


def find_target(
    base_url: str,
    *,
    model: str | None = None,
    headers: Mapping[str, str] | None = None,
    tokenizer: str | Path | None = None,
) -> Target:
    """Asks the server for its models and for a way to count tokens; `tokenizer` (a folder or file)
    is used in place of its `/tokenize` where it is given. The model is the server's first unless
    named.

    Raises ServerError where it does not answer, TargetError for a model it does not have, and
    TokenizerError for a tokenizer that cannot be read.
    """
    server = JsonServer(base_url, headers)
    model, max_model_len = _model(server, model)
    has_route = _has_tokenize(server, model)
    counter: TokenCounter | None = TokenizeRoute(server, model) if has_route else None
    if tokenizer is not None:
        counter = LocalTokenizer.load(tokenizer)
    count_prompt = by_tokenize_route(server, model) if has_route else by_request(server, model)
    return Target(
        base_url=server.base_url,
        model=model,
        headers=dict(headers or {}),
        counter=counter,
        framing=None if counter is None else Framing(counter, count_prompt),
        max_model_len=max_model_len,
    )


def _model(server: JsonServer, wanted: str | None) -> tuple[str, int | None]:
    """The wanted or the first model, and its `max_model_len`, which vLLM says."""
    cards = server.get(MODELS).get("data") or []
    by_name = {str(card["id"]): card for card in cards}
    if not by_name:
        raise TargetError(f"{server.base_url}{MODELS} lists no model")
    name = next(iter(by_name)) if wanted is None else wanted
    if name not in by_name:
        raise TargetError(f"{server.base_url} has no model {name!r}, only {', '.join(by_name)}")
    length = by_name[name].get("max_model_len")
    return name, length if isinstance(length, int) else None


def _has_tokenize(server: JsonServer, model: str) -> bool:
    try:
        TokenizeRoute(server, model).counts(["time"])
    except ServerError as error:
        if error.status is None:
            raise
        return False
    return True
