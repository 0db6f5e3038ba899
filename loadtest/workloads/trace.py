"""A recorded load asked again: same instants, lengths and shared prefixes, other words.

Where a trace names its prompts' blocks (Mooncake), a block becomes a text of its own, seeded by its
id, at the tokens of the prompt where it was: prompts with equal first blocks begin with equal
text, and so share KV blocks as the recorded ones did, but for what a KV block has of both sides of
a boundary. What no block covers, and every prompt of a trace without blocks (Azure), is shared with
nobody.

Lengths are scaled to the model, prompts, answers and blocks alike, so what two prompts share stays
the same part of them. The chat template's own tokens count as part of the first block, those
behind the message too; a prompt that is scaled to less has the template and one token.
"""

from math import floor
from pathlib import Path
from typing import Literal

from pydantic import Field

from loadtest.exact_text import Piece, Seed
from loadtest.sessions import Session
from loadtest.traces import (
    MOONCAKE_TICK_S,
    Format,
    TraceError,
    TraceRequest,
    read_trace,
    scale_tokens,
    sped_up,
    spread_ticks,
)
from loadtest.workloads.kit import Answered, Kit, UnfitError, generator

ROUNDING_TOKENS = 1  # prompt and answer are rounded each


class Trace(Answered):
    """The requests of a file. Their instants are the scenario's, unless it has arrivals."""

    kind: Literal["trace"] = "trace"
    path: str | None = Field(
        default=None,
        min_length=1,
        description="The trace's file, relative to the working folder; `~` is the home folder. "
        "Required to build the load, and mostly given as `--set workload.path=FILE`: traces are "
        "large, and not part of this package.",
    )
    format: Format = Field(
        default="mooncake",
        description="`mooncake` (JSON lines) or `azure` (CSV). Default mooncake: only those say "
        "which prefixes were shared.",
    )
    speed_up: float = Field(
        default=1.0, gt=0, description="2 asks the trace in half its time. Default 1."
    )
    scale: float | None = Field(
        default=None,
        gt=0,
        description="What every length is multiplied by. Default none: 1, or as much less as lets "
        "the longest request of the whole file fit into the model's context.",
    )
    tick_s: float | None = Field(
        default=None,
        ge=0,
        description="Seconds over which requests of the same instant are spread; 0 leaves them "
        "together. Default none: 3 for Mooncake, whose instants are ticks of 3 s, else 0.",
    )
    chat: bool = Field(
        default=True,
        description="Whether /v1/chat/completions is asked, else /v1/completions. Default true.",
    )

    def instants_s(self, duration_s: float, seed: Seed) -> list[float]:
        """When the requests that begin within the load are due. Raises UnfitError."""
        return [r.at_s for r in self._requests(seed) if r.at_s < duration_s]

    def sessions(self, count: int, seed: Seed, kit: Kit) -> list[Session]:
        """The first `count` requests. Raises UnfitError where the trace has fewer, cannot be read,
        or is too long for the model at its `scale`."""
        recorded = self._requests(seed)
        if len(recorded) < count:
            raise UnfitError("path", f"{self.path} has {len(recorded)} requests, not {count}")
        around = kit.around_tokens(chat=self.chat)
        requests = self._scaled(recorded, kit.max_model_len)[:count]
        recipes = [_recipe(r, around, seed, index) for index, r in enumerate(requests)]
        lengths = [around + sum(piece.tokens for piece in recipe) for recipe in recipes]
        for prompt, request in zip(lengths, requests, strict=True):
            kit.check_fits("scale", prompt, request.output_tokens)
        return [
            Session(
                index=index,
                turns=(self.turn(user, request.output_tokens, prompt_tokens=prompt),),
                chat=self.chat,
                kind="trace",
                extra=self.body,
            )
            for index, (user, prompt, request) in enumerate(
                zip(kit.texts.build(recipes), lengths, requests, strict=True)
            )
        ]

    def _requests(self, seed: Seed) -> list[TraceRequest]:
        """By rising instant, not yet scaled."""
        if self.path is None:
            raise UnfitError("path", "no trace is given; --set workload.path=FILE gives one")
        try:
            requests = read_trace(Path(self.path).expanduser(), self.format)
        except (OSError, TraceError) as error:
            raise UnfitError("path", f"cannot read the trace: {error}") from None
        tick_s = self.tick_s
        if tick_s is None:
            tick_s = MOONCAKE_TICK_S if self.format == "mooncake" else 0.0
        ticks_seed = generator(seed, "ticks").getrandbits(32)
        return sped_up(spread_ticks(requests, tick_s, ticks_seed), self.speed_up)

    def _scaled(self, requests: list[TraceRequest], limit: int | None) -> list[TraceRequest]:
        scale = self.scale
        if scale is None:
            longest = max((r.prompt_tokens + r.output_tokens for r in requests), default=0)
            fits = limit is None or longest <= limit
            scale = 1.0 if limit is None or fits else (limit - ROUNDING_TOKENS) / longest
        return scale_tokens(requests, scale)


def _recipe(request: TraceRequest, around: int, seed: Seed, index: int) -> list[Piece]:
    """The user message: what of each block lies behind the template, then words of its
    own."""
    prompt = max(around + 1, request.prompt_tokens)
    pieces: list[Piece] = []
    at = around
    for place, block in enumerate(request.block_ids, 1):
        end = min(floor(place * request.block_tokens), prompt)
        if end > at:
            pieces.append(Piece(end - at, (*seed, "block", block)))
            at = end
    return [*pieces, Piece(prompt - at, (*seed, index))]
