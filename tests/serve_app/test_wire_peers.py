"""Who is let in on the wire, and what the others can do: nothing. Over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.failover import FailReason
from serve_app import link, wire, wire_security
from serve_app.engine_address import EngineAddress
from serve_app.wire import WIRE_VERSION, Hello, Kind, pack
from serve_app.wire_security import KeyPair, KnownSwitches, WireKeys
from tests.serve_app.builders import KEYS, SECRET, request
from tests.serve_app.fake_core import HostThread, continuation
from tests.serve_app.messages import VALID, damaged
from tests.serve_app.peers import Peer, said_to
from tests.serve_app.switch_fleet import PROMPT, Fleet, with_a_stream
from tests.waiting import until

HELLO = pack(Kind.HELLO, Hello(WIRE_VERSION, "stranger"))
OLD, NEW = "the secret until now, 32 characters", "the secret from now on, 32 characters"


@pytest.fixture
def fleet_with():
    """Makes fleets whose switch knows these secrets; they are closed at the end."""
    with contextlib.ExitStack() as made:

        def fleet_with(*secrets: str) -> Fleet:
            fleet = Fleet(WireKeys.of(secrets))
            made.callback(fleet.close)
            return fleet

        yield fleet_with


@pytest.fixture
def fleet(fleet_with):
    return fleet_with(SECRET)


def goes_on(fleet: Fleet, host: HostThread) -> None:
    """The stream that stood still on `host` ends there, unmoved."""
    host.call(lambda: host.core.allow(None))
    fleet.front.read_until_finished("r")
    assert fleet.front.tokens["r"] == continuation(PROMPT, 20)
    assert fleet.switch.snapshot()["flights"]["moved"] == 0


# Strangers


def same(address: EngineAddress) -> EngineAddress:
    return address


def other_host(address: EngineAddress) -> EngineAddress:
    """The same place, taken for another host's."""
    return EngineAddress(address.endpoint, KeyPair.fresh().public.decode())


@pytest.mark.parametrize(
    ("keys", "address", "reasons"),
    [
        # Which it is depends on whose end notices first.
        pytest.param(None, same, ("does not speak CURVE", "hung up"), id="no key"),
        pytest.param(KeyPair.fresh(), same, ("does not accept",), id="another secret"),
        pytest.param(KEYS.own, other_host, ("hung up",), id="another host's key"),
        pytest.param(KeyPair.fresh(), other_host, ("hung up",), id="no right key"),
    ],
)
def test_a_stranger_hears_nothing_and_disturbs_nobody(fleet, keys, address, reasons):
    host = with_a_stream(fleet, "a")
    with Peer(address(host.address), keys) as stranger:
        stranger.send(HELLO)
        refusal = stranger.refusal()
        assert any(reason in refusal for reason in reasons)
        assert stranger.heard_nothing()
    goes_on(fleet, host)
    assert fleet.row()["bad_messages_received"] == 0


GREETING = b"\xff" + bytes(8) + b"\x7f"  # of every ZMTP since 2.0
NULL_3 = GREETING + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
CURVE_3 = GREETING + b"\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)
OF_GREETING_BYTES = 64


@pytest.mark.parametrize(
    "words",
    [
        pytest.param([b"GET / HTTP/1.1\r\nHost: engine\r\n\r\n"], id="HTTP"),
        pytest.param([bytes(range(256)) * 300], id="noise"),
        pytest.param([b"\x01\x00", b"\x02\x01H\x03\x00\x92\x02"], id="ZMTP 1.0"),
        pytest.param([GREETING + b"\x01\x05", b"\0\0", b"\x01\x01H\0\x02\x92\x02"], id="ZMTP 2.0"),
        pytest.param([NULL_3, b"\x04\x06\x05READY"], id="ZMTP 3.0 without a mechanism"),
        pytest.param([CURVE_3, b"\x04\x06\x05READY"], id="CURVE without its HELLO"),
        pytest.param([CURVE_3, b"\x04\xc8\x05HELLO" + bytes(194)], id="CURVE with an empty box"),
        pytest.param([CURVE_3, b"\x06" + b"\x7f" + b"\xff" * 7], id="a command without end"),
    ],
)  # fmt: skip
def test_who_speaks_something_else_is_hung_up_on(fleet, words):
    host = with_a_stream(fleet, "a")
    heard = said_to(host.address.endpoint, *words)
    assert len(heard) <= OF_GREETING_BYTES
    goes_on(fleet, host)


def test_who_says_nothing_is_hung_up_on_in_time(fleet, monkeypatch):
    monkeypatch.setattr(wire_security, "HANDSHAKE_TIMEOUT_S", 0.2)
    host = with_a_stream(fleet, "a")
    for silence in ([], [CURVE_3], [CURVE_3, b"\x04\xc8\x05HELLO"]):
        started_s = time.monotonic()
        said_to(host.address.endpoint, *silence)
        assert time.monotonic() - started_s < 2.0
    goes_on(fleet, host)  # it has been connected for longer than that


