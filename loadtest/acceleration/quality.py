"""How right a model is: exact matches of its answers, and how it reads texts beside the base model.

Each text is read once (`prompt_logprobs`, so nothing is generated and no error grows), and gives at
every token the `TOP` most likely ones with their logarithms, and that of the token that is there:

perplexity       exp(-mean log p(token))
agreement        how often its most likely token is the base's
divergence       mean of sum p log(p / q), p the base's; over the tokens that both tell of, and all
                 others as one. In nats. Lumping makes it smaller, never larger (data processing)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import exp, log
from typing import Any

from loadtest.acceleration.items import Item
from loadtest.json_server import JsonServer

TOP = 20
"""The most that vLLM tells unless it is told otherwise (max_logprobs)."""

AT_ONCE = 8
MOST_TOKENS = 128
LEAST_FRAC = 1e-9
"""Of probability, for what is as good as nothing."""


@dataclass(frozen=True, slots=True)
class Position:
    """At one token of a text: its log p, and log p of the likeliest by token id, best first."""

    logprob: float
    top: Mapping[int, float]


Reading = Sequence[Position]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    correct: int
    n: int

    @property
    def frac(self) -> float:
        return self.correct / self.n


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """`agreement_frac`, `divergence_nats`: None where there is no base, as for the base itself."""

    matches: Mapping[str, Matches]
    perplexity: float | None
    agreement_frac: float | None = None
    divergence_nats: float | None = None

    @property
    def exact_frac(self) -> float:
        """The mean of its tasks, each counting alike."""
        return sum(found.frac for found in self.matches.values()) / len(self.matches)


def answers(server: JsonServer, model: str, items: Sequence[Item]) -> dict[str, Matches]:
    """By task. Raises loadtest.json_server.ServerError."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        given = list(pool.map(lambda item: _answer(server, model, item), items))
    right: defaultdict[str, list[bool]] = defaultdict(list)
    for item, text in zip(items, given, strict=True):
        right[item.task].append(text.strip() == item.answer.strip())
    return {task: Matches(correct=sum(found), n=len(found)) for task, found in right.items()}


def readings(server: JsonServer, model: str, texts: Sequence[str]) -> list[Reading]:
    """One of each text. Raises loadtest.json_server.ServerError."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda text: _reading(server, model, text), texts))


def quality(
    matches: Mapping[str, Matches], read: Sequence[Reading], base: Sequence[Reading] | None
) -> Quality:
    mine = [position for reading in read for position in reading]
    perplexity = exp(-sum(each.logprob for each in mine) / len(mine)) if mine else None
    if base is None or not mine:
        return Quality(matches=matches, perplexity=perplexity)
    theirs = [position for reading in base for position in reading]
    both = list(zip(theirs, mine, strict=True))
    return Quality(
        matches=matches,
        perplexity=perplexity,
        agreement_frac=sum(_best(p) == _best(q) for p, q in both) / len(both),
        divergence_nats=sum(_divergence(p, q) for p, q in both) / len(both),
    )


def _best(position: Position) -> int:
    return max(position.top, key=lambda token: position.top[token])


def _divergence(base: Position, other: Position) -> float:
    """Of one token's distribution."""
    common = base.top.keys() & other.top.keys()
    p = [exp(base.top[token]) for token in common]
    q = [exp(other.top[token]) for token in common]
    p.append(max(LEAST_FRAC, 1.0 - sum(p)))
    q.append(max(LEAST_FRAC, 1.0 - sum(q)))
    return sum(mine * log(mine / its) for mine, its in zip(p, q, strict=True) if mine > 0.0)


def _answer(server: JsonServer, model: str, item: Item) -> str:
    asked: dict[str, Any] = {"model": model, "temperature": 0, "max_tokens": MOST_TOKENS}
    if item.messages:
        body = asked | {"messages": item.messages}
        (choice,) = server.post("/v1/chat/completions", body)["choices"]
        return str(choice["message"]["content"] or "")
    (choice,) = server.post("/v1/completions", asked | {"prompt": item.prompt})["choices"]
    return str(choice["text"])


def _reading(server: JsonServer, model: str, text: str) -> Reading:
    body = {
        "model": model,
        "prompt": text,
        "max_tokens": 1,
        "temperature": 0,
        "prompt_logprobs": TOP,
        "return_token_ids": True,
    }
    choice = server.post("/v1/completions", body)["choices"][0]
    told = zip(choice["prompt_token_ids"], choice["prompt_logprobs"], strict=True)
    return [_position(token, tops) for token, tops in told if tops is not None]


def _position(token: int, tops: Mapping[str, Mapping[str, Any]]) -> Position:
    """vLLM tells of the token itself too, as one more where it is not among the likeliest."""
    found = {int(name): float(each["logprob"]) for name, each in tops.items()}
    best = sorted(found, key=lambda name: -found[name])[:TOP]
    return Position(found[token], {name: found[name] for name in best})
