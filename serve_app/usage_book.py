"""What the requests of one gateway used, by tenant and model, and what those of all did.

A gateway counts its own requests, and keeps its counts in the cluster's store too, every few
seconds and at its end. The sum over all gateways is each one's own answer, or, where it gives none
because it is gone, what it kept: one of both, so nothing is counted twice. A gateway that is killed
takes the last seconds' counts with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping

import msgspec

from cluster.admission.usage import Usage, UsageCounters
from serve_app import cluster_store
from serve_app.served_request import ServedRequest
from serve_app.usage_ledger import UsageLedger

logger = logging.getLogger("tokenfleet.gateway")

KEEP_EVERY_S = 5.0

Row = tuple[str, str, Usage]
"""Tenant, model, and what was used."""

Sums = Mapping[tuple[str, str], Usage]
"""By tenant and model."""


class Counted(msgspec.Struct, frozen=True):
    """One gateway's answer."""

    gateway: str
    rows: tuple[Row, ...]


_encoder, _decoder = msgspec.json.Encoder(), msgspec.json.Decoder(Counted)


class UsageBook:
    """One gateway's. `told` is to be called on the event loop, once for each request."""

    def __init__(self, gateway: str, app: str, ledger: UsageLedger | None) -> None:
        self._gateway, self._app, self._ledger = gateway, app, ledger
        self._counters = UsageCounters()
        self._changed = False

    def told(self, served: ServedRequest) -> None:
        """A request is over, or refused: then it has used nothing."""
        if served.outcome != "refused":
            self._counters.add(served.tenant, served.model, served.usage)
            self._changed = True
        if self._ledger is not None:
            self._ledger.write(served)

    def counted(self) -> Counted:
        """Since this gateway started."""
        rows = ((*key, usage) for key, usage in self._counters.all().items())
        return Counted(self._gateway, tuple(rows))

    async def keep(self) -> None:
        """Put the counts into the store where they changed, for ever."""
        while True:
            await asyncio.sleep(KEEP_EVERY_S)
            await self.keep_now()

    async def keep_now(self) -> None:
        """The same once."""
        if not self._changed:
            return
        self._changed = False
        try:
            await asyncio.to_thread(_put, self._app, self.counted())
        except Exception as error:  # whatever it is, the next one has all
            self._changed = True
            logger.info("the usage could not be kept: %s", error)

    async def close(self) -> None:
        """This gateway is gone."""
        await self.keep_now()
        if self._ledger is not None:
            await asyncio.to_thread(self._ledger.close)


def kept(app: str) -> list[Counted]:
    """What every gateway kept last, those that are gone too. Blocks."""
    return [_decoder.decode(value) for value in cluster_store.values(_prefix(app)).values()]


def _put(app: str, counted: Counted) -> None:
    cluster_store.put(_prefix(app) + counted.gateway, _encoder.encode(counted))


def _prefix(app: str) -> str:
    return f"usage/{app}/"


def summed(answers: Iterable[Counted], before: Iterable[Counted]) -> Sums:
    """`answers` of the gateways there are, and of all others what they kept
    `before`."""
    told = {each.gateway: each for each in answers}
    every = {each.gateway: each for each in before} | told
    sums: dict[tuple[str, str], Usage] = {}
    for tenant, model, usage in (row for each in every.values() for row in each.rows):
        sums[tenant, model] = sums.get((tenant, model), Usage()) + usage
    return sums