def test_a_host_whose_doorkeeper_is_gone_lets_nobody_in(fleet):
    host = with_a_stream(fleet, "a")
    host.call(host.host._socket._authenticator.stop)
    with Peer(host.address, KEYS.own) as late:
        late.send(HELLO)
        assert late.refusal() is not None
        assert late.heard_nothing()
    goes_on(fleet, host)


# The right keys


@pytest.mark.parametrize(
    ("at_the_engine", "at_the_gateway"),
    [
        pytest.param([OLD, NEW], [OLD], id="engine first"),
        pytest.param([OLD], [OLD, NEW], id="gateway first"),
        pytest.param([OLD, NEW], [NEW, OLD], id="the second roll, gateway first"),
        pytest.param([NEW, OLD], [OLD, NEW], id="the second roll, engine first"),
        pytest.param([NEW], [NEW, OLD], id="the old one is given up at the engine"),
        pytest.param([NEW, OLD], [NEW], id="the old one is given up at the gateway"),
    ],
)
def test_a_secret_is_changed_without_a_break(fleet_with, at_the_engine, at_the_gateway):
    fleet = fleet_with(*at_the_gateway)
    fleet.start("a", keys=WireKeys.of(at_the_engine))
    fleet.attach()
    fleet.front.add(request("r", max_tokens=20))
    fleet.front.read_until_finished("r")
    assert fleet.front.tokens["r"] == continuation(PROMPT, 20)


def test_a_refused_switch_says_so_once_and_tries_on_without_haste(fleet_with, monkeypatch, caplog):
    monkeypatch.setattr(link, "REFUSED_AGAIN_AFTER_S", 0.4)
    asked_at_s: list[float] = []
    known = KnownSwitches.callback

    def callback(self, domain, key):
        asked_at_s.append(time.monotonic())
        return known(self, domain, key)

    monkeypatch.setattr(KnownSwitches, "callback", callback)
    fleet = fleet_with(OLD)
    fleet.start("a", keys=WireKeys.of([NEW]))
    until(lambda: len(asked_at_s) >= 3)
    assert all(later - sooner > 0.35 for sooner, later in itertools.pairwise(asked_at_s))
    (told,) = [record.message for record in caplog.records if "handshake" in record.message]
    assert "does not accept this gateway's wire secret" in told
    assert fleet.row()["state"] == "refused"
    assert fleet.switch.ready_engines() == 0


def test_an_engine_with_another_key_at_the_same_place_is_another_engine(fleet):
    fleet.start("a")
    host = fleet.hosts["a"]
    until(lambda: fleet.switch.ready_engines() == 1)
    fleet.switch.set_members({"a": other_host(host.address)})
    until(lambda: fleet.row()["state"] == "refused")
    fleet.announce()
    until(lambda: fleet.row()["state"] == "ready")


def test_a_secret_key_is_not_shown():
    keys = WireKeys.of([OLD])
    assert keys.own.secret.decode() not in repr(keys)
    assert keys.own.public.decode() in repr(keys)


def test_every_secret_has_keys_of_its_own_that_never_change():
    assert WireKeys.of([OLD]) == WireKeys.of([OLD])
    assert WireKeys.of([OLD, NEW]).own == WireKeys.of([OLD]).own != WireKeys.of([NEW]).own
    assert WireKeys.of([OLD, NEW]).accepted == WireKeys.of([NEW, OLD]).accepted
    # Switches and hosts of different releases must agree.
    assert WireKeys.of([OLD]).own.public == b"XK)kkSp9fT{N2!hS3SBj@dWcXG6Q-I4}#e81cBJ?"


# Peers with the right key that break the protocol


@pytest.mark.parametrize(
    "message",
    [
        pytest.param([b"?", b"x"], id="unknown kind"),
        pytest.param([b"A", b"\xc1"], id="no msgpack"),
        pytest.param([b"A"], id="no body"),
        pytest.param(pack(Kind.HELLO, Hello(99, "x")), id="another wire version"),
        pytest.param([b"X", b"\x91\x91\xa1r"], id="abort before hello"),
    ],
)
def test_a_malformed_peer_is_dropped_and_disturbs_nobody(fleet, message):
    host = with_a_stream(fleet, "a")
    with Peer(host.address, KEYS.own) as peer:
        peer.send(message)
        until(lambda: fleet.row()["bad_messages_received"] == 1)
        assert peer.heard_nothing()
    goes_on(fleet, host)


