"""Queues of vLLM's that sleep instead of spinning."""

import threading
import time
from collections.abc import Iterator

import pytest
from vllm.distributed.device_communicators import shm_broadcast
from vllm.distributed.device_communicators.shm_broadcast import MessageQueue
from vllm.platforms import current_platform

from serve_app.vllm_waiting import SleepingCondition, sleep_on_cpus


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[MessageQueue, MessageQueue]]:
    """The writing and the reading end of one queue, made as vLLM makes them on a CPU."""
    monkeypatch.setattr(shm_broadcast, "SpinCondition", shm_broadcast.SpinCondition)
    monkeypatch.setattr(type(current_platform), "is_cpu", lambda self: True)
    sleep_on_cpus()
    writer = MessageQueue(n_reader=1, n_local_reader=1)
    reader = MessageQueue.create_from_handle(writer.export_handle(), 0)
    ready = threading.Thread(target=writer.wait_until_ready)
    ready.start()
    reader.wait_until_ready()
    ready.join()
    yield writer, reader
    for end in (reader, writer):
        end.shutdown()


def test_a_reader_waits_asleep_and_gets_what_comes(
    queue: tuple[MessageQueue, MessageQueue],
) -> None:
    writer, reader = queue
    assert isinstance(reader._spin_condition, SleepingCondition)
    writer.enqueue("first")
    assert reader.dequeue(timeout=5) == "first"
    late = threading.Timer(0.5, writer.enqueue, ["second"])
    late.start()
    started_s, ran_s = time.monotonic(), time.thread_time()
    assert reader.dequeue(timeout=5) == "second"
    waited_s, ran_s = time.monotonic() - started_s, time.thread_time() - ran_s
    late.join()
    assert waited_s > 0.4
    assert ran_s < waited_s / 2  # spinning, it would be all of it


def test_on_other_devices_vllm_waits_as_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    before = shm_broadcast.SpinCondition
    monkeypatch.setattr(shm_broadcast, "SpinCondition", before)
    monkeypatch.setattr(type(current_platform), "is_cpu", lambda self: False)
    sleep_on_cpus()
    assert shm_broadcast.SpinCondition is before
