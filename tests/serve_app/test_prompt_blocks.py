"""A prompt's blocks against vLLM's own: its extra keys, its hashes, its cache and its events."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from vllm.lora.request import LoRARequest
from vllm.multimodal.inputs import MultiModalFeatureSpec, PlaceholderRange
from vllm.pooling_params import PoolingParams
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import (
    generate_block_hash_extra_keys,
    get_request_block_hasher,
    init_none_hash,
    to_event_extra_keys,
)
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.request import Request

from cluster.routing.block_hash import block_hashes
from cluster.routing.kv_stream import extra_names
from serve_app import resume
from serve_app.kv_events import KvEvents
from serve_app.prompt_blocks import prompt_blocks
from tests.serve_app.builders import request
from tests.serve_app.vllm_cache import VllmCache

BLOCK_TOKENS = 4


def made(prompt: list[int], **more: object) -> EngineCoreRequest:
    return msgspec.structs.replace(request("r", prompt=tuple(prompt)), **more)


def image(identifier: str, offset: int, length: int) -> MultiModalFeatureSpec:
    place = PlaceholderRange(offset=offset, length=length)
    return MultiModalFeatureSpec(None, "image", identifier, place)


@st.composite
def items(draw: st.DrawFn) -> list[MultiModalFeatureSpec] | None:
    """Items that follow each other, some at once, across the borders of blocks or not."""
    found, at = [], 0
    for _ in range(draw(st.integers(0, 4))):
        at += draw(st.integers(0, 6))
        length = draw(st.integers(1, 9))
        found.append(image(draw(st.sampled_from(["cat", "dog"])), at, length))
        at += length
    return found or None


loras = st.none() | st.builds(
    LoRARequest, st.sampled_from(["one", "two"]), st.just(1), st.just("/path")
)
requests = st.builds(
    made,
    st.lists(st.integers(0, 3), max_size=30),
    lora_request=loras,
    cache_salt=st.sampled_from([None, "", "tenant"]),
    mm_features=items(),
)


def vllms(asked: EngineCoreRequest) -> Request:
    init_none_hash(sha256)
    return Request.from_engine_core_request(asked, get_request_block_hasher(BLOCK_TOKENS, sha256))


def vllms_extra_keys(known: Request) -> Iterator[tuple | None]:
    """As `BlockPool.cache_full_blocks` has them for its events."""
    item = 0
    for start in range(0, known.num_tokens - BLOCK_TOKENS + 1, BLOCK_TOKENS):
        keys, item = generate_block_hash_extra_keys(known, start, start + BLOCK_TOKENS, item)
        (published,) = to_event_extra_keys([keys])
        yield published


@settings(max_examples=150, deadline=None)
@given(requests)
def test_every_block_is_named_by_its_tokens_and_the_extra_keys_that_vllm_publishes(asked):
    extras = [extra_names(keys) for keys in vllms_extra_keys(vllms(asked))]
    assert prompt_blocks(asked, BLOCK_TOKENS) == block_hashes(
        asked.prompt_token_ids, BLOCK_TOKENS, extras
    )


@settings(max_examples=150, deadline=None)
@given(requests, requests)
def test_two_prompts_share_the_blocks_that_vllm_shares(one, other):
    """Names and hashes are equal together. (vLLM tells a LoRA from a salt of its name, which its
    events do not: here no two have one name.)"""
    ours = zip(prompt_blocks(one, BLOCK_TOKENS), prompt_blocks(other, BLOCK_TOKENS), strict=False)
    theirs = zip(vllms(one).block_hashes, vllms(other).block_hashes, strict=False)
    assert [a == b for a, b in ours] == [a == b for a, b in theirs]


@settings(max_examples=50, deadline=None)
@given(requests, st.lists(st.integers(0, 3), max_size=10))
def test_emitted_tokens_go_on_as_outputs_do_in_vllm(asked, emitted):
    known = vllms(asked)
    known.append_output_token_ids(emitted)
    named = prompt_blocks(asked, BLOCK_TOKENS, emitted)
    assert len(named) == len(known.block_hashes)
    extras = [extra_names(keys) for keys in vllms_extra_keys(known)]
    assert named == block_hashes([*asked.prompt_token_ids, *emitted], BLOCK_TOKENS, extras)


@pytest.mark.parametrize(
    "unread",
    [
        pytest.param({"prompt_token_ids": None, "prompt_embeds": torch.zeros(8, 2)}, id="embeds"),
        pytest.param({"prompt_embeds": torch.zeros(8, 2)}, id="embeds among the tokens"),
        pytest.param(
            {"sampling_params": request(prompt_logprobs=1).sampling_params}, id="prompt logprobs"
        ),
        pytest.param(
            {
                "sampling_params": None,
                "pooling_params": PoolingParams(task="embed", skip_reading_prefix_cache=True),
            },
            id="pooling every token",
        ),
    ],
)
def test_what_finds_nothing_in_the_cache_has_no_blocks(unread):
    asked = made(list(range(8)), **unread)
    assert prompt_blocks(asked, BLOCK_TOKENS) == []
    if asked.prompt_embeds is None:  # embeddings may be found, but only by the engine's digests
        assert vllms(asked).skip_reading_prefix_cache


# A real cache of vLLM's, and the events that it publishes


class Followed:
    """A cache and what is known of it. Events are encoded and decoded as on their way."""

    def __init__(self, blocks: int) -> None:
        self.cache = VllmCache(blocks, BLOCK_TOKENS)
        self._events = KvEvents("ipc://@nobody-publishes-here")
        self._events.follow(BLOCK_TOKENS)
        self._sent = 0

    def held(self) -> frozenset[int]:
        """What is known to be in the cache."""
        self._events._apply(self._sent, msgspec.msgpack.encode(self.cache.events()))
        self._sent += 1
        return frozenset(self._events.snapshot().blocks)

    def leading(self, asked: EngineCoreRequest) -> int:
        self.held()
        return self._events.cached_blocks(prompt_blocks(asked, BLOCK_TOKENS))

    @property
    def left_out(self) -> int:
        return self._events._blocks.left_out

    def close(self) -> None:
        self._events.close()


def following(blocks: int, check) -> None:
    async def run() -> None:
        followed = Followed(blocks)
        try:
            check(followed)
        finally:
            followed.close()

    asyncio.run(run())


def full_prompts(count: int) -> st.SearchStrategy:
    return st.lists(
        requests.filter(lambda asked: len(asked.prompt_token_ids) > 0),
        min_size=1,
        max_size=count,
    )


@settings(max_examples=60, deadline=None)
@given(full_prompts(6))
def test_with_room_for_all_what_is_held_is_what_was_asked(asked):
    def check(followed):
        expected = set()
        for each in asked:
            followed.cache.run(each)
            expected |= set(prompt_blocks(each, BLOCK_TOKENS))
            assert followed.held() == expected
        assert followed.left_out == 0

    following(1000, check)


@settings(max_examples=60, deadline=None)
@given(full_prompts(15))
def test_as_blocks_are_evicted_vllm_finds_what_is_held(asked):
    """12 blocks, prompts of up to 7: before each prompt, what is predicted is what vLLM finds."""

    def check(followed):
        for each in asked:
            most = (len(each.prompt_token_ids) - 1) // BLOCK_TOKENS  # never the last token
            predicted = min(followed.leading(each), most) * BLOCK_TOKENS
            assert followed.cache.run(each) == predicted
            assert len(followed.held()) <= 12

    following(12, check)


def test_outputs_are_cached_too():
    def check(followed):
        asked = made([1, 2, 3, 4, 5])
        followed.cache.run(asked, outputs=[6, 7, 8, 9])
        assert followed.held() == set(prompt_blocks(asked, BLOCK_TOKENS, [6, 7, 8, 9]))
        assert len(followed.held()) == 2

    following(10, check)


def test_a_reset_empties_it():
    def check(followed):
        followed.cache.run(made([1, 2, 3, 4]))
        assert followed.held()
        assert followed.cache.manager.reset_prefix_cache()
        assert not followed.held()

    following(10, check)


def test_two_copies_of_a_block_are_gone_when_both_are():
    """Two requests that compute the same prompt at the same time have a copy each."""

    def check(followed):
        asked = made([1, 2, 3, 4, 5, 6, 7, 8])
        running, _ = followed.cache.start(asked)
        twin, found = followed.cache.start(msgspec.structs.replace(asked, request_id="twin"))
        assert found == BLOCK_TOKENS  # so the second block is there twice
        followed.cache.manager.free(twin)
        followed.cache.manager.free(running)
        assert followed.held() == set(prompt_blocks(asked, BLOCK_TOKENS))
        for start in range(100, 112, 4):  # takes each block once
            followed.cache.run(made(list(range(start, start + 4))))
        assert followed.held().isdisjoint(prompt_blocks(asked, BLOCK_TOKENS))

    following(3, check)


def test_a_client_cannot_have_vllm_tell_of_a_block_as_if_of_another_copy():
    """`kv_cache_report_mode` does that: the block would count as held when its only copy is gone.
    If vLLM's name for it changes, the first assertion fails."""
    reporting = {resume.CACHE_REPORT_KEY: "full"}
    asked = request("r", prompt=tuple(range(8)), extra_args=reporting)
    assert vllms(asked).kv_cache_report_mode == "full"
    resume.drop_reserved(asked)
    assert vllms(asked).kv_cache_report_mode == "incremental"
    assert not resume.traits(asked).stateful_sampling
