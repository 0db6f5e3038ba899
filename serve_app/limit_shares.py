"""The tenants' limits over all gateways: a small deployment that divides them, and who reports to
it.

One replica without an engine or a model. A gateway that does not reach it keeps the shares that it
has (`cluster.admission.reconciler` bounds what that can let through), so it may die and be started
again without anybody's requests being refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any, Protocol

from cluster.admission.reconciler import Reconciler, ShareAnswer, ShareReport

logger = logging.getLogger("tokenfleet.gateway")

DEPLOYMENT = "Limits"
ANSWER_WITHIN_S = 3.0
"""An answer that takes longer is given up, and the next report says all again: three of them fit in
the time after which a silent gateway's shares go to others."""

LEFT_WITHIN_S = 1.0
"""A gateway that ends waits no longer: where the whole cluster ends, nobody is left to hear it."""


class LimitShares:
    """The deployment. Its methods are coroutines, so that Serve calls them on one thread."""

    def __init__(self) -> None:
        self._reconciler = Reconciler(time.monotonic())

    async def report(self, report: ShareReport) -> ShareAnswer:
        """What a gateway's tenants ask for, answered with its shares."""
        return self._reconciler.report(report, time.monotonic())

    async def left(self, gateway: str) -> None:
        """That gateway is gone for good."""
        self._reconciler.left(gateway)


class Sharing(Protocol):
    """A gateway's limits; called on its event loop."""

    def share_report(self) -> ShareReport: ...

    def have_shares(self, answer: ShareAnswer) -> None: ...


async def keep_shares(desk: Sharing, limits: Any, every_s: float) -> None:
    """Report to `limits`, a handle of `LimitShares`, for ever."""
    reached = True
    while True:
        try:
            answer = await _answer(limits.report.remote(desk.share_report()), ANSWER_WITHIN_S)
        except Exception as error:  # whatever it is, the shares stay and the next report follows
            if reached:
                logger.warning("the limits are not shared, and stay as they are: %r", error)
            reached = False
        else:
            desk.have_shares(answer)
            if not reached:
                logger.info("the limits are shared again")
            reached = True
        await asyncio.sleep(every_s)


async def say_left(limits: Any, gateway: str) -> None:
    """Tell that this gateway is gone; what does not arrive is found out by its silence."""
    with contextlib.suppress(Exception):
        await _answer(limits.left.remote(gateway), LEFT_WITHIN_S)


async def _answer(response: Any, within_s: float) -> Any:
    try:
        return await asyncio.wait_for(response, within_s)
    except TimeoutError:
        response.cancel()
        raise