def test_a_dropped_peer_is_told_and_heard_no_more(fleet, caplog):
    host = with_a_stream(fleet, "a")
    with Peer(host.address, KEYS.own) as peer, Peer(host.address, KEYS.own) as other:
        peer.hello()
        for _ in range(3):
            peer.send([b"?", b"x"])
        assert "unknown message kind b'?'" in peer.farewell()
        peer.send(HELLO)
        other.hello()
        assert other.call(1) == ["generate"]
        assert peer.heard_nothing()
    until(lambda: fleet.row()["bad_messages_received"] == 1)
    assert len([r for r in caplog.records if "a switch sent a bad message" in r.message]) == 1
    goes_on(fleet, host)


def test_what_the_core_cannot_take_drops_its_switch_which_comes_back(fleet, monkeypatch):
    fleet.start("a")
    fleet.attach()
    core = fleet.hosts["a"].core
    add, refused = core.add_request_async, []

    async def refuse_once(request):
        if not refused:
            refused.append(request)
            raise TypeError("what is this?")
        await add(request)

    monkeypatch.setattr(core, "add_request_async", refuse_once)
    fleet.front.add(request("r", max_tokens=20))
    fleet.front.read_until_finished("r")
    assert fleet.front.tokens["r"] == continuation(PROMPT, 20)
    assert fleet.switch.snapshot()["flights"]["moved"] == 1


@pytest.fixture
def small_frames(monkeypatch) -> int:
    """Hosts and peers of this test allow frames of so many bytes only."""
    for module in (wire, wire_security):
        monkeypatch.setattr(module, "MAX_FRAME_BYTES", 10_000)
    return 10_000


def test_a_frame_that_is_too_large_is_counted_and_drops_its_sender_only(fleet, small_frames):
    host = with_a_stream(fleet, "a")
    with Peer(host.address, KEYS.own) as peer:
        peer.hello()
        peer.send([b"U", bytes(small_frames + 1)])
        assert "at most 10000 are allowed" in peer.farewell()
    until(lambda: fleet.row()["bad_messages_received"] == 1)
    goes_on(fleet, host)


def test_a_request_that_is_too_large_is_failed_by_its_sender_and_nobody_else_is(
    fleet, small_frames
):
    host = with_a_stream(fleet, "a")
    fleet.front.add(request("large", prompt=tuple(range(small_frames))))
    fleet.front.read_until_finished("large")
    failure = fleet.switch.failure_of("external-large")
    assert failure.reason is FailReason.TOO_LARGE
    assert failure.is_callers
    assert "over 536,870,912 bytes, once processed" in failure.message
    assert [each.request_id[0] for each in host.core.added] == ["r"]
    goes_on(fleet, host)
    assert fleet.row()["bad_messages_received"] == 0


def test_one_that_is_far_too_large_ends_its_sender_s_connection_unread(fleet, small_frames):
    host = with_a_stream(fleet, "a")
    with Peer(host.address, KEYS.own) as peer:
        peer.hello()
        peer.send([b"U", bytes(2 * small_frames)])
        assert peer.refusal() is None  # the handshake was good: it was disconnected
    goes_on(fleet, host)
    assert fleet.row()["bad_messages_received"] == 0


def test_a_large_frame_passes_below_the_limit(fleet, small_frames):
    fleet.start("a")
    with Peer(fleet.hosts["a"].address, KEYS.own) as peer:
        peer.hello()
        peer.send([*pack(Kind.HELLO, Hello(WIRE_VERSION, "peer")), bytes(small_frames)])
        peer.receive(Kind.READY)


def test_an_engine_that_breaks_the_protocol_is_dropped_counted_and_tried_again(fleet):
    fleet.start("bad")
    until(lambda: fleet.switch.ready_engines() == 1)
    bad = fleet.hosts["bad"]
    fleet.start("a", steps_allowed=0)
    until(lambda: fleet.switch.ready_engines() == 2)
    (switch,) = bad.host._switches
    sending = bad.host._send(switch, [b"S", b"\xc1"])
    asyncio.run_coroutine_threadsafe(sending, bad._loop).result(5)
    until(lambda: fleet.row("bad")["bad_messages_sent"] == 1)
    until(lambda: fleet.switch.ready_engines() == 2)
    assert fleet.row("a")["bad_messages_sent"] == 0


@pytest.fixture(scope="module")
def careless_host():
    """A host whose core takes any request, and does nothing about it."""

    async def ignore(request):
        pass

    host = HostThread("careless")
    host.core.add_request_async = ignore
    yield host
    host.close()


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_one_peer_sends_the_others_are_served(careless_host, data):
    messages = data.draw(st.lists(st.sampled_from(VALID).flatmap(damaged), min_size=1, max_size=4))
    with (
        Peer(careless_host.address, KEYS.own) as peer,
        Peer(careless_host.address, KEYS.own) as other,
    ):
        other.hello()
        peer.hello()
        for message in messages:
            peer.send(message)
        assert peer.call(2**40) in (["generate"], None)  # served, or told goodbye
        assert other.call(1) == ["generate"]
    assert careless_host.host.failure is None
