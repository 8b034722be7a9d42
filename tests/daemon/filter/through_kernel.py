"""Runs in a network namespace of its own: packets through the software filter to a raw socket.

Prints one JSON object: by run, the filter's counters and what arrived by name.
"""

from __future__ import annotations

import json
import select
import signal
import socket
import subprocess
from collections import Counter
from contextlib import ExitStack
from ipaddress import IPv6Address

from scapy.config import conf
from scapy.layers.inet6 import HAO, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, PadN
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from harp.daemon.filter.nft import NftFilter
from harp.daemon.filter.ruleset import DEFAULT_RATES, Filter
from harp.tables.codepoints import DEFAULT_CODE_POINTS

US, PEER, STRANGER, ROUTED = "2001:db8::1", "2001:db8::2", "2001:db8::99", "2001:db8:9::1"
HARP = DEFAULT_CODE_POINTS.mh_type_harp
MH, NONE = 135, 59
MAC, FAR_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
NAME_OCTETS = 24
SO_RCVBUFFORCE = 33  # asm-generic/socket.h; Python has no name for it


def mh(
    kind: int, name: str, *, proto: int = NONE, length: int | None = None, head: bytes = b""
) -> bytes:
    """A Mobility Header whose last octets are its name: `head` follows the checksum."""
    body = head.ljust(10, b"\0") + name.encode().ljust(NAME_OCTETS, b"\0")
    body += bytes(-(6 + len(body)) % 8)
    units = (6 + len(body)) // 8 - 1 if length is None else length
    return bytes((proto, units, kind, 0, 0, 0)) + body


def hello(name: str, *, harp_type: int = 0, sequence: int = 1) -> bytes:
    return mh(HARP, name, head=bytes((harp_type, 7)) + sequence.to_bytes(2, "big"))


def packet(payload: bytes, *, source: str = PEER, to: str = US, hops: int = 255) -> Packet:
    return IPv6(src=source, dst=to, hlim=hops, nh=MH) / Raw(payload)


def every_packet() -> list[Packet]:
    option = IPv6ExtHdrDestOpt(nh=MH, options=[PadN(optdata=b"\0\0"), HAO(hoa="2001:db8::77")])
    fragment = IPv6ExtHdrFragment(nh=MH, m=1, id=9)
    return [
        packet(hello("harp")),
        packet(mh(5, "mobility"), source=STRANGER),
        packet(mh(99, "unknown_type")),
        packet(mh(5, "bad_payload_proto", proto=6)),
        packet(mh(5, "too_long", length=99)),
        packet(mh(HARP, "too_short", length=1)),
        packet(hello("unknown_harp_type", harp_type=77)),
        packet(hello("bad_sequence", sequence=0)),
        packet(hello("bad_hop_limit"), hops=254),
        packet(hello("not_a_peer"), source=STRANGER),
        packet(b"\x3b\0\x0b\0"),
        IPv6(src=PEER, dst=US, nh=44) / fragment / Raw(hello("fragmented")),
        packet(hello("transit", sequence=0), to=ROUTED),
        IPv6(src=PEER, dst=US, nh=60) / option / Raw(mh(5, "home_address")),
        IPv6(src=PEER, dst=US, nh=NONE),
    ]


class Wire:
    """A veth: packets go in at `far`, what the raw socket gets is counted by name."""

    def __init__(self, stack: ExitStack) -> None:
        for command in (
            "ip link set lo up",
            f"ip link add home address {MAC} type veth peer name far",
            f"ip address add {US}/64 dev home nodad",
            "ip link set home up",
            "ip link set far up",
        ):
            subprocess.run(command.split(), check=True)
        self._far = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
        self._far.bind(("far", 0))
        self._raw = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_RAW, MH))
        self._raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_CHECKSUM, -1)
        self._raw.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)

    def send(self, each: Packet, times: int = 1) -> None:
        octets = bytes(Ether(dst=MAC, src=FAR_MAC, type=0x86DD) / each)
        for _ in range(times):
            self._far.send(octets)

    def arrived(self) -> dict[str, int]:
        """Names of all that came; nothing for 0.3 s means that no more comes."""
        names: Counter[str] = Counter()
        while select.select([self._raw], [], [], 0.3)[0]:
            octets = self._raw.recv(4096)
            names[octets[16 : 16 + NAME_OCTETS].rstrip(b"\0").decode()] += 1
        return dict(names)


def run(wire: Wire, rules: Filter, packets: list[tuple[Packet, int]]) -> dict[str, object]:
    loaded = NftFilter(rules)
    loaded.open()
    for each, times in packets:
        wire.send(each, times)
    arrived = wire.arrived()
    status = loaded.status()
    loaded.close()
    return {"frames": status.frames, "dropped": status.dropped, "arrived": arrived}


def main() -> dict[str, object]:
    def address(text: str) -> bytes:
        return IPv6Address(text).packed

    local, members = frozenset((address(US),)), frozenset((address(PEER),))
    rules = Filter(local, members, HARP, hop_limit=True, originals=True)
    each, hellos = 2000, 200
    flood = [
        (packet(mh(5, "bad_length", length=99)), each),
        (packet(hello("not_a_peer"), source=STRANGER), each),
        (packet(mh(99, "unknown_type")), each),
        (packet(hello("harp")), hellos),
    ]
    with ExitStack() as stack:
        wire = Wire(stack)
        every = [(one, 1) for one in every_packet()]
        seen = {
            "each": run(wire, rules, every),
            "flood": run(wire, rules, flood) | {"sent": {"each": each, "hellos": hellos}},
            "originals": run(
                wire,
                Filter(local, members, HARP, True, DEFAULT_RATES, judge=False, originals=True),
                [(every_packet()[0], 1), (every_packet()[13], 1)],
            ),
        }
    listed = subprocess.run(["nft", "list", "tables"], check=True, capture_output=True, text=True)
    seen["after"] = {"tables": dict.fromkeys(listed.stdout.splitlines(), 1)}
    return seen


if __name__ == "__main__":
    signal.alarm(60)
    conf.verb = 0
    print(json.dumps(main()))
