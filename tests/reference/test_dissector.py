"""The Wireshark dissector shows what the codec decodes, and stands any octets.

Ref: harp.md §2, §3 rules 1 to 7; RFC 6275 §6.1.1 (checksum)
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import asdict
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire import strategies as some

from harp.tables.codepoints import CodePoints
from harp.tables.harp_types import HARP_TYPES, STATUS_NAMES, HarpFlag, HarpType, Status
from harp.tables.ipv6 import HOME_ADDRESS_OPTION, ROUTING_TYPE_2, NextHeader
from harp.tables.mh import HARP_MH
from harp.tables.reasons import Reason
from harp.wire import messages as msg
from harp.wire.auth import ntp_from_unix_us
from harp.wire.checksum import checksum
from harp.wire.codec import DEFAULT_CODEC, Codec
from harp.wire.packet import find_mobility_header

from .capture import packet, write
from .judge import same_message
from .tshark import ROOT, columns, harp_layers, listed, needs_tshark, run

pytestmark = needs_tshark

A, B, HOME, VIRTUAL = "2001:db8:1::a", "2001:db8:1::b", "2001:db8:1::100", "2001:db8:1::1"
CARE_OF = "2001:db8:f::100"
VECTORS: list[dict[str, Any]] = json.loads((ROOT / "tests/vectors/harp.json").read_text())


def raw(address: str) -> bytes:
    return IPv6Address(address).packed


def built(message: msg.Message, source: str = A, destination: str = B) -> bytes:
    return DEFAULT_CODEC.build(raw(source), raw(destination), message)


def captured(path: Path, *messages: msg.Message) -> Path:
    """A capture of messages from A to B."""
    file = path / "own.pcap"
    write(file, (packet(A, B, built(message)) for message in messages))
    return file


def drawn(strategy: st.SearchStrategy[msg.Harp], count: int) -> list[msg.Harp]:
    """The same `count` or fewer examples in every run."""
    found: list[msg.Harp] = []

    @settings(some.RUN, max_examples=count)
    @given(strategy)
    def collect(one: msg.Harp) -> None:
        found.append(one)

    collect()
    return found


def vector_capture(path: Path) -> Path:
    file = path / "vectors.pcap"
    write(file, (packet(v["src"], v["dst"], bytes.fromhex(v["mh"])) for v in VECTORS))
    return file


def is_harp(mh: bytes) -> bool:
    return len(mh) > 2 and mh[2] == HARP_MH.type


def decoded(vector: dict[str, Any]) -> msg.Message | msg.Malformed:
    mh = bytes.fromhex(vector["mh"])
    return DEFAULT_CODEC.parse(raw(vector["src"]), raw(vector["dst"]), mh)


def test_golden_messages_field_by_field(tmp_path: Path) -> None:
    compared = 0
    for vector, layer in zip(VECTORS, harp_layers(vector_capture(tmp_path)), strict=True):
        assert (layer is not None) == is_harp(bytes.fromhex(vector["mh"])), vector["name"]
        message = decoded(vector)
        if layer and isinstance(message, msg.Harp):
            same_message(message, layer)
            assert "harp.reason" not in layer, vector["name"]
            compared += 1
    assert compared == sum(v["expect"].get("type") in HARP_NAMES for v in VECTORS) > 20


HARP_NAMES = {row.name for row in HARP_TYPES}


def test_golden_faults_have_the_reason_of_the_spec(tmp_path: Path) -> None:
    reasons = columns(vector_capture(tmp_path), "harp.reason")
    seen = Counter[str]()
    for vector, (reason,) in zip(VECTORS, reasons, strict=True):
        if is_harp(bytes.fromhex(vector["mh"])):
            assert reason == vector["expect"].get("reason", ""), vector["name"]
            seen[reason] += 1
    judged = {"bad_checksum", "bad_payload_proto", "bad_length", "truncated", "bad_option"}
    assert judged <= set(seen)


def _in_second_0(message: msg.Harp) -> bool:
    stamps = [one for one in message.options if isinstance(one, msg.ReplayProtection)]
    return any(one.timestamp >> 32 == 0 for one in stamps)


def test_any_message_with_any_option_field_by_field(tmp_path: Path) -> None:
    # Enough that every option is among them whatever Hypothesis draws in this process.
    # Second 0 of an NTP era is left out: tshark shows no time there.
    messages = [one for one in drawn(some.harp(), 1200) if not _in_second_0(one)]
    layers = harp_layers(captured(tmp_path, *messages))
    for message, layer in zip(messages, layers, strict=True):
        assert layer is not None and "harp.reason" not in layer
        assert layer["harp.checksum.status"] == "1"
        same_message(message, layer)
    carried = {type(option) for message in messages for option in message.options}
    assert carried == set(some.BY_CLASS)
    assert {message.type for message in messages} == set(HarpType)


def test_display_filters_select(tmp_path: Path) -> None:
    hello = msg.Harp(HarpType.HELLO, 7, 300, flags=HarpFlag.A | HarpFlag.S, preference=200)
    refused = msg.Harp(HarpType.SO_REP, 7, 5, status=Status.NOT_ACTIVE)
    log = msg.Harp(
        HarpType.SS_REP,
        9,
        6,
        options=(
            msg.SyncPosition(3, 70000),
            msg.BindingCache(raw(HOME), raw(CARE_OF), 0xC000, 12, 262_140),
            msg.BindingIdentifier(3),
            msg.MobileNetworkPrefix(56, raw("2001:db8:100::")),
        ),
    )
    file = captured(tmp_path, hello, refused, log)
    wanted = {
        "harp": "1,2,3",
        "harp.type == 0": "1",
        "harp.group == 7": "1,2",
        "harp.flags.active == 1": "1",
        "harp.flags.draining == 0 and harp.type == 0": "1",
        "harp.seq >= 300": "1",
        f"harp.status == {int(Status.NOT_ACTIVE)}": "2",
        f"harp.binding.hoa == {HOME}": "3",
        "harp.binding.coa == 2001:db8:f::/48": "3",
        "harp.binding.flags.home_registration == 1": "3",
        "harp.binding.lifetime == 262140": "3",
        "harp.sync.term == 3 and harp.sync.position == 70000": "3",
        "harp.bid == 3": "3",
        "harp.prefix.length == 56": "3",
        "harp.binding": "3",
        "harp.option == 245": "3",
        "harp.bad_checksum": "",
        "harp.bad_hop_limit": "",
        "mip6.mhtype": "",
    }
    for text, frames in wanted.items():
        found = columns(file, "frame.number", also=("-Y", text))
        assert ",".join(one for (one,) in found) == frames, text


def test_people_read_names_and_bindings_as_subtrees(tmp_path: Path) -> None:
    log = msg.Harp(
        HarpType.SS_REP,
        7,
        6,
        flags=HarpFlag.R,
        options=(
            msg.SyncPosition(3, 5),
            msg.BindingCache(raw(HOME), raw(CARE_OF), 0xC000, 12, 600),
            msg.BindingIdentifier(3),
            msg.Aaa(b"\x01\x02"),
        ),
    )
    text = run(captured(tmp_path, log), "-O", "harp")
    for line in (
        f"    Binding: {HOME} at {CARE_OF}, sequence 12, lifetime 600 s, BID 3\n",
        "        AAA Information (243): 0102\n",
        "    Sync Position (245): Term 3, Position 5\n",
        "    Type: SS-REP (2)\n",
        f"    Status: {STATUS_NAMES[Status.SUCCESS]} (0)\n",
    ):
        assert line in text, text


@pytest.mark.parametrize(
    ("message", "info"),
    [
        (
            msg.Harp(HarpType.HELLO, 7, 1, 0, HarpFlag.A | HarpFlag.V, 200, 3, 1000),
            "HA-HELLO group=7 seq=1 [A V] preference=200 lifetime=3s interval=1000ms",
        ),
        (
            msg.Harp(HarpType.SO_REP, 7, 2, Status.NOT_SYNCHRONISED),
            "SO-REP group=7 seq=2 status=state not synchronised",
        ),
        (msg.Harp(HarpType.SW_COMP, 8, 3), "SW-COMP group=8 seq=3"),
        (
            msg.Harp(HarpType.SS_ACK, 8, 3, options=(msg.SyncPosition(2, 9),)),
            "SS-ACK group=8 seq=3 status=success index=0 position=2/9",
        ),
    ],
)
def test_info_column_says_what_matters(tmp_path: Path, message: msg.Harp, info: str) -> None:
    rows = columns(captured(tmp_path, message), "_ws.col.Protocol", "_ws.col.Info")
    assert rows == [["HARP", info]]


def test_time_of_replay_protection(tmp_path: Path) -> None:
    at_us = 1_750_434_177_250_000
    stamp = msg.ReplayProtection(ntp_from_unix_us(at_us))
    file = captured(tmp_path, msg.Harp(HarpType.HELLO, 7, 1, options=(stamp,)))
    ((text,),) = columns(file, "harp.replay.timestamp")
    assert text.startswith("Jun 20, 2025 15:42:57.25")


IPV6 = 41
"""Next header of IPv6 in IPv6 (RFC 2473 §3)."""
HELLO = msg.Harp(HarpType.HELLO, 7, 1, flags=HarpFlag.A, lifetime_s=3)
PADN_2 = bytes((1, 2, 0, 0))
HOME_ADDRESS = (
    NextHeader.DESTINATION_OPTIONS,
    bytes((2,)) + PADN_2 + bytes((HOME_ADDRESS_OPTION, 16)) + raw(HOME),
)


def routing(left: int) -> tuple[int, bytes]:
    return NextHeader.ROUTING, bytes((2, ROUTING_TYPE_2, left, 0, 0, 0, 0)) + raw(HOME)


@pytest.mark.parametrize(
    ("source", "destination", "chain"),
    [
        (A, B, ()),
        (HOME, B, (HOME_ADDRESS,)),
        (A, HOME, (routing(1),)),
        (A, B, (routing(0),)),
        (HOME, HOME, (routing(1), HOME_ADDRESS)),
    ],
    ids=["plain", "home address option", "type 2", "type 2 used up", "both"],
)
def test_checksum_takes_the_addresses_of_the_pseudo_header(
    tmp_path: Path, source: str, destination: str, chain: tuple[tuple[int, bytes], ...]
) -> None:
    good = packet(A, B, built(HELLO, source, destination), chain)
    found = find_mobility_header(good)
    assert found and not isinstance(found, msg.Malformed)
    assert (found.source, found.destination) == (raw(source), raw(destination))
    mh = bytearray(built(HELLO, source, destination))
    mh[4] ^= 0x40
    # In a tunnel the addresses are those of the inner packet, whatever the outer one carries.
    tunnelled = packet(A, B, packet(A, B, built(HELLO)), chain, last=IPV6)
    file = tmp_path / "checksum.pcap"
    write(file, (good, packet(A, B, bytes(mh), chain), tunnelled))
    fields = ("harp.checksum.status", "harp.reason", "harp.checksum.source")
    assert columns(file, *fields) == [
        ["1", "", source],
        ["0", "bad_checksum", source],
        ["1", "", A],
    ]
    found_bad = columns(file, "frame.number", also=("-Y", "harp.bad_checksum"))
    assert found_bad == [["2"]]


def test_a_capture_cut_short_is_no_fault(tmp_path: Path) -> None:
    many = tuple(msg.RestartCounter(n) for n in range(30))
    octets = packet(A, B, built(msg.Harp(HarpType.HELLO, 7, 1, options=many)))
    file = tmp_path / "short.pcap"
    write(file, (octets,), snap=120)
    rows = columns(file, "harp.checksum.status", "harp.reason", "harp.seq")
    assert rows == [["2", "", "1"]]
    cut_short = columns(file, "frame.number", also=("-Y", "harp.cut_short"))
    assert cut_short == [["1"]]


def test_a_hop_limit_below_255_is_a_warning(tmp_path: Path) -> None:
    octets = bytearray(packet(A, B, built(HELLO)))
    octets[7] = 64
    file = tmp_path / "hops.pcap"
    write(file, (bytes(octets),))
    assert columns(file, "harp.reason", also=("-Y", "harp.bad_hop_limit")) == [[""]]


def test_other_mobility_headers_stay_with_mip6(tmp_path: Path) -> None:
    others = [v for v in VECTORS if v["expect"]["valid"] and v["expect"]["type"] not in HARP_NAMES]
    file = tmp_path / "others.pcap"
    write(file, (packet(v["src"], v["dst"], bytes.fromhex(v["mh"])) for v in others))
    rows = columns(file, "mip6.mhtype", "harp.type", "_ws.col.Info")
    assert [row[0] for row in rows] == [str(bytes.fromhex(v["mh"])[2]) for v in others]
    assert all(row[1] == "" for row in rows)
    assert [row[2] for row in rows] == [v["expect"]["type"] for v in others]
    update = columns(file, "mip6.bu.seqnr", "mip6.acoa.acoa", also=("-Y", "mip6.mhtype == 5"))
    assert update == [["12", CARE_OF]]


def test_code_points_are_preferences(tmp_path: Path) -> None:
    points = CodePoints(mh_type_harp=150, option_sync_position=200, address_home=77)
    options = (msg.IpAddress(msg.AddressKind.HOME, raw(HOME)), msg.SyncPosition(4, 5))
    request = msg.Harp(HarpType.SS_REQ, 7, 1, options=options)
    mh = Codec(points).build(raw(A), raw(B), request)
    file = tmp_path / "points.pcap"
    write(file, (packet(A, B, mh), packet(A, B, built(request))))
    numbers = {name: n for name, n in asdict(points).items() if isinstance(n, int)}
    chosen = [word for name, n in numbers.items() for word in ("-o", f"harp.{name}:{n}")]
    ours, default = harp_layers(file, *chosen)
    assert default is None and ours is not None and "harp.reason" not in ours
    assert listed(ours, "harp.option") == ["34", "200"]
    assert [tree.get("harp.sync.term") for tree in ours["harp.option_tree"]] == [None, "4"]
    assert "home address" in run(file, "-O", "harp", *chosen)


POSITION = msg.SyncPosition(1, 1)
BINDING = msg.BindingCache(raw(HOME), raw(CARE_OF), 0xC000, 12, 600)
HA_HA = msg.Authentication(DEFAULT_CODEC.code_points.auth_subtype, 256, bytes(16))
SHORT_HA_HA = msg.Authentication(DEFAULT_CODEC.code_points.auth_subtype, 256, bytes(8))
FOREIGN_KIND = msg.UnknownOption(34, bytes(18))
FAULTY = [
    msg.Harp(HarpType.HELLO, 7, 1, options=(HA_HA, msg.RestartCounter(1))),
    msg.Harp(HarpType.HELLO, 7, 1, options=(HA_HA, HA_HA)),
    msg.Harp(HarpType.HELLO, 7, 1, options=(SHORT_HA_HA,)),
    msg.Harp(HarpType.HELLO, 7, 1, options=(msg.CacheDigest(1, 2),)),
    msg.Harp(HarpType.HELLO, 7, 1, options=(msg.UnknownOption(6, b"\0\x81" + bytes(16)),)),
    msg.Harp(HarpType.HELLO, 7, 1, options=(msg.UnknownOption(34, b"\xf1\x40" + bytes(16)),)),
    msg.Harp(HarpType.HELLO, 7, 1, options=(msg.UnknownOption(28, bytes(3)),)),
    msg.Harp(HarpType.SS_REQ, 7, 1, options=(POSITION, FOREIGN_KIND)),
    msg.Harp(HarpType.SS_REP, 7, 1, options=(BINDING,)),
    msg.Harp(HarpType.SS_REP, 7, 1, options=(POSITION,)),
    msg.Harp(HarpType.SS_REP, 7, 1, options=(POSITION, msg.BindingIdentifier(3), BINDING)),
    msg.Harp(HarpType.SS_REP, 7, 1, options=(POSITION, FOREIGN_KIND, BINDING)),
    msg.Harp(HarpType.SS_REP, 7, 1, index=2, options=(BINDING,)),
    msg.Harp(HarpType.SS_ACK, 7, 1),
    msg.Harp(HarpType.REKEY, 7, 1, options=(msg.IpAddress(msg.AddressKind.HOME, raw(HOME)),)),
]
"""Each breaks one rule about options (harp.md §2.1 to §2.3)."""
SOUND = [
    msg.Harp(HarpType.SS_REP, 7, 1, Status.UNSPECIFIED),
    msg.Harp(HarpType.SS_REP, 7, 1, flags=HarpFlag.M, index=2, options=(BINDING,)),
    msg.Harp(HarpType.SS_ACK, 7, 1, Status.NOT_ACTIVE),
    msg.Harp(HarpType.SS_ACK, 7, 1, index=2),
    msg.Harp(HarpType.SS_REQ, 7, 1, options=(msg.Vendor(9, 1, b""),)),
    msg.Harp(HarpType.HELLO, 7, 1, options=(msg.RestartCounter(1), HA_HA)),
]
"""What the same rules allow."""


def test_rules_about_options(tmp_path: Path) -> None:
    rows = columns(captured(tmp_path, *FAULTY, *SOUND), "harp.reason")
    expected = [str(Reason.BAD_OPTION)] * len(FAULTY) + [""] * len(SOUND)
    assert [reason for (reason,) in rows] == expected
    for message, reason in zip((*FAULTY, *SOUND), expected, strict=True):
        parsed = DEFAULT_CODEC.parse(raw(A), raw(B), built(message))
        judged = str(parsed.reason) if isinstance(parsed, msg.Malformed) else ""
        assert judged == reason, message


def mutated(rng: random.Random, mh: bytes) -> bytes:
    """Some octets changed, cut or added; the MH Type stays, half of the checksums are right."""
    octets = bytearray(mh)
    for _ in range(rng.randint(1, 6)):
        octets[rng.randrange(len(octets))] = rng.choice((0, 1, 255, rng.randrange(256)))
    change = rng.random()
    if change < 0.1:
        del octets[rng.randrange(3, len(octets)) :]
    elif change < 0.3:
        octets[20:] = rng.randbytes(8 * rng.randint(0, 12) + 4)
    octets[2] = HARP_MH.type
    if rng.random() < 0.1:
        octets[8:10] = bytes(2)  # Sequence # 0
    if rng.random() < 0.7:
        octets[0] = 59
        octets[1] = max(len(octets) // 8 - 1, 0)
    if rng.random() < 0.7 and len(octets) >= 8:
        judged = octets[: 8 * (octets[1] + 1)]
        judged[4:6] = bytes(2)
        octets[4:6] = checksum(raw(A), raw(B), bytes(judged)).to_bytes(2, "big")
    return bytes(octets)


def test_mutants_get_the_codecs_reason_and_never_a_lua_error(tmp_path: Path) -> None:
    rng = random.Random(20110501)
    seeds = [built(message) for message in drawn(some.harp(), 100)]
    mutants = [mutated(rng, rng.choice(seeds)) for _ in range(1000)]
    file = tmp_path / "mutants.pcap"
    write(file, (packet(A, B, mh) for mh in mutants))
    crashes = ("_ws.lua.error", "_ws.malformed.expert", "_ws.malformed.dissector_bug")
    rows = columns(file, "harp.mh_type", "harp.reason", *crashes)
    seen = Counter[str]()
    for mh, (mh_type, reason, *crashed) in zip(mutants, rows, strict=True):
        assert (mh_type, *crashed) == (str(HARP_MH.type), "", "", ""), mh.hex()
        message = DEFAULT_CODEC.parse(raw(A), raw(B), mh)
        wanted = str(message.reason) if isinstance(message, msg.Malformed) else ""
        assert reason == wanted, (mh.hex(), message)
        seen[reason] += 1
    judged = {
        Reason.TRUNCATED,
        Reason.BAD_LENGTH,
        Reason.BAD_CHECKSUM,
        Reason.BAD_PAYLOAD_PROTO,
        Reason.UNKNOWN_HARP_TYPE,
        Reason.BAD_SEQUENCE,
        Reason.BAD_OPTION,
    }
    assert {"", *judged} <= set(seen), seen
