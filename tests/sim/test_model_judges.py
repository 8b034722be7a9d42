"""Independent judges of the model's reading of frames: scapy builds and sums, tshark dissects.

tshark 4.0 shows an MH's checksum but does not verify it, so scapy judges checksums, and tshark the
walk: which headers a frame has, and whether it reaches a Mobility Header of which type.
"""

import shutil
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from scapy.layers.inet6 import (
    HAO,
    MIP6MH_BA,
    MIP6MH_BE,
    MIP6MH_BRR,
    MIP6MH_BU,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    MIP6MH_CoT,
    MIP6MH_CoTI,
    MIP6MH_HoT,
    MIP6MH_HoTI,
    PadN,
    in6_chksum,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Packet as Scapy
from scapy.packet import Raw

from harp.tables.reasons import Reason
from harp_sim.build import Draft, Extension, fragment, home_address, mobility, routing, with_fcs
from harp_sim.frames import Frames, chains, covered_addresses
from harp_sim.model.config import Config, Port, default_types
from harp_sim.model.frame import Packet, parse_link, parse_packet
from harp_sim.model.model import Model
from harp_sim.model.walk import Walk, walk_chain

from .kit import BINDING_UPDATE, HOME, OWN, STRANGER

TSHARK = shutil.which("tshark")
HOME_TEXT, OWN_TEXT, CARE_OF_TEXT = "2001:db8:1::100", "2001:db8:1::b", "2001:db8:f::100"


def _judge(octets: bytes) -> Reason | None:
    model = Model(Config(filter_enable=True))
    return model.frame(Port.NETWORK, with_fcs(octets.ljust(60, b"\0")), 1).reason


# -- scapy builds ---------------------------------------------------------------------------------

MESSAGES: list[Scapy] = [
    MIP6MH_BRR(),
    MIP6MH_HoTI(),
    MIP6MH_CoTI(),
    MIP6MH_HoT(),
    MIP6MH_CoT(),
    MIP6MH_BU(seq=7, mhtime=150),
    MIP6MH_BA(seq=7),
    MIP6MH_BE(ha=HOME_TEXT),
]
LAYERS: list[Scapy | None] = [
    None,
    IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)]),
    IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)]),
    IPv6ExtHdrRouting(type=2, segleft=1, addresses=[HOME_TEXT]),
    IPv6ExtHdrRouting(type=0, segleft=0, addresses=[HOME_TEXT]),
    IPv6ExtHdrFragment(offset=0, m=0),
    AH(nh=135, payloadlen=4, icv=b"\0" * 12),
]
ETHER = Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01")
TAGS: list[Scapy] = [ETHER, ETHER / Dot1Q(vlan=5), ETHER / Dot1AD(vlan=9) / Dot1Q(vlan=5)]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("tags", TAGS, ids=["0", "1", "2"])
def test_what_scapy_builds_is_mobility(message: Scapy, layer: Scapy | None, tags: Scapy) -> None:
    ip = IPv6(src=CARE_OF_TEXT, dst=OWN_TEXT)
    packet = ip / layer / message if layer is not None else ip / message
    octets = bytes(tags / packet)
    assert _judge(octets) is Reason.MOBILITY
    broken = octets[:-1] + bytes((octets[-1] ^ 1,))
    assert _judge(broken) is Reason.BAD_CHECKSUM


def test_scapy_s_home_address_option_in_our_layout() -> None:
    option = IPv6ExtHdrDestOpt(options=[HAO(hoa=HOME_TEXT)])
    octets = bytes(ETHER / IPv6(src=CARE_OF_TEXT, dst=OWN_TEXT) / option / MIP6MH_BU(seq=7))
    assert _judge(octets) is Reason.MOBILITY


@pytest.mark.parametrize("message", range(0, 256, 5))
def test_scapy_s_checksum_of_what_we_build(message: int) -> None:
    body = bytes((message * n) & 0xFF for n in range(8 * (message % 11) + 2))
    draft = Draft(STRANGER, OWN, mobility(message, body))
    mh = bytearray(draft.filled())
    value, mh[4:6] = bytes(mh[4:6]), b"\0\0"
    ip = IPv6(src="2001:db8:f::1", dst=OWN_TEXT, nh=135)
    assert in6_chksum(135, ip / Raw(bytes(mh)), bytes(mh)) == int.from_bytes(value, "big")


# -- tshark dissects ------------------------------------------------------------------------------

NAMES = {0: "ipv6.hopopts", 43: "ipv6.routing", 44: "ipv6.fraghdr", 51: "ah", 60: "ipv6.dstopts"}


def _capture(path: Path, frames: Iterable[bytes]) -> None:
    """Write frames without FCS as pcap, Ethernet."""
    octets = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for frame in frames:
        octets += struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame
    path.write_bytes(octets)


def _dissect(path: Path) -> list[list[str]]:
    """Protocols, MH Type and MH checksum of each frame, as tshark sees them."""
    assert TSHARK
    fields = [f"-e{name}" for name in ("frame.protocols", "mip6.mhtype", "mip6.csum")]
    switches = ["-oipv6.defragment:FALSE", "-Tfields", "-Eseparator=;", *fields]
    run = [TSHARK, "-n", "-r", str(path), *switches]
    done = subprocess.run(run, capture_output=True, text=True, check=True, timeout=120)
    return [line.split(";") for line in done.stdout.splitlines()]


