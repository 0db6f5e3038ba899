"""vLLM's own prefix cache without an engine: what it caches, and what it says of it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import torch
from vllm.config.kv_events import KVEventsConfig
from vllm.distributed.kv_events import KVEventBatch, ZmqEventPublisher
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_manager import KVCacheManager
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.request import Request

from serve_app.kv_events import KvEvents

MAX_MODEL_LEN = 8192


class VllmCache:
    """`KVCacheManager` over `blocks` blocks, used as vLLM's scheduler uses it."""

    def __init__(self, blocks: int, block_tokens: int) -> None:
        init_none_hash(sha256)
        self._hasher = get_request_block_hasher(block_tokens, sha256)
        spec = FullAttentionSpec(
            block_size=block_tokens, num_kv_heads=1, head_size=1, dtype=torch.float32
        )
        self.manager = KVCacheManager(
            KVCacheConfig(
                num_blocks=blocks + 1,  # one is never given out
                kv_cache_tensors=[],
                kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)],
            ),
            max_model_len=MAX_MODEL_LEN,
            scheduler_block_size=block_tokens,
            hash_block_size=block_tokens,
            enable_kv_cache_events=True,
        )

    def run(self, request: EngineCoreRequest, outputs: Sequence[int] = ()) -> int:
        """Compute a request whole, and these outputs, and free it. Returns how many tokens of its
        prompt were found in the cache."""
        running, found = self.start(request)
        for token in outputs:
            running.append_output_token_ids(token)
            assert self.manager.allocate_slots(running, 1) is not None
            running.num_computed_tokens += 1
        self.manager.free(running)
        return found

    def start(self, request: EngineCoreRequest) -> tuple[Request, int]:
        """Compute a prompt, whose blocks stay in use until they are freed."""
        running = Request.from_engine_core_request(request, self._hasher)
        computed, found, _ = self.manager.get_computed_blocks(running)
        left = running.num_tokens - found
        assert self.manager.allocate_slots(running, left, found, computed) is not None
        running.num_computed_tokens = running.num_tokens
        return running, found

    def events(self) -> KVEventBatch:
        """What happened since the last time, as the scheduler publishes it."""
        return KVEventBatch(ts=0.0, events=self.manager.take_events())


class PublishedCache(VllmCache):
    """One whose events are published, as an EngineCore does."""

    def __init__(self, blocks: int, block_tokens: int) -> None:
        super().__init__(blocks, block_tokens)
        self._endpoint = f"ipc://@test-{uuid.uuid4().hex}"
        self._publisher = ZmqEventPublisher(0, self._endpoint)

    async def followed(self) -> KvEvents:
        """A follower, on the running loop, that misses nothing from now on."""
        config = KVEventsConfig(enable_kv_cache_events=True, endpoint=self._endpoint)
        events = KvEvents.of(config)
        assert events is not None
        while not events._socket.poll(20):  # what is published before that is lost
            self.publish()
        return events

    def run(self, request: EngineCoreRequest, outputs: Sequence[int] = ()) -> int:
        found = super().run(request, outputs)
        self.publish()
        return found

    def publish(self) -> None:
        """Say what happened since the last time, if only that nothing did."""
        self._publisher.publish(self.events())

    def close(self) -> None:
        self._publisher.shutdown()
