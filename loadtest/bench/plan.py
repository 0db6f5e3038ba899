"""What the overhead benchmark asks of each server, in which order, with which prompts. No I/O."""

from dataclasses import dataclass

from loadtest.bench.cells import Load
from loadtest.bench.records import SIDES, Side
from loadtest.client import Endpoint, render_post
from loadtest.prompts import prompt

CHAT = "/v1/chat/completions"
WARM_UP_PART = 4  # a warm-up request has a fourth of the output tokens
# Requests per stream where none are given: enough samples, and a few seconds a cell.
REQUESTS_PER_STREAM = {1: 24, 8: 8, 32: 4}
FEWEST_REQUESTS_PER_STREAM = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The same for both sides."""

    model: str
    pairs: int
    streams: tuple[int, ...]
    requests_per_stream: int | None
    prompt_tokens: int
    output_tokens: int
    timeout_s: float  # of one request
    idle_s: float  # window of the idle measurement, per side
    seed: int

    def requests(self, streams: int) -> int:
        """Requests per stream in a cell of `streams` streams."""
        default = REQUESTS_PER_STREAM.get(streams, FEWEST_REQUESTS_PER_STREAM)
        return self.requests_per_stream or default


@dataclass(frozen=True, slots=True)
class Subject:
    """One side. `salt` makes its prompts its own, where both sides are one server: the second
    would find the first's prompts in the prefix cache."""

    side: Side
    endpoint: Endpoint
    salt: str = ""


def order(pair: int) -> tuple[Side, Side]:
    """Bare first in even pairs, Tokenfleet first in odd ones, so that slow drift cancels out."""
    return SIDES if pair % 2 == 0 else (SIDES[1], SIDES[0])


def load_of(plan: Plan, subject: Subject, pair: int, streams: int, words: int) -> Load:
    """A cell's requests; every prompt of a run is different, but alike on both sides of a pair."""

    def request(stream: int, number: int, output_tokens: int) -> bytes:
        seed = (plan.seed, subject.salt, pair, streams, stream, number)
        return render_chat(plan.model, subject.endpoint, prompt(words, *seed), output_tokens)

    numbers = range(plan.requests(streams))
    warm_up_tokens = max(1, plan.output_tokens // WARM_UP_PART)
    return Load(
        warm_up=[request(s, -1, warm_up_tokens) for s in range(streams)],
        requests=[[request(s, n, plan.output_tokens) for n in numbers] for s in range(streams)],
        timeout_s=plan.timeout_s,
    )


def render_chat(model: str, endpoint: Endpoint, content: str, output_tokens: int) -> bytes:
    """A greedy chat request with exactly `output_tokens` tokens in its streamed reply."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": output_tokens,
        "ignore_eos": True,
        "skip_special_tokens": False,  # or what follows the end token would be chunks of nothing
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return render_post(endpoint, CHAT, body)
