"""The EngineCore's process, begun while its host still imports vLLM.

Both import it, for about ten seconds each, and vLLM starts the core's process only when its host is
through and has the configuration that the core needs. Here it begins with its host:

    host    begin | imports vLLM | makes the configuration | hands over to the core
    core            imports vLLM | waits ................... | runs

It is the process that vLLM would have started, by the same means of `multiprocessing`, only
earlier: what is to run there, with what, and in what environment, follows through a pipe. Where the
process would have needed to begin otherwise (a library to preload, an executable of its own), it
ends, and vLLM starts another.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import multiprocessing.spawn
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from glob import glob
from importlib import import_module
from importlib.util import find_spec
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any, Self

import setproctitle

from serve_app.vllm_plugin import die_with_parent

logger = logging.getLogger("tokenfleet.engine")

READ_AT_START = (
    "LD_PRELOAD",
    "NUMEXPR_MAX_THREADS",
    "TORCHINDUCTOR_COMPILE_THREADS",
    "TORCHINDUCTOR_CPP_DYNAMIC_THREADS",
)
"""What vLLM sets for the core that counts only where a process has it from the start: the dynamic
linker reads it, or a module when it is imported."""

THREADS_ENV = "OMP_NUM_THREADS"

_AHEAD = "vllm.v1.engine.core"
_WORKERS = {"cpu": "vllm.v1.worker.cpu_worker", "gpu": "vllm.v1.worker.gpu_worker"}


@contextmanager
def collecting_later() -> Iterator[None]:
    """No garbage collection within: half a million objects come to stay when vLLM is imported, and
    looking through them time and again takes a fifth of the import. They are not looked through
    afterwards either."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class EarlyCore:
    """A process that waits for what vLLM wants an EngineCore's process to run. `close` ends it,
    unless it has been handed over by then."""

    def __init__(self, process: SpawnProcess, work: Connection) -> None:
        self._process, self._work = process, work
        self._environment = _early(os.environ)
        self._executable = multiprocessing.spawn.get_executable()

    @classmethod
    async def begin(cls, device: str) -> Self:
        """Start it, for an engine on `device` ("cpu" or "gpu"); takes milliseconds.

        To be awaited on a thread that lives as long as this process does: the kernel ends the core
        with it. Sets in this process's environment what vLLM will set.
        """
        if device == "cpu":
            os.environ.update(cpu_environment(os.environ))
        theirs, ours = multiprocessing.Pipe(duplex=False)
        ahead = (_AHEAD, _WORKERS[device])
        process = SpawnProcess(target=_wait, args=(theirs, ahead), name="EngineCore")
        process.start()
        theirs.close()
        return cls(process, ours)

    def take(self, target: Callable[..., None], kwargs: Mapping[str, Any]) -> SpawnProcess:
        """The process, which now runs `target(**kwargs)`. Raises NotThisOneError where it is not
        the one for it."""
        if why := self._unfit():
            raise NotThisOneError(why)
        try:
            self._work.send((dict(os.environ), target, kwargs))
        except (OSError, RuntimeError) as error:  # it is gone; or only a start can pass this on
            raise NotThisOneError(str(error)) from error
        self._work.close()
        return self._process

    def close(self) -> None:
        """Does nothing once it has been handed over."""
        if not self._work.closed:
            self._work.close()
            self._process.kill()
            self._process.join()

    def _unfit(self) -> str | None:
        if self._work.closed:
            return "it has been handed over"
        if not self._process.is_alive():
            return f"it has ended (exit code {self._process.exitcode})"
        if multiprocessing.spawn.get_executable() != self._executable:
            return "vLLM has an executable of its own for it"
        if other := _early(os.environ).items() ^ self._environment.items():
            return f"it began with another {', '.join(sorted({name for name, _ in other}))}"
        return None


class NotThisOneError(RuntimeError):
    """Why a process that began early cannot run what it is asked to."""


class EarlyContext(SpawnContext):
    """vLLM's multiprocessing context: what it starts first runs in `early`, if that fits."""

    def __init__(self, early: EarlyCore) -> None:
        self._early = early

    def Process(  # type: ignore[override]  # a class in the other contexts
        self, *, target: Callable[..., None], name: str, kwargs: Mapping[str, Any]
    ) -> _Process:
        return _Process(self._early, target, name, kwargs)


class _Process:
    """A process to vLLM; which one, is settled when it is started."""

    def __init__(
        self,
        early: EarlyCore,
        target: Callable[..., None],
        name: str,
        kwargs: Mapping[str, Any],
    ) -> None:
        self._early, self._target, self._kwargs = early, target, kwargs
        self._process = SpawnProcess(target=target, name=name, kwargs=kwargs)

    def start(self) -> None:
        try:
            self._process = self._early.take(self._target, self._kwargs)
        except NotThisOneError as error:
            logger.warning("the engine core's process is started anew: %s", error)
            self._early.close()
            self._process.start()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._process, name)


def cpu_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """`READ_AT_START` as vLLM sets it on CPUs, given `environ`, before it starts a core (in
    `CpuPlatform.check_and_update_config`); `tests/serve_app/test_early_core.py` compares."""
    preloaded = environ.get("LD_PRELOAD", "")
    found = [preloaded] if preloaded else []
    torch, vllm = _folder("torch"), _folder("vllm")
    if not any(name in preloaded for name in ("libomp", "libgomp", "libiomp")):
        found += _first(torch.parent / "torch.libs/libgomp*.so*", torch / "lib/libgomp*.so*")
    if "libtcmalloc" not in preloaded:
        libs = vllm / "libs"
        found[:0] = _first(libs / "libtcmalloc_minimal*.so*", libs / "libtcmalloc.so*")
    preload = {"LD_PRELOAD": ":".join(found)} if found else {}
    return preload | {
        "NUMEXPR_MAX_THREADS": str(len(os.sched_getaffinity(0))),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "TORCHINDUCTOR_CPP_DYNAMIC_THREADS": "1",
    }


def _first(*patterns: Path) -> list[str]:
    """The first file that any of them matches, or none."""
    return [path for pattern in patterns for path in glob(str(pattern))][:1]


def _folder(package: str) -> Path:
    """Of an installed package, which is not imported."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _early(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: environ[name] for name in READ_AT_START if name in environ}


def _wait(work: Connection, ahead: tuple[str, ...]) -> None:
    """In the process: import what takes long, then run what comes."""
    die_with_parent()
    setproctitle.getproctitle()  # it finds its way in the environment that the process began with
    with collecting_later():
        for module in ahead:
            import_module(module)
    environ, target, kwargs = work.recv()
    work.close()
    _take_over(environ)
    target(**kwargs)


def _take_over(environ: Mapping[str, str]) -> None:
    """Have the environment that the process would have begun with."""
    threads = environ.get(THREADS_ENV)
    sized_otherwise = threads is not None and threads != os.environ.get(THREADS_ENV)
    for name in os.environ.keys() - environ.keys():
        del os.environ[name]
    for name, value in environ.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    if sized_otherwise:
        import_module("torch").set_num_threads(int(str(threads)))
