"""What an engine host says of itself to every switch."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from serve_app.wire import WIRE_VERSION, Ready


@dataclass(frozen=True, slots=True, kw_only=True)
class HostIdentity:
    """See `wire.Ready`."""

    engine_id: str
    node: str
    fingerprint: str
    can_replay: bool
    core_ready: bytes
    block_tokens: int
    kv_total_tokens: int
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None

    def ready(self) -> Ready:
        """The message for a switch that connects now."""
        return Ready(
            version=WIRE_VERSION,
            engine_id=self.engine_id,
            pid=os.getpid(),
            node=self.node,
            fingerprint=self.fingerprint,
            can_replay=self.can_replay,
            clock_s=time.monotonic(),
            core_ready=self.core_ready,
            block_tokens=self.block_tokens,
            kv_total_tokens=self.kv_total_tokens,
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
        )
