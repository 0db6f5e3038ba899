"""What engines say of their caches and their load, over real sockets, from vLLM's own cache."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from vllm.v1.engine import EngineCoreRequest

from cluster.routing.predicted_cost import PredictedCost
from serve_app.prompt_blocks import prompt_blocks
from serve_app.scaling_stats import engine_signals
from serve_app.wire import Kind, KvAsk, RequestCodec, pack
from serve_app.wire_cache import KvAll, KvBatch, cache_news
from tests.serve_app.builders import KEYS, request
from tests.serve_app.fake_core import HostThread
from tests.serve_app.peers import Peer
from tests.serve_app.switch_fleet import Fleet
from tests.waiting import until

BLOCK_TOKENS = 4
PROMPT = tuple(range(100, 141))
BLOCKS = len(PROMPT) // BLOCK_TOKENS
CACHING = {"block_tokens": BLOCK_TOKENS, "cache_blocks": 1000}


@pytest.fixture
def fleet():
    fleet = Fleet()
    yield fleet
    fleet.close()


def asked(request_id: str = "r", prompt: tuple[int, ...] = PROMPT) -> EngineCoreRequest:
    return request(request_id, prompt=prompt, max_tokens=1)


def cached_tokens(fleet: Fleet, prompt: tuple[int, ...] = PROMPT) -> dict[str, int]:
    """What each engine would find of a prompt, as its switch sees it."""
    found = fleet.switch.explain(asked("explained", prompt))
    return {engine["replica_id"]: engine["cached_tokens"] for engine in found["engines"]}


def run(fleet: Fleet, request_id: str = "r", prompt: tuple[int, ...] = PROMPT) -> None:
    fleet.front.add(asked(request_id, prompt))
    fleet.front.read_until_finished(request_id)


def knows(fleet: Fleet, engine_id: str, tokens: int, prompt: tuple[int, ...] = PROMPT) -> None:
    """Wait until a switch knows that so much of a prompt is held."""
    until(lambda: cached_tokens(fleet, prompt)[engine_id] == tokens)


def test_a_switch_that_joins_is_given_the_engine_s_word_then_all_that_is_held(fleet):
    fleet.start("a", **CACHING)
    host = fleet.hosts["a"]
    fleet.attach()
    run(fleet)
    knows(fleet, "a", BLOCKS * BLOCK_TOKENS)
    with Peer(host.address, KEYS.own) as late:
        late.hello()
        held = cache_news(late.receive(Kind.KV, Kind.KV_ALL))
        assert set(held.blocks) == set(prompt_blocks(asked(), BLOCK_TOKENS))
        run(fleet, "r2", (1, 2, 3, 4))
        change = cache_news(late.receive(Kind.KV, Kind.KV_ALL))
        assert change.sequence == held.sequence + 1
        assert change.stored == tuple(prompt_blocks(asked(prompt=(1, 2, 3, 4)), BLOCK_TOKENS))


def test_what_changes_reaches_every_switch(fleet):
    fleet.start("a", **CACHING)
    fleet.attach()
    other = Fleet()
    other.hosts = fleet.hosts
    other.announce()
    until(lambda: other.switch.ready_engines() == 1)
    run(fleet)
    knows(fleet, "a", BLOCKS * BLOCK_TOKENS)
    knows(other, "a", BLOCKS * BLOCK_TOKENS)
    cache = fleet.hosts["a"].cache
    assert cache.manager.reset_prefix_cache()
    cache.publish()
    knows(fleet, "a", 0)
    knows(other, "a", 0)
    other.switch.stop()
    other.front.close()


def test_a_batch_that_is_missing_is_made_up_for(fleet, monkeypatch):
    fleet.start("a", **CACHING)
    fleet.attach()
    host = fleet.hosts["a"]
    send, dropped = host.host._send, []

    async def drop_the_first_batch(switch, frames):
        if frames[0] == Kind.KV.value and not dropped:
            dropped.append(frames)
            return
        await send(switch, frames)

    monkeypatch.setattr(host.host, "_send", drop_the_first_batch)
    run(fleet)
    until(lambda: dropped)
    run(fleet, "r2", (1, 2, 3, 4))
    knows(fleet, "a", BLOCKS * BLOCK_TOKENS)
    knows(fleet, "a", 0, (5, 6, 7, 8))


def test_a_peer_may_ask_for_all_at_any_time(fleet):
    fleet.start("a", **CACHING)
    with Peer(fleet.hosts["a"].address, KEYS.own) as peer:
        peer.hello()
        peer.send(pack(Kind.KV_ASK, KvAsk()))
        held = [cache_news(peer.receive(Kind.KV_ALL)) for _ in range(2)]
        assert held[0] == held[1]


def test_an_engine_without_a_cache_says_nothing_of_it(fleet):
    fleet.start("a")
    until(lambda: fleet.switch.ready_engines() == 1)
    with Peer(fleet.hosts["a"].address, KEYS.own) as peer:
        peer.hello()
        peer.send(pack(Kind.KV_ASK, KvAsk()))
        assert peer.call(1) == ["generate"]
    assert cached_tokens(fleet) == {"a": 0}


def test_evicted_blocks_are_forgotten(fleet):
    fleet.start("a", block_tokens=BLOCK_TOKENS, cache_blocks=BLOCKS + 1)
    fleet.attach()
    run(fleet)
    knows(fleet, "a", BLOCKS * BLOCK_TOKENS)
    run(fleet, "r2", tuple(range(500, 500 + len(PROMPT))))
    knows(fleet, "a", 0)


def test_a_lost_engine_s_cache_is_forgotten_and_told_anew(fleet):
    fleet.start("a", "b", **CACHING)
    until(lambda: fleet.switch.ready_engines() == 2)
    fleet.attach()
    run(fleet)
    (holder,) = [each for each in fleet.hosts.values() if each.core.added]
    knows(fleet, holder.engine_id, BLOCKS * BLOCK_TOKENS)
    lost = fleet.hosts.pop(holder.engine_id)
    lost.close()
    until(lambda: fleet.switch.ready_engines() == 1)
    assert cached_tokens(fleet) == dict.fromkeys(fleet.hosts, 0)
    fleet.start(lost.engine_id, **CACHING)  # its process started anew, with nothing
    until(lambda: fleet.switch.ready_engines() == 2)
    assert cached_tokens(fleet) == {"a": 0, "b": 0}


def test_a_request_just_routed_counts_as_held(fleet):
    fleet.start("a", steps_allowed=0, **CACHING)
    fleet.attach()
    fleet.front.add(asked())
    until(lambda: fleet.hosts["a"].core.added)
    assert cached_tokens(fleet) == {"a": BLOCKS * BLOCK_TOKENS}
    fleet.front.abort("r")
    knows(fleet, "a", 0)


# What drops an engine, and that engine alone


def serves(fleet: Fleet, engine_id: str) -> None:
    """It is the one engine that takes requests."""
    fleet.front.add(asked("after"))
    fleet.front.read_until_finished("after")
    assert fleet.hosts[engine_id].core.added


def test_an_engine_without_a_block_size_is_dropped_alone(fleet):
    fleet.start("bad", block_tokens=0)
    fleet.start("a")
    until(lambda: fleet.row("bad")["bad_messages_sent"] >= 1)
    fleet.attach()
    assert fleet.switch.ready_engines() == 1
    serves(fleet, "a")
    assert fleet.row("a")["bad_messages_sent"] == 0


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(pack(Kind.KV, KvBatch(1, b"123", b"", False)), id="stored"),
        pytest.param(pack(Kind.KV, KvBatch(1, b"", b"12345678x", False)), id="removed"),
        pytest.param(pack(Kind.KV_ALL, KvAll(1, b"x")), id="all"),
        pytest.param([b"k", b"\x91\x01"], id="no blocks at all"),
        pytest.param(pack(Kind.KV_ASK, KvAsk()), id="what only a switch asks"),
    ],
)
def test_an_engine_that_says_nonsense_of_its_cache_is_dropped_alone(fleet, message):
    fleet.start("bad", "a")
    until(lambda: fleet.switch.ready_engines() == 2)
    bad = fleet.hosts["bad"]
    (switch,) = bad.host._switches
    sending = bad.host._send(switch, message)
    asyncio.run_coroutine_threadsafe(sending, bad._loop).result(5)
    until(lambda: fleet.row("bad")["bad_messages_sent"] == 1)
    until(lambda: fleet.switch.ready_engines() == 2)  # it is tried again
    assert fleet.row("a")["bad_messages_sent"] == 0


# Load


def test_each_switch_is_told_how_many_of_its_own_requests_have_arrived(fleet):
    fleet.start("a", steps_allowed=0, block_tokens=BLOCK_TOKENS)
    host = fleet.hosts["a"]
    with Peer(host.address, KEYS.own) as one, Peer(host.address, KEYS.own) as other:
        for peer in (one, other):
            peer.hello()
        for request_id in ("r1", "r2"):
            one.send(RequestCodec().encode(asked(request_id)))
        one.send(RequestCodec().encode(asked("r2", (1, 2))))  # more of its input
        other.send(RequestCodec().encode(asked("r3")))
        until(lambda: one.load().received == 2)
        until(lambda: other.load().received == 1)
        report = other.load()
        assert report.queued_prefill_tokens == 3 * len(PROMPT) + 2
        assert report.decode_requests == 0
        assert one.load().received == 2


def test_what_is_held_need_not_be_prefilled(fleet):
    fleet.start("a", **CACHING)
    fleet.attach()
    run(fleet)
    knows(fleet, "a", BLOCKS * BLOCK_TOKENS)
    host = fleet.hosts["a"]
    host.call(lambda: setattr(host.core, "_allowed", 0))
    with Peer(host.address, KEYS.own) as peer:
        peer.hello()
        peer.send(RequestCodec().encode(asked("again")))
        expected = len(PROMPT) - BLOCKS * BLOCK_TOKENS
        until(lambda: peer.load().queued_prefill_tokens == expected)


def test_prompts_that_share_blocks_go_where_they_are_held():
    """With step costs as engines report them, the default policy follows the cache, whichever
    gateway filled it."""
    fleet = Fleet(router=PredictedCost())
    try:
        fleet.start("a", "b", "c", **CACHING)
        until(lambda: fleet.switch.ready_engines() == 3)
        fleet.attach()
        for host in fleet.hosts.values():
            slow_prefill(host)
        until(
            lambda: all(
                each["predicted_ttft_s"] for each in fleet.switch.explain(asked())["engines"]
            )
        )
        for index, engine_id in enumerate("bca"):
            prompt = tuple(range(1000 * index, 1000 * index + 100))
            with Peer(fleet.hosts[engine_id].address, KEYS.own) as other_gateway:
                other_gateway.hello()
                other_gateway.send(RequestCodec().encode(asked("others", prompt)))
                knows(fleet, engine_id, 24 * BLOCK_TOKENS, prompt)
            explained = fleet.switch.explain(asked("mine", prompt))
            assert explained["winner"] == engine_id
            assert explained["reason"] in ("cached", "least_cost")  # the latter: even without
            run(fleet, f"mine {engine_id}", (*prompt[:-2], 7, 7))
            sent = [host.engine_id for host in fleet.hosts.values() if len(host.core.added) == 2]
            assert engine_id in sent
    finally:
        fleet.close()


def slow_prefill(host: HostThread) -> None:
    """Have an engine say what it learnt of its steps: 10 ms, and 10 ms for each prompt token."""
    load = host.host._meter.load

    def learnt(**said):
        return msgspec.structs.replace(load(**said), step_cost=(0.01, 0.01, 1e-4))

    host.call(lambda: setattr(host.host._meter, "load", learnt))


def test_the_scaler_is_told_how_many_blocks_an_engine_holds_and_what_it_has_to_do(fleet):
    fleet.start("a", **CACHING)
    host = fleet.hosts["a"]
    fleet.attach()
    run(fleet)
    knows(fleet, "a", BLOCKS * BLOCK_TOKENS)
    idle = engine_signals("a", host.await_there(host.host.scaling_stats()))
    assert (idle.cached_blocks, idle.running_requests) == (BLOCKS, 0)
    host.call(lambda: host.core.allow(0))
    fleet.front.add(asked("waits", tuple(range(500, 541))))
    until(lambda: host.core.running)
    busy = engine_signals("a", host.await_there(host.host.scaling_stats()))
    assert busy.queued_prefill_tokens == len(PROMPT)
