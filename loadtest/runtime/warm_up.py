"""A few small requests before the load begins.

A cold client doubles the first TTFTs: connections, code paths and the server's own first request.
These requests have records of their own, marked as warm-up, and instants before 0.
"""

from collections.abc import Sequence

import gevent

from loadtest.reply import RawReply
from loadtest.runtime.bodies import Conversation, path_of
from loadtest.runtime.load import Aim, Load
from loadtest.sessions import Session, Turn
from loadtest.streaming_user import StreamingUser

CONNECTIONS = 8
REQUESTS_EACH = 2  # the second one finds its connection open
TIMEOUT_S = 30.0
KIND = "warm-up"


def warm_up(
    user: StreamingUser, load: Load, aim: Aim, sessions: Sequence[Session], connections: int
) -> list[tuple[Session, RawReply]]:
    """Sends them over `connections`, at most `CONNECTIONS`; whatever the server answers."""
    chat = sessions[0].chat if sessions else True
    lanes = min(CONNECTIONS, connections)
    asked = [
        Session(index=-1 - n, turns=(Turn(user="Hello", max_tokens=2),), chat=chat, kind=KIND)
        for n in range(lanes * REQUESTS_EACH)
    ]
    sent = [gevent.spawn(_lane, user, load, aim, asked[lane::lanes]) for lane in range(lanes)]
    return [pair for greenlet in sent for pair in greenlet.get()]


def _lane(
    user: StreamingUser, load: Load, aim: Aim, sessions: Sequence[Session]
) -> list[tuple[Session, RawReply]]:
    timeout_s = min(TIMEOUT_S, load.timeout_s)
    bodies = [Conversation(session, aim.model).ask(session.turns[0]) for session in sessions]
    return [
        (session, user.stream(path_of(session), body, timeout_s, aim.headers))
        for session, body in zip(sessions, bodies, strict=True)
    ]
