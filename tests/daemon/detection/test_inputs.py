"""Sessions of bfdd and instances of keepalived: octets in, engine events out."""

from __future__ import annotations

import json
import random
from ipaddress import IPv6Address
from pathlib import Path
from struct import pack

import pytest

from harp.daemon.detection.bfd import BfdError, BfdFeed
from harp.daemon.detection.inputs import BfdInput, BfdInputs, VrrpInput, VrrpInputs
from harp.daemon.detection.vrrp import VrrpFeed
from harp.engine.config import DetectionSource
from harp.engine.events import DetectorLost, Event, PeerReport, PeerReported

HA2, HA3 = IPv6Address("2001:db8::2"), IPv6Address("2001:db8::3")
BFD, VRRP = DetectionSource.BFD, DetectionSource.VRRP
UP, DOWN = PeerReport.UP, PeerReport.DOWN


def message(kind: int = 4, version: int = 1, **body: object) -> bytes:
    text = json.dumps(body).encode()
    return pack("!IHBB", len(text), 0, kind, version) + text


def session(state: str, peer: IPv6Address = HA2, interface: str | None = "home") -> bytes:
    place = {} if interface is None else {"local-interface": interface}
    return message(
        op="status", ipv6=True, multihop=False, state=state, **{"peer-address": str(peer)}, **place
    )


def bfd_inputs() -> BfdInputs:
    members = frozenset((HA2.packed, HA3.packed))
    return BfdInputs([BfdInput(7, "home", members, Path("bfdd.sock"))])


def told(state: PeerReport, peer: IPv6Address = HA2, source: DetectionSource = BFD) -> Event:
    return PeerReported(7, peer.packed, "home", source, state)


def lost(source: DetectionSource = BFD) -> Event:
    return DetectorLost(7, "home", source)


def test_each_change_is_said_once() -> None:
    inputs = bfd_inputs()
    said = [
        list(inputs.hear(session(state)))
        for state in ("down", "down", "init", "up", "up", "down", "adm-down", "adm-down", "up")
    ]
    assert said == [[told(DOWN)], [], [], [told(UP)], [], [told(DOWN)], [lost()], [], [told(UP)]]


def test_administratively_down_takes_back_one_opinion_only() -> None:
    inputs = bfd_inputs()
    list(inputs.hear(session("down") + session("down", HA3)))
    assert list(inputs.hear(session("adm-down"))) == [lost(), told(DOWN, HA3)]


def test_the_end_of_the_connection_takes_everything_back() -> None:
    inputs = bfd_inputs()
    assert list(inputs.lost()) == []
    list(inputs.hear(session("down") + session("up", HA3)[:20]))
    assert list(inputs.lost()) == [lost()]
    assert list(inputs.hear(session("down"))) == [told(DOWN)]  # the half message is forgotten


@pytest.mark.parametrize(
    "ignored",
    [
        session("down", IPv6Address("2001:db8::9")),
        session("down", interface="other"),
        session("sideways"),
        message(op="status", ipv6=True, state="down"),
        message(op="status", ipv6=False, state="down", **{"peer-address": "192.0.2.1"}),
        message(op="add", ipv6=True),
        message(kind=1, status="ok"),
    ],
)
def test_what_is_not_about_a_member_is_passed_over(ignored: bytes) -> None:
    assert list(bfd_inputs().hear(ignored)) == []


def test_a_multihop_session_counts_for_its_address() -> None:
    assert list(bfd_inputs().hear(session("down", interface=None))) == [told(DOWN)]


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (message(version=2), "version 2"),
        (pack("!IHBB", 1 << 30, 0, 4, 1), "octets: no control socket of bfdd"),
        (message(kind=1, status="error", error="no such thing"), "no such thing"),
        (pack("!IHBB", 2, 0, 4, 1) + b"\xff{", "not JSON"),
        (pack("!IHBB", 2, 0, 4, 1) + b"[]", "no JSON object"),
    ],
)
def test_another_protocol_is_said_to_be_one(octets: bytes, why: str) -> None:
    with pytest.raises(BfdError, match=why):
        list(bfd_inputs().hear(octets))


def test_octets_may_come_in_any_pieces() -> None:
    rng = random.Random(7)
    whole = b"".join(session(rng.choice(["up", "down"])) for _ in range(50))
    expected = list(BfdFeed().feed(whole))
    assert len(expected) == 50
    feed, seen, at = BfdFeed(), [], 0
    while at < len(whole):
        size = rng.randint(1, 300)
        seen += list(feed.feed(whole[at : at + size]))
        at += size
    assert seen == expected


def vrrp_inputs() -> VrrpInputs:
    fifo = Path("vrrp.fifo")
    return VrrpInputs(
        [
            VrrpInput(7, "home", HA2.packed, "to-ha2", fifo),
            VrrpInput(7, "home", HA3.packed, "to-ha3", fifo),
        ]
    )


def test_an_instance_stands_for_a_peer() -> None:
    inputs = vrrp_inputs()
    lines = [
        b'INSTANCE "to-ha2" BACKUP 100\n',
        b'INSTANCE "to-ha3" MASTER 100\n',
        b'GROUP "to-ha2" MASTER 100\nINSTANCE "other" MASTER 100\n',
        b'INSTANCE "to-ha2" MASTER 100\n',
        b'INSTANCE "to-ha2" FAULT 100\n',
        b'INSTANCE "to-ha3" DELETED 100\n',
        b'INSTANCE "to-ha2" BACKUP 100\n',
    ]
    assert [list(inputs.hear(line)) for line in lines] == [
        [told(UP, HA2, VRRP)],
        [told(DOWN, HA3, VRRP)],
        [],
        [told(DOWN, HA2, VRRP)],
        [lost(VRRP), told(DOWN, HA3, VRRP)],
        [],
        [told(UP, HA2, VRRP)],
    ]
    assert list(inputs.lost()) == [lost(VRRP)]


def test_lines_of_the_fifo_may_come_in_any_pieces_and_noise_does_no_harm() -> None:
    feed = VrrpFeed()
    assert not list(feed.feed(b"x" * 100_000 + b'\nINSTANCE "to'))
    assert [each.name for each in feed.feed(b'-ha2" MASTER 9\n\xff\n')] == ["to-ha2"]
