"""What a load test sends: sessions of one or more turns, all known before the start.

A single request is a session of one turn. A session starts at its instant, whatever the server
does (open loop), or when a user is free for it (closed loop); a later turn follows `think_s` after
the answer before it has ended, as a person's would, and carries the history with the server's real
answers in it. Everything random was drawn from the scenario's seed before the start, so the same
scenario is the same load, however many workers send it.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One request. `user` is the new user message of a chat, or a completion's prompt."""

    user: str
    max_tokens: int
    min_tokens: int | None = None  # equal to `max_tokens` where the length must be exact (vLLM)
    think_s: float = 0.0  # after the end of the turn before it
    prompt_tokens: int | None = None  # what the prompt was built to, None where it was not
    expected: str | None = None  # the right answer of a task whose answer can be checked


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """`index` is unique in the run; `at_s` counts from the start of the load, None for a closed
    loop; `extra` are further fields of the request's body."""

    index: int
    turns: tuple[Turn, ...]
    at_s: float | None = None
    chat: bool = True  # /v1/chat/completions, else /v1/completions
    system: str | None = None  # the system prompt of a chat
    kind: str = "chat"  # what the report groups by
    tenant: str | None = None  # which of the scenario's tenants asks
    extra: dict[str, Any] = field(default_factory=dict)
