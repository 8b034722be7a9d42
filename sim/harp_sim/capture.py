"""Captures and settings for `python -m harp_sim --pcap`.

Ref: docs/spec/offload.md §2 (reasons, actions, local table), §3 (peers)
"""

from __future__ import annotations

import dataclasses
import struct
import tomllib
from io import BytesIO
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import dpkt
import msgspec

from harp.tables.reasons import Action, Reason
from harp_sim.build import with_fcs
from harp_sim.model import golden
from harp_sim.model.config import Config, Mode, Peer, Rule

ETHERNET = 1
"""Link type of captures with Ethernet headers (pcap LINKTYPE_ETHERNET)."""
PCAP_ORDERS = {
    bytes.fromhex(magic): order
    for magic, order in (
        ("a1b2c3d4", ">"),
        ("d4c3b2a1", "<"),
        ("a1b23c4d", ">"),
        ("4d3cb2a1", "<"),
    )
}
"""Octet order by the first octets of a classic pcap, with times in µs or ns."""
PCAP_HEADER, PCAP_RECORD = 24, 16
"""Octets of a file's header and of a record's."""


class CaptureError(Exception):
    """A file that cannot be used; one line that names it."""


class PeerSettings(msgspec.Struct, forbid_unknown_fields=True):
    """One entry of the peer table."""

    address: str
    group: int
    vlan: int | None = None
    mode: Mode = Mode.VERIFIED
    deadline_us: int = 0
    late_us: int = 0
    multiplier: int = 3
    authenticate: bool = False


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """What a TOML file may say; names as in the register map."""

    filter_enable: bool = True
    lease: bool = True
    peers_complete: bool = False
    demand_hop_limit: bool = True
    pass_every: int = golden.PASS_EVERY
    local: list[str] = []
    actions: dict[Reason, Action] = {}
    peers: list[PeerSettings] = []


def read_settings(path: Path | None) -> dict[str, Any]:
    """The settings of a file, checked; those after reset with filter and lease without one.

    Raises CaptureError.
    """
    if path is None:
        return {}
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        configuration(document)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CaptureError(f"{path}: not TOML: {error}") from None
    except (msgspec.ValidationError, ValueError) as error:
        raise CaptureError(f"{path}: {error}") from None
    return document


def configuration(document: dict[str, Any]) -> tuple[Config, bool]:
    """The model's configuration, and whether the lease is live. Raises ValueError."""
    settings = msgspec.convert(document, Settings)
    default = Config()
    if len(settings.peers) > golden.PEERS:
        raise ValueError(f"peers: at most {golden.PEERS}")
    peers = [_peer(peer) for peer in settings.peers]
    rules = dict(default.rules)
    for reason, action in settings.actions.items():
        if reason not in rules:
            raise ValueError(f"actions: {reason} is no reason of the offload")
        rules[reason] = Rule(action, rules[reason].bucket)
    config = dataclasses.replace(
        default,
        filter_enable=settings.filter_enable,
        peers_complete=settings.peers_complete,
        demand_hop_limit=settings.demand_hop_limit,
        pass_every=settings.pass_every,
        local=tuple(_address(address) for address in settings.local),
        rules=rules,
        peers=(*peers, *(None,) * (golden.PEERS - len(peers))),
    )
    return config, settings.lease


def _address(text: str) -> bytes:
    """16 octets. Raises ValueError, naming the text."""
    try:
        return IPv6Address(text).packed
    except ValueError:
        raise ValueError(f"address {text!r}: not an IPv6 address") from None


def _peer(peer: PeerSettings) -> Peer:
    return Peer(
        _address(peer.address),
        peer.group,
        peer.vlan,
        peer.mode,
        peer.deadline_us,
        peer.late_us,
        peer.multiplier,
        peer.authenticate,
    )


def read_capture(path: Path) -> list[tuple[int, bytes]]:
    """Frames with their times, µs from the first, padded and with an FCS as on the wire.

    Captures have no FCS; every frame is taken as a good one. Raises CaptureError, for a capture
    that ends within a frame or holds parts of frames, too.
    """
    try:
        whole = path.read_bytes()
        reader = dpkt.pcap.UniversalReader(BytesIO(whole))
        if reader.datalink() != ETHERNET:
            raise CaptureError(f"{path}: link type {reader.datalink()}, not Ethernet")
        packets = [(float(at), bytes(octets)) for at, octets in reader]
        _check_records(whole)
    except (OSError, ValueError, struct.error, dpkt.dpkt.Error) as error:
        raise CaptureError(f"{path}: not a capture: {error}") from None
    begun = packets[0][0] if packets else 0.0
    least = golden.MIN_FRAME_OCTETS - golden.FCS_OCTETS
    return [
        (max(0, round((at - begun) * 1e6)), with_fcs(octets.ljust(least, b"\0")))
        for at, octets in packets
    ]


def _check_records(whole: bytes) -> None:
    """Raise ValueError for a record of a classic pcap that is not whole: dpkt takes what is there.

    Ref: draft-ietf-opsawg-pcap §5 (captured and original length at octets 8 and 12 of a record)
    """
    order = PCAP_ORDERS.get(whole[:4])
    at, number = PCAP_HEADER, 0
    while order and at < len(whole):
        number += 1
        captured, original = struct.unpack_from(f"{order}II", whole, at + 8)
        at += PCAP_RECORD + captured
        if at > len(whole):
            raise ValueError(f"it ends within frame {number}")
        if captured < original:
            raise ValueError(f"frame {number} is cut to {captured} of {original} octets")
