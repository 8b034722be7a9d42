"""The rules on receipt in their order, each with its counter and its answer (harp.md §3)."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from harp.engine import events as ev
from harp.engine.config import EngineConfig, Key, Protection, Security, SwitchMode
from harp.engine.effects import Dropped, Log, Role, SendPacket, SendParameterProblem
from harp.engine.engine import Engine
from harp.tables.harp_types import HarpType, Status
from harp.tables.mh import NEXT_HEADER, BuFlag
from harp.tables.reasons import Reason
from harp.wire.checksum import checksum
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.icmpv6 import build_icmpv6
from harp.wire.messages import (
    AddressKind,
    BindingAcknowledgement,
    BindingError,
    BindingUpdate,
    DhaadReply,
    DhaadRequest,
    Harp,
    IpAddress,
    SyncPosition,
)

from .group_net import (
    FLAG_A,
    FLAG_R,
    GROUP,
    MULTICAST,
    UNIX_US,
    VIRTUAL,
    S,
    address,
    care_of,
    config,
    hello,
    home,
    of,
    packet,
    sent,
)

ME, PEER = address(0), address(1)
STRANGER = bytes.fromhex("20010db8999900000000000000000001")
KEY = Key(300, bytes(16))


def engine(*configs: Any, **changes: Any) -> Engine:
    made = Engine(EngineConfig(configs or (config(0, **changes),)), Random(1), UNIX_US)
    made.start(0)
    return made


def reason(effects: list[Any]) -> Reason:
    (dropped,) = of(Dropped, effects)
    return dropped.reason


def raw(octets: bytes, source: bytes = PEER, to: bytes = ME) -> ev.PacketReceived:
    """A Mobility Header with its checksum put right."""
    mh = bytearray(octets)
    mh[4:6] = bytes(2)
    mh[4:6] = checksum(source, to, mh, NEXT_HEADER).to_bytes(2, "big")
    return ev.PacketReceived(source, to, bytes(mh))


def good(**changes: Any) -> ev.PacketReceived:
    return replace(packet(hello(), PEER), **changes)


BROKEN = good()
CASES: list[tuple[Reason, ev.PacketReceived]] = [
    (Reason.TRUNCATED, good(cut=True)),
    (Reason.TRUNCATED, good(payload=b"1234567")),
    (Reason.BAD_LENGTH, good(payload=BROKEN.payload[:-8])),
    (Reason.BAD_CHECKSUM, good(payload=BROKEN.payload[:-1] + b"\xff")),
    (Reason.UNKNOWN_TYPE, raw(bytes((59, 0, 200, 0, 0, 0, 0, 0)))),
    (Reason.BAD_PAYLOAD_PROTO, raw(bytes((6, 2)) + BROKEN.payload[2:24])),
    (Reason.BAD_LENGTH, raw(bytes((59, 1)) + BROKEN.payload[2:16])),
    (Reason.UNKNOWN_HARP_TYPE, raw(BROKEN.payload[:6] + b"\x63" + BROKEN.payload[7:24])),
    (Reason.BAD_HOP_LIMIT, good(hop_limit=254)),
    (Reason.BAD_HOP_LIMIT, replace(packet(replace(hello(), group=9), PEER), hop_limit=1)),
    (Reason.NOT_A_PEER, packet(hello(), STRANGER)),
    (Reason.NOT_A_PEER, packet(hello(), ME)),
    (Reason.WRONG_GROUP, packet(replace(hello(), group=9), PEER)),
    (Reason.UNEXPECTED, packet(Harp(HarpType.SW_COMP, GROUP, 1), PEER, ME)),
    (
        Reason.UNEXPECTED,
        packet(
            Harp(HarpType.REKEY, GROUP, 1, options=(IpAddress(AddressKind.HOME_AGENT, PEER),)),
            PEER,
            ME,
        ),
    ),
]


@pytest.mark.parametrize(("wanted", "event"), CASES)
def test_each_rule_drops_and_counts(wanted: Reason, event: ev.PacketReceived) -> None:
    receiver = engine()
    assert reason(receiver.receive(event, S)) is wanted
    counters = receiver.reception.counters + receiver.groups[GROUP].counters
    assert counters == {wanted: 1}


def test_a_valid_hello_passes_and_its_repetition_is_a_replay() -> None:
    receiver = engine()
    assert of(ev.PeerUp, receiver.receive(good(), S))
    assert reason(receiver.receive(good(), S)) is Reason.REPLAY


def test_hop_limit_is_not_demanded_of_members_apart() -> None:
    receiver = engine(require_hop_limit=False)
    assert of(ev.PeerUp, receiver.receive(good(hop_limit=3), S))


# Answers (RFC 6275 §9.2)


def test_unknown_types_get_a_binding_error() -> None:
    event = CASES[4][1]
    (error,) = of(SendPacket, engine().receive(event, S))
    assert (error.source, error.destination) == (ME, PEER)
    assert DEFAULT_CODEC.parse(ME, PEER, error.payload) == BindingError(2, bytes(16))
    through_home = replace(event, care_of=care_of(1))
    (error,) = of(SendPacket, engine().receive(through_home, S))
    assert DEFAULT_CODEC.parse(ME, care_of(1), error.payload) == BindingError(2, PEER)
    to_all = raw(bytes((59, 0, 200, 0, 0, 0, 0, 0)), to=MULTICAST)
    assert not of(SendPacket, engine().receive(to_all, S))


@pytest.mark.parametrize(("case", "pointer"), [(5, 0), (6, 1)])
def test_wrong_heads_get_a_parameter_problem_now_and_then(case: int, pointer: int) -> None:
    event = CASES[case][1]
    receiver = engine()
    (problem,) = of(SendParameterProblem, receiver.receive(event, S))
    assert problem == SendParameterProblem(ME, PEER, event.payload, pointer)
    assert not of(SendParameterProblem, receiver.receive(event, S + 1))
    assert of(SendParameterProblem, receiver.receive(event, 2 * S))


def test_no_problem_is_told_before_a_right_checksum_or_to_multicast() -> None:
    receiver = engine()
    assert not of(SendParameterProblem, receiver.receive(CASES[2][1], S))
    to_all = raw(bytes((6, 2)) + BROKEN.payload[2:24], to=MULTICAST)
    assert not of(SendParameterProblem, receiver.receive(to_all, S))


# Wrong group


def request(kind: HarpType, **more: Any) -> ev.PacketReceived:
    options = (IpAddress(AddressKind.HOME, home(1)),) if kind is HarpType.SS_REQ else ()
    message = Harp(kind, 9, 5, options=options)
    return packet(replace(message, **more), PEER, ME)


@pytest.mark.parametrize(
    ("kind", "reply", "index"),
    [
        (HarpType.SS_REQ, HarpType.SS_REP, 1),
        (HarpType.SO_REQ, HarpType.SO_REP, 0),
        (HarpType.SB_REQ, HarpType.SB_REP, 0),
    ],
)
def test_a_member_of_another_group_is_told_so(kind: HarpType, reply: HarpType, index: int) -> None:
    (told,) = sent(engine().receive(request(kind), S))
    assert (told.type, told.status, told.group) == (reply, Status.WRONG_GROUP, 9)
    assert (told.sequence, told.index) == (5, index)


def test_ss_rep_of_another_group_is_acknowledged_as_such() -> None:
    message = Harp(HarpType.SS_REP, 9, 5, index=3, options=(SyncPosition(1, 1),))
    (told,) = sent(engine().receive(packet(message, PEER, ME), S))
    assert (told.type, told.status, told.index) == (HarpType.SS_ACK, Status.WRONG_GROUP, 3)


def test_wrong_group_answers_are_at_most_one_a_second() -> None:
    receiver = engine()
    event = request(HarpType.SO_REQ)
    answers = [bool(sent(receiver.receive(event, at))) for at in (S, S + 1, 2 * S - 1, 2 * S)]
    assert answers == [True, False, False, True]


def test_wrong_group_is_not_told_to_who_fails_its_own_groups_protection() -> None:
    receiver = engine(protection=Protection(Security.PSK, keys=(KEY,)))
    effects = receiver.receive(request(HarpType.SO_REQ), S)
    assert reason(effects) is Reason.WRONG_GROUP
    assert not sent(effects)


# Protection in the group


def test_wrong_clock_is_loud_once_and_its_a_counts() -> None:
    protection = Protection(Security.PSK, keys=(KEY,))
    receiver = engine(protection=protection)

    def at(sequence: int, message: Harp, offset_us: int) -> ev.PacketReceived:
        stamp = (UNIX_US + offset_us) // S + 2_208_988_800 << 32 | sequence
        payload = DEFAULT_CODEC.build_signed(PEER, MULTICAST, message, 300, KEY.key, stamp)
        return ev.PacketReceived(PEER, MULTICAST, payload)

    first = receiver.receive(at(1, hello(1, FLAG_A), 60 * S), S)
    assert reason(first) is Reason.CLOCK
    assert of(Log, first)
    assert of(ev.PeerUp, first)
    assert receiver.groups[GROUP].peers.peers[PEER].active
    assert not of(Log, receiver.receive(at(2, hello(2, FLAG_A), 60 * S), S))
    receiver.receive(ev.ClockStepped(UNIX_US + 60 * S), S)
    assert not of(Dropped, receiver.receive(at(3, hello(3, FLAG_A), 61 * S), S))
    stamp = (UNIX_US + 600 * S) // S + 2_208_988_800 << 32
    other = Harp(HarpType.SS_ACK, GROUP, 1, index=1)
    payload = DEFAULT_CODEC.build_signed(PEER, ME, other, 300, KEY.key, stamp)
    assert reason(receiver.receive(ev.PacketReceived(PEER, ME, payload), S)) is Reason.CLOCK


def test_a_request_before_any_answer_to_our_r_asks_for_one() -> None:
    receiver = engine(protection=Protection(Security.PSK, keys=(KEY,)))
    stamp = (UNIX_US + S) // S + 2_208_988_800 << 32
    message = Harp(HarpType.SO_REQ, GROUP, 4)
    payload = DEFAULT_CODEC.build_signed(PEER, ME, message, 300, KEY.key, stamp)
    effects = receiver.receive(ev.PacketReceived(PEER, ME, payload), S)
    assert reason(effects) is Reason.REPLAY
    (asked,) = sent(effects)
    assert (asked.type, asked.flags & FLAG_R) == (HarpType.HELLO, FLAG_R)
    again = DEFAULT_CODEC.build_signed(PEER, ME, message, 300, KEY.key, stamp + 1)
    assert not sent(receiver.receive(ev.PacketReceived(PEER, ME, again), S))
    plain = receiver.receive(packet(message, PEER, ME), S)
    assert reason(plain) is Reason.AUTH


# Home agent and discovery


def update(to: bytes, number: int = 1) -> ev.PacketReceived:
    flags = int(BuFlag.ACKNOWLEDGE | BuFlag.HOME_REGISTRATION)
    payload = DEFAULT_CODEC.build(home(number), to, BindingUpdate(1, flags, 60))
    return ev.PacketReceived(home(number), to, payload, care_of=care_of(number))


def test_binding_updates_find_their_group_by_address_then_by_prefix() -> None:
    here = config(0)
    far = replace(here.home_prefixes[0], address=bytes.fromhex("20010db8000000020000000000000000"))
    other = replace(config(0), group=8, virtual_address=VIRTUAL[:-1] + b"\x01")
    receiver = engine(here, other)
    groups = receiver.groups
    receiver.receive(update(VIRTUAL), S)
    assert (groups[7].home_agent.counters["binding_updates"], groups[8].home_agent.counters) == (
        1,
        {},
    )
    assert reason(receiver.receive(update(ME), S)) is Reason.UNEXPECTED
    hard = [
        replace(config(0, mode=SwitchMode.HARD, virtual_address=b""), group=g, home_prefixes=(p,))
        for g, p in ((1, far), (2, here.home_prefixes[0]), (3, far))
    ]
    receiver = engine(*hard)
    receiver.receive(update(ME), S)
    counted = [g.home_agent.counters["binding_updates"] for g in receiver.groups.values()]
    assert counted == [0, 1, 0]
    receiver = engine(hard[0], hard[2])
    receiver.receive(update(ME), S)  # not our home subnet: the first says so
    counted = [g.home_agent.counters["binding_updates"] for g in receiver.groups.values()]
    assert counted == [1, 0]


def test_other_mobility_messages_are_not_expected() -> None:
    payload = DEFAULT_CODEC.build(PEER, ME, BindingAcknowledgement(0, 1, 600))
    event = ev.PacketReceived(PEER, ME, payload)
    assert reason(engine().receive(event, S)) is Reason.UNEXPECTED


def test_discovery() -> None:
    receiver = engine()
    while receiver.groups[GROUP].role is not Role.ACTIVE:
        assert receiver.deadline is not None
        receiver.expire(receiver.deadline)
    source, anycast = care_of(1), home(0xFFFE)
    message = build_icmpv6(source, anycast, DhaadRequest(77))
    effects = receiver.receive(ev.IcmpReceived(source, anycast, message), 3 * S)
    (answer,) = of(SendPacket, effects)
    assert (answer.source, answer.destination) == (VIRTUAL, source)
    elsewhere = build_icmpv6(source, STRANGER, DhaadRequest(77))
    dropped = receiver.receive(ev.IcmpReceived(source, STRANGER, elsewhere), 3 * S)
    assert reason(dropped) is Reason.UNEXPECTED
    damaged = message[:-1] + b"\x01"
    dropped = receiver.receive(ev.IcmpReceived(source, anycast, damaged), 3 * S)
    assert reason(dropped) is Reason.BAD_CHECKSUM
    reply = build_icmpv6(source, anycast, DhaadReply(77, ()))
    assert receiver.receive(ev.IcmpReceived(source, anycast, reply), 3 * S) == []
    assert receiver.receive(ev.IcmpReceived(source, anycast, bytes((128, *bytes(7)))), 3 * S) == []


def test_events_of_groups_that_are_not_here_do_nothing() -> None:
    receiver = engine()
    assert receiver.receive(ev.JournalWritten(99, 1), S) == []
    assert Engine(EngineConfig(()), Random(1), UNIX_US).deadline is None