def _walked(octets: bytes) -> tuple[Packet, Walk]:
    packet = parse_packet(octets, parse_link(octets))
    assert isinstance(packet, Packet)
    return packet, walk_chain(packet)


def _chained(base: Draft) -> list[Draft]:
    return [covered_addresses(replace(base, chain=chain)) for chain in chains()]


needs_tshark = pytest.mark.skipif(TSHARK is None, reason="tshark is not installed")


@needs_tshark
def test_tshark_walks_the_same_chains(tmp_path: Path) -> None:
    drafts = [*_chained(BINDING_UPDATE), *_chained(replace(BINDING_UPDATE, tags=(9, 5)))]
    frames = [draft.octets() for draft in drafts]
    _capture(tmp_path / "chains.pcap", (frame[:-4] for frame in frames))
    reached = 0
    for draft, frame, (protocols, mh_type, _) in zip(
        drafts, frames, _dissect(tmp_path / "chains.pcap"), strict=True
    ):
        packet, walk = _walked(frame)
        if walk.fault in (Reason.CHAIN_TOO_LONG, Reason.BAD_CHAIN):
            continue  # the offload's own limits; tshark has others
        assert len({"vlan", "ieee8021ad"} & set(protocols.split(":"))) == len(draft.tags)
        want = [NAMES[kind] for kind in _kinds(packet, walk)]
        seen = [name for name in protocols.split(":") if name in NAMES.values()]
        if not walk.checkable and not mh_type and seen == want[: len(seen)]:
            continue  # tshark stops at options that it cannot parse
        assert seen == want, protocols
        if walk.at_mobility:
            assert mh_type == "5", protocols
            reached += 1
    assert reached > 100


def _kinds(packet: Packet, walk: Walk) -> list[int]:
    """Kinds of the headers that the walk went over, from the octets themselves."""
    kinds, kind, at = [], packet.next_header, 0
    for _ in range(walk.headers):
        kinds.append(kind)
        length = packet.payload[at + 1]
        size = {44: 8, 51: 4 * (length + 2)}.get(kind, 8 * (length + 1))
        kind, at = packet.payload[at], at + size
    return kinds


@needs_tshark
def test_tshark_finds_an_mh_where_the_model_judges_one(tmp_path: Path) -> None:
    stimuli = [s for s in islice(Frames(11), 3000) if 64 <= len(s.octets) <= 9216]
    _capture(tmp_path / "stream.pcap", (stimulus.octets[:-4] for stimulus in stimuli))
    before = {Reason.CHAIN_TOO_LONG, Reason.BAD_CHAIN, Reason.BAD_IPV6, Reason.NOT_IPV6}
    short = {Reason.TRUNCATED, Reason.BAD_LENGTH}
    config = Config(filter_enable=True, types=default_types())
    judged = dict.fromkeys(("mh", "none"), 0)
    for stimulus, (protocols, mh_type, checksum) in zip(
        stimuli, _dissect(tmp_path / "stream.pcap"), strict=True
    ):
        reason = Model(config).frame(Port.NETWORK, stimulus.octets, 1).reason
        if reason in before | short:
            continue
        names = protocols.split(":")
        if reason is Reason.FRAGMENTED:
            _, walk = _walked(stimulus.octets)
            # tshark stops at options that it cannot parse.
            assert "ipv6.fraghdr" in names or not walk.checkable, (stimulus.label, protocols)
        elif reason is Reason.NOT_MOBILITY:
            assert "mipv6" not in names, (stimulus.label, protocols)
            judged["none"] += 1
        elif reason is Reason.UNCHECKED and "mipv6" not in names:
            continue  # tshark stops at options that it cannot parse
        else:
            packet, walk = _walked(stimulus.octets)
            mh = packet.payload[walk.offset :]
            assert "mipv6" in names, (stimulus.label, protocols)
            assert int(mh_type) == mh[2]
            assert int(checksum, 0) == mh[4] << 8 | mh[5]
            judged["mh"] += 1
    assert min(judged.values()) > 150, judged


@needs_tshark
@pytest.mark.parametrize(
    "header", [home_address(HOME), routing(2, 1, HOME), routing(0, 1, HOME), fragment(0, False)]
)
def test_tshark_reads_the_same_fields_of_a_header(tmp_path: Path, header: Extension) -> None:
    assert TSHARK
    frame = replace(BINDING_UPDATE, chain=(header,)).octets()
    _capture(tmp_path / "one.pcap", [frame[:-4]])
    names = ("opt.mipv6.home_address", "routing.mipv6.home_address", "routing.segleft")
    run = [TSHARK, "-n", "-r", str(tmp_path / "one.pcap"), "-Tfields", "-Eseparator=;"]
    run += [f"-eipv6.{name}" for name in names]
    done = subprocess.run(run, capture_output=True, text=True, check=True, timeout=60)
    home, routed, segments = done.stdout.strip("\n").split(";")
    _, walk = _walked(frame)
    assert home == (HOME_TEXT if walk.home else "")
    assert routed == (HOME_TEXT if walk.routed else "")
    assert segments == ("1" if header.kind == 43 else "")
