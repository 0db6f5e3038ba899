"""vLLM's check of a spec, in a process of its own: vLLM is imported there, for ten seconds, while
whoever deploys starts Ray.
"""

from __future__ import annotations

import gc
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from types import TracebackType
from typing import Self

from cluster.spec import ClusterSpec, SpecError


class VllmCheck:
    """Begun with `with`; `wait` raises SpecError with what vLLM finds wrong, as
    `engine_args.check` does."""

    def __init__(self, spec: ClusterSpec) -> None:
        self._spec = spec

    def __enter__(self) -> Self:
        # Not a fork: Ray's threads may run already.
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=gc.disable)
        self._found: Future[list[tuple[str, str]]] = self._pool.submit(_violations, self._spec)
        return self

    def wait(self) -> None:
        if found := self._found.result():
            raise SpecError(found)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)


def _violations(spec: ClusterSpec) -> list[tuple[str, str]]:
    from serve_app import engine_args  # imports vLLM

    try:
        engine_args.check(spec)
    except SpecError as error:
        return list(error.violations)
    return []
