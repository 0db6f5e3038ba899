"""`GET /usage`: what a tenant's requests used, over all gateways; an admin is told of all tenants,
or of the one that it names with `?tenant=`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any
from urllib.parse import parse_qs

from ray.serve.handle import DeploymentHandle
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from serve_app import usage_book
from serve_app.broadcast import ask_all
from serve_app.caller import CALLER
from serve_app.usage_book import Counted, Sums

logger = logging.getLogger("tokenfleet.gateway")

ANSWER_WITHIN_S = 5.0

UsageOfAll = Callable[[], Awaitable[tuple[Sums, int]]]
"""The sums over all gateways, and how many did not answer: their counts are some seconds old."""


def usage_of_all(gateways: Callable[[], DeploymentHandle], app: str) -> UsageOfAll:
    """Over the handle of all gateways, which have `usage`."""

    async def ask() -> tuple[Sums, int]:
        kept, answers = await asyncio.gather(asyncio.to_thread(_kept, app), _asked(gateways()))
        told = [each for each in answers if isinstance(each, Counted)]
        return usage_book.summed(told, kept), len(answers) - len(told)

    return ask


async def _asked(gateways: DeploymentHandle) -> list[object]:
    try:
        return await ask_all(gateways, "usage", within_s=ANSWER_WITHIN_S)
    except TimeoutError as error:
        logger.warning("a gateway did not say its usage within %g s", ANSWER_WITHIN_S)
        return [error]


def _kept(app: str) -> list[Counted]:
    try:
        return usage_book.kept(app)
    except Exception as error:  # whatever it is, the gateways that there are answer
        logger.warning("what gateways that are gone counted is not known: %s", error)
        return []


class UsageRoute:
    """Answers by `usage_of_all`, which is asked once at a time however many clients ask: it costs a
    call to every gateway."""

    def __init__(self, of_all: UsageOfAll) -> None:
        self._of_all = of_all
        self._asking: asyncio.Future[tuple[Sums, int]] | None = None

    async def answer(self, scope: Scope) -> Response:
        """`data` has a row for each tenant and model with requests."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._of_all())
        sums, missing = await asyncio.shield(self._asking)
        is_asked = _is_asked(scope)
        data: list[dict[str, Any]] = [
            {"tenant": tenant, "model": model, **asdict(usage)}
            for (tenant, model), usage in sorted(sums.items(), key=lambda item: item[0])
            if is_asked(tenant)
        ]
        return JSONResponse({"object": "list", "data": data, "gateways_missing": missing})


def _is_asked(scope: Scope) -> Callable[[str], bool]:
    caller = CALLER.get()
    if not caller.is_admin:
        return lambda tenant: tenant == caller.tenant.name
    named = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("tenant")
    return lambda tenant: named is None or tenant in named
