"""vLLM's check of a spec, in a process of its own: vLLM is imported there, for ten seconds, while
whoever deploys starts Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

from cluster.spec import ClusterSpec, SpecError
from serve_app.early_core import collecting_later


@contextmanager
def checking(spec: ClusterSpec) -> Iterator[Callable[[], None]]:
    """The check runs meanwhile; what this gives waits for its end, and raises SpecError with what
    vLLM finds wrong, as `engine_args.check` does."""
    # Not a fork: Ray's threads may run already.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        violations = pool.submit(_violations, spec)

        def checked() -> None:
            if found := violations.result():
                raise SpecError(found)

        yield checked


def _violations(spec: ClusterSpec) -> list[tuple[str, str]]:
    with collecting_later():
        from serve_app import engine_args  # imports vLLM
    try:
        engine_args.check(spec)
    except SpecError as error:
        return list(error.violations)
    return []
