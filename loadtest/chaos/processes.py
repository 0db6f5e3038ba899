"""An engine's processes on this machine, and what is left of those whose engine is gone."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import psutil

from loadtest.procstat import Process, Role, role_of

KINDS = ("EngineCore", "Worker")

Rss = Mapping[tuple[Role, int], int]
"""Resident bytes by role and pid."""


def processes_of(host_pid: int) -> dict[str, list[psutil.Process]]:
    """An engine's processes by kind: `host`, `EngineCore`, `Worker`.

    Raises psutil.NoSuchProcess.
    """
    host = psutil.Process(host_pid)
    found: dict[str, list[psutil.Process]] = {"host": [host], **{kind: [] for kind in KINDS}}
    for child in host.children(recursive=True):
        for kind in KINDS:
            if _title(child).startswith(f"VLLM::{kind}"):
                found[kind].append(child)
    return found


def _title(process: psutil.Process) -> str:
    """Empty where it is gone, or a zombie."""
    with suppress(psutil.NoSuchProcess):
        return "".join(process.cmdline()[:1])
    return ""


class Herd:
    """Every process of every engine that was ever seen, so that none is forgotten."""

    def __init__(self) -> None:
        self._by_engine: dict[str, list[psutil.Process]] = {}

    def note(self, engine_id: str, host_pid: int) -> None:
        """An engine is ready, so its processes all exist. Known ones cost nothing."""
        if engine_id in self._by_engine:
            return
        with suppress(psutil.NoSuchProcess):
            found = processes_of(host_pid)
            self._by_engine[engine_id] = [each for kind in found.values() for each in kind]

    def orphans(self, living: Collection[str], within_s: float) -> list[psutil.Process]:
        """Processes of engines that are not among the `living`, alive after `within_s` still."""
        gone = [
            process
            for engine_id, processes in self._by_engine.items()
            if engine_id not in living
            for process in processes
        ]
        left: list[psutil.Process] = psutil.wait_procs(gone, within_s)[1]
        return left


def rss_bytes(server: Iterable[Process]) -> dict[tuple[Role, int], int]:
    """Resident memory of each of a server's processes; those that ended are left out."""
    found = {}
    for process in server:
        with suppress(psutil.NoSuchProcess):
            resident = psutil.Process(process.pid).memory_info().rss
            found[role_of(process.title), process.pid] = resident
    return found


@dataclass(frozen=True, slots=True)
class Growth:
    """Memory of the processes of one role that were there before and after, all together."""

    processes: int
    before_bytes: int
    after_bytes: int


def growth(before: Rss, after: Rss) -> dict[str, Growth]:
    """By role, over the processes that are in both."""
    found: dict[str, Growth] = {}
    for role in Role:
        keys = [key for key in before if key in after and key[0] is role]
        if keys:
            sizes = (sum(readings[key] for key in keys) for readings in (before, after))
            found[str(role)] = Growth(len(keys), *sizes)
    return found
