"""A reply's bytes to its record, in a thread of their own.

Between two reads of the event loop there must be no long piece of work: bytes that arrive during it
are stamped late. Making sense of a reply takes some 7 us a chunk, so it is done by one thread
beside the loop. The interpreter then passes from thread to loop within `SWITCH_INTERVAL_S`, which
bounds how late a stamp can be for it, whatever a reply's length. Of 40 replies of 800 chunks on two
busy cores, the p99 error of an ITL was 1.8 ms so, 7.3 ms with the work in the loop, and 4 to 5 ms
with Python's own interval.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from gevent.threadpool import ThreadPool

from loadtest.metrics import RequestSample
from loadtest.reply import RawReply, reading_of, sample_of
from loadtest.run_records import RequestRecord, to_json

SWITCH_INTERVAL_S = 0.0002
"""For `sys.setswitchinterval`; Python's own is 5 ms."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known of a request before its reply. `began_s` is the load's start on the clock of
    the stamps, `t_sched_s` when the request was due, after that start; None: when it was sent.
    `good` tells whether a record met the load's objective: here, for it takes some microseconds."""

    record: Callable[..., RequestRecord]  # takes what the reply adds, by keyword
    began_s: float
    t_sched_s: float | None
    wants_text: bool = False
    expected: str | None = None
    good: Callable[[RequestRecord], bool | None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Read:
    """`line` is the record as in `requests.jsonl`; `text` None unless it was wanted; `good` whether
    the load's objective was met, None where that does not matter."""

    record: RequestRecord
    line: str
    text: str | None
    good: bool | None = None


class Reader:
    """One thread. Asked by greenlets, which wait for it while the loop goes on."""

    def __init__(self) -> None:
        self._thread = ThreadPool(1)

    def read(self, reply: RawReply, asked: Asked) -> Read:
        return self._thread.apply(read, (reply, asked))

    def close(self) -> None:
        self._thread.kill()


def read(reply: RawReply, asked: Asked) -> Read:
    wants_text = asked.wants_text or asked.expected is not None
    reading = reading_of(reply, wants_text=wants_text)
    sample = since(sample_of(reply, reading=reading), asked.began_s, asked.t_sched_s)
    checkable = asked.expected is not None and sample.error is None
    right = (reading.text or "").strip() == (asked.expected or "").strip() if checkable else None
    record = asked.record(sample=sample, right=right)
    return Read(record, to_json(record), reading.text, asked.good(record))


def since(sample: RequestSample, began_s: float, t_sched_s: float | None) -> RequestSample:
    """The sample with its instants counted from `began_s`, in whole microseconds."""
    t0_s = round(sample.t0_s - began_s, 6)
    return replace(
        sample,
        t0_s=t0_s,
        t_sched_s=t0_s if t_sched_s is None else round(t_sched_s, 6),
        t1_s=None if sample.t1_s is None else round(sample.t1_s - began_s, 6),
        tn_s=None if sample.tn_s is None else round(sample.tn_s - began_s, 6),
    )
