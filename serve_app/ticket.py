"""A request to a model's API on its way through the gateway, as the admission desk has it.

It is taken in when its first prompt is about to go to an engine: then its size is known, and
nothing is computed for one that is refused. All its prompts and answers (`n`, a list of prompts,
the turns of a tool's loop) are one request. It is over when its app is, and all that it sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from cluster.admission.tenants import Tenant
from cluster.admission.usage import Usage
from serve_app.errors import GatewayError

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from serve_app.admission_desk import AdmissionDesk
    from serve_app.flights import Attempt

TICKET: ContextVar[Ticket | None] = ContextVar("ticket", default=None)
"""Of the request that the current task answers. Tasks that it starts inherit it."""


class Ticket:
    """`refusal` says why it was refused, if it was; `on_wait` is called when it begins to wait.
    `name` is the API server's of its first prompt.

    The rest is the desk's. `flights` are those at the switch: their ends may be heard of before
    their beginnings, so it is below 0 at times.
    """

    def __init__(self, desk: AdmissionDesk, model: str, tenant: Tenant) -> None:
        self.model, self.tenant, self.name = model, tenant, ""
        self.refusal: GatewayError | None = None
        self.on_wait: Callable[[], None] | None = None
        self.entry: str | None = None  # in admission, until it is over
        self.size: tuple[int, int | None] = (0, 0)  # prompt and most output, in tokens
        self.turn: asyncio.Future[None] | None = None  # while it waits
        self.offered_at_s = self.sent_at_s = 0.0
        self.names: set[str] = set()  # of its prompts
        self.known: set[str] = set()  # those of them whose tokens have been counted
        self.flights, self.failed, self.usage = 0, False, Usage()
        self.pauses, self.is_paused = 0, False
        self.ttft_s: float | None = None  # of the first of its answers to begin
        self.answers, self.decode_s = 0, 0.0
        self.attempts: list[Attempt] = []
        self.span: Span | None = None  # where requests are traced
        self._desk = desk
        self._generating, self._whole, self._app_is_over = 0, True, False

    @property
    def waited_s(self) -> float:
        return self.sent_at_s - self.offered_at_s if self.sent_at_s else 0.0

    @property
    def tpot_s(self) -> float | None:
        """Seconds for each token of its one answer after the first; None where it has no other."""
        more = self.usage.output_tokens - 1
        return self.decode_s / more if self.answers == 1 and more > 0 else None

    @property
    def is_over(self) -> bool:
        return self._app_is_over and not self._generating and self.flights <= 0

    @property
    def is_whole(self) -> bool:
        """Whether all that was begun was answered to its end."""
        return self._whole and not self.failed

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """The model's app, for this request."""
        TICKET.set(self)
        self._desk.began(self, scope)
        try:
            await app(scope, receive, send)
        finally:
            self._app_is_over = True
            self._desk.look_at(self)

    # What the engine's client tells

    def begin(self, name: str) -> str:
        """A prompt is about to be answered. Returns the name to give it: this, or one that no other
        request has now (clients may choose their request's)."""
        self._generating += 1
        return self._desk.registered(self, name)

    async def admitted(
        self, name: str, prompt_tokens: int, most_tokens: int | None, answers: int
    ) -> None:
        """Wait for its turn. `most_tokens`: that its `answers` may have together; None where
        nothing but the model's length bounds them.

        Raises the GatewayError that is its `refusal`.
        """
        if self.refusal is None:
            self._desk.offer(self, prompt_tokens, most_tokens)
        if self.turn is not None:
            await asyncio.shield(self.turn)
        if self.refusal is not None:
            raise self.refusal
        self._desk.expect(self, name, answers)

    def sent(self, answers: int) -> None:
        """So many flights are on their way to the switch."""
        self.flights += answers

    def end(self, name: str, *, whole: bool) -> None:
        """A prompt's answers are over; `whole`: they came to their end."""
        self._generating -= 1
        self._whole &= whole
        self._desk.left(self, name)
        self._desk.look_at(self)
