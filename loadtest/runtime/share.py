"""One worker's part of the load while it runs.

Open loop: one greenlet sleeps to the instant of the next session and lets it begin, whatever the
server does; a request that is due while `max_in_flight` are in flight is missed and ends its
session. Closed loop: each of Locust's users takes the next session when it is done with the one
before. No turn begins after `duration_s`; a turn that failed ends its session, because the next one
would need its answer. Every request ends within its own `timeout_s`, so the share does too.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from time import monotonic

import gevent
from gevent import GreenletExit
from gevent.event import Event
from gevent.pool import Group

from loadtest.metrics import RequestSample
from loadtest.reply import RawReply
from loadtest.run_records import RequestRecord
from loadtest.runtime.bodies import Conversation, path_of
from loadtest.runtime.ledger import Ledger
from loadtest.runtime.load import Aim, Load
from loadtest.runtime.reading import Asked, Read, Reader
from loadtest.sessions import Session
from loadtest.streaming_user import STOPPED, StreamingUser


class Share:
    """`sessions` are those of worker `rank`, `max_in_flight` its part of the load's."""

    def __init__(
        self, load: Load, aim: Aim, sessions: Sequence[Session], rank: int, max_in_flight: int
    ) -> None:
        self.load, self.aim, self.ledger = load, aim, Ledger()
        self._sessions, self._rank, self._max_in_flight = iter(sessions), rank, max_in_flight
        self._reader = Reader()
        self._began_s = 0.0  # on the monotonic clock
        self._stopped = False
        self._in_flight = 0
        self._greenlets = Group()
        self._playing = 0  # sessions
        self._idle, self._all_begun = Event(), Event()

    def start(self, began_s: float, warm_up: Iterable[tuple[Session, RawReply]] = ()) -> None:
        """The load begins at `began_s` on the monotonic clock, and this returns then; `warm_up` was
        sent before."""
        self._began_s = began_s
        for session, reply in warm_up:
            record = partial(self._record, session, 0, warm_up=True)
            self.ledger.warmed_up(self._reader.read(reply, Asked(record, began_s, None)))
        self._idle.set()
        self._sleep_until(0.0)

    def start_dispatch(self, user: StreamingUser) -> None:
        """The open loop, sent by `user`."""
        self._greenlets.spawn(self._dispatch, user)

    def let_go(self, user: gevent.Greenlet) -> bool:
        """Takes a user of the closed loop over, which ends with its session; False once stopped."""
        if not self._stopped:
            self._greenlets.add(user)
        return not self._stopped

    def stop(self) -> None:
        """Cuts what the open loop and users that were let go have in flight; it gets its records.
        Other users of the closed loop are Locust's to end."""
        self._stopped = True
        self._greenlets.kill()

    def join(self) -> None:
        """Waits until the time is over, or no session is left to begin, and every one has ended."""
        self._all_begun.wait(self.load.duration_s - self._now_s())
        self._greenlets.join()
        self._idle.wait()

    def close(self) -> None:
        self._reader.close()

    def next_session(self) -> Session | None:
        """The closed loop's next; None where there is none, or the time is over."""
        session = None if self._over else next(self._sessions, None)
        if session is None:
            self._all_begun.set()
        return session

    def play(self, user: StreamingUser, session: Session, due_s: float | None = None) -> None:
        """All turns of a session; without `due_s`, a turn is due when it is sent."""
        conversation = Conversation(session, self.aim.model)
        with self._counted():
            for number, turn in enumerate(session.turns):
                if number:
                    after_s = self._now_s() + turn.think_s
                    due_s = None if due_s is None else after_s
                    self._sleep_until(min(after_s, self.load.duration_s))
                    if self._over:
                        return
                answer = self._turn(user, session, number, conversation, due_s)
                if answer is None:
                    return
                conversation.answered(answer)

    # Time

    def _now_s(self) -> float:
        return monotonic() - self._began_s

    @property
    def _over(self) -> bool:
        return self._stopped or self._now_s() >= self.load.duration_s

    def _sleep_until(self, at_s: float) -> None:
        while (left_s := at_s - self._now_s()) > 0:  # a timer may be early
            gevent.sleep(left_s)

    # Sending

    def _dispatch(self, user: StreamingUser) -> None:
        for session in self._sessions:
            due_s = session.at_s or 0.0
            self._sleep_until(min(due_s, self.load.duration_s))
            if self._over:
                return
            self._greenlets.spawn(self.play, user, session, due_s)

    def _turn(
        self,
        user: StreamingUser,
        session: Session,
        number: int,
        conversation: Conversation,
        due_s: float | None,
    ) -> str | None:
        """The answer; None where there is none to go on from."""
        at_s = self._now_s() if due_s is None else due_s
        record = partial(self._record, session, number, warm_up=at_s < self.load.warm_up_s)
        if self.load.mode == "open" and self._in_flight >= self._max_in_flight:
            error = f"missed: {self._in_flight} requests were in flight"
            sample = RequestSample(t_sched_s=round(at_s, 6), t0_s=round(at_s, 6), error=error)
            missed = record(sample=sample, missed=True)
            self.ledger.missed(missed, self.load.good(missed))
            return None
        turn = session.turns[number]
        more = number + 1 < len(session.turns)
        asked = Asked(
            record,
            self._began_s,
            due_s,
            wants_text=more,
            expected=turn.expected,
            good=self.load.good,
        )
        read = self._sent(user, session, conversation.ask(turn), asked)
        return None if read.record.sample.error else read.text or ""

    def _sent(self, user: StreamingUser, session: Session, body: bytes, asked: Asked) -> Read:
        self.ledger.sent()
        self._in_flight += 1
        try:
            headers = self.load.headers(self.aim, session)
            reply = user.stream(path_of(session), body, self.load.timeout_s, headers)
        finally:
            self._in_flight -= 1
        read = self._reader.read(reply, asked)
        self.ledger.ended(read)
        user.report(session.kind, read.record.sample, sum(len(part) for _, part in reply.parts))
        if reply.failure == STOPPED:
            raise GreenletExit  # what `stream` held back, so that this request has its record
        return read

    def _record(
        self,
        session: Session,
        number: int,
        *,
        sample: RequestSample,
        warm_up: bool = False,
        missed: bool = False,
        right: bool | None = None,
    ) -> RequestRecord:
        return RequestRecord(
            session=session.index,
            turn=number,
            kind=session.kind,
            sample=sample,
            worker=self._rank,
            tenant=session.tenant,
            warm_up=warm_up,
            missed=missed,
            right=right,
            planned_prompt_tokens=session.turns[number].prompt_tokens,
        )

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._playing += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._playing -= 1
            if not self._playing:
                self._idle.set()
