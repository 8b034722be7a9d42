"""Two judges that know nothing of this project: scapy and tshark dissect the RFC messages.

scapy both ways: it dissects ours field by field, and we parse what it builds; checksums are its
own. tshark reads a capture of ours. Neither knows HARP. tshark 4.0 does not verify the checksum of
Mobility Headers (it shows the value), but that of ICMPv6.

Ref: RFC 6275 §6.1, §6.2, §6.5, §6.6; RFC 5142 §4.1; RFC 5847 §3.3; RFC 3963 §4
"""

import json
import shutil
import struct
import subprocess
from collections.abc import Iterable
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers import inet6

from harp.tables.harp_types import HarpType
from harp.wire import messages as msg
from harp.wire.checksum import checksum, verifies
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.icmpv6 import build_icmpv6, parse_icmpv6

from . import strategies as some
from .bytes_by_hand import CARE_OF, HOME, A, B

HEADER = {"src": str(IPv6Address(A)), "dst": str(IPv6Address(B)), "hlim": 255}


def packet(payload: bytes, next_header: int = 135) -> bytes:
    """An IPv6 packet from A to B."""
    return struct.pack("!IHBB", 6 << 28, len(payload), next_header, 255) + A + B + payload


def text(address: bytes) -> str:
    return str(IPv6Address(address))


# --- scapy dissects ours --------------------------------------------------------------------------

lla = st.builds(lambda mac: msg.LinkLayerAddress(2, b"\0" + mac), st.binary(min_size=6, max_size=6))
bad = st.builds(msg.BindingAuthData, st.binary(min_size=12, max_size=12))
tail = st.binary(min_size=1, max_size=40)
SCAPY_KNOWS = st.one_of(
    some.refresh_advice,
    some.alternate_care_of,
    some.nonce_indices,
    bad,
    some.prefix,
    lla,
    st.builds(msg.MnIdentifier, some.octet, tail),
    st.builds(msg.Authentication, st.sampled_from((1, 2)), some.long, tail),
    some.replay,
    some.restart,
    some.unknown.filter(lambda one: one.type not in range(11, 17)),
)
known_options = st.lists(SCAPY_KNOWS, max_size=6).map(tuple)


def as_scapy(option: msg.Option) -> Any:
    """The same option of scapy's."""
    match option:
        case msg.RefreshAdvice(interval_s):
            return inet6.MIP6OptBRAdvice(rinter=interval_s // 4)
        case msg.AlternateCareOf(address):
            return inet6.MIP6OptAltCoA(acoa=text(address))
        case msg.NonceIndices(home, care_of):  # scapy's default length is 16
            return inet6.MIP6OptNonceIndices(olen=4, hni=home, coni=care_of)
        case msg.BindingAuthData(authenticator):
            value = int.from_bytes(authenticator, "big")
            return inet6.MIP6OptBindingAuthData(olen=12, authenticator=value)
        case msg.MobileNetworkPrefix(length, prefix):
            return inet6.MIP6OptMobNetPrefix(plen=length, prefix=text(prefix))
        case msg.LinkLayerAddress(code, address):
            return inet6.MIP6OptLLAddr(olen=8, ocode=code, pad=0, lla=address[1:].hex(":"))
        case msg.MnIdentifier(subtype, identifier):
            return inet6.MIP6OptMNID(subtype=subtype, id=identifier)
        case msg.Authentication(subtype, spi, tag):
            return inet6.MIP6OptMsgAuth(subtype=subtype, mspi=spi, authdata=tag)
        case msg.ReplayProtection(timestamp):
            return inet6.MIP6OptReplayProtection(timestamp=timestamp)
        case msg.RestartCounter(value):
            return inet6.MIP6OptUnknown(otype=28, odata=value.to_bytes(4, "big"))
        case msg.UnknownOption(kind, data):
            return inet6.MIP6OptUnknown(otype=kind, odata=data)
    raise AssertionError(option)


def as_scapy_message(message: msg.Message) -> Any:
    options = [] if isinstance(message, msg.OtherMobility) else list(map(as_scapy, message.options))
    match message:
        case msg.BindingUpdate(sequence, flags, lifetime_s, _):
            return inet6.MIP6MH_BU(
                seq=sequence,
                flags=flags >> 9,
                reserved=flags & 0x1FF,
                mhtime=lifetime_s // 4,
                options=options,
            )
        case msg.BindingAcknowledgement(status, sequence, lifetime_s, flags, _):
            return inet6.MIP6MH_BA(
                status=status,
                flags=flags >> 5,
                res2=flags & 0x1F,
                seq=sequence,
                mhtime=lifetime_s // 4,
                options=options,
            )
        case msg.BindingError(status, home_address, _):
            return inet6.MIP6MH_BE(status=status, ha=text(home_address), options=options)
        case msg.BindingRefreshRequest():
            return inet6.MIP6MH_BRR(res2=0, options=options)
        case msg.OtherMobility(mh_type, data):
            return inet6.MIP6MH_Generic(mhtype=mh_type, msg=data)
    raise AssertionError(message)


def fields(layer: Any, *names: str) -> dict[str, Any]:
    return {name: layer.getfieldval(name) for name in names}


def same_options(seen: Iterable[Any], options: msg.Options) -> None:
    """Scapy's list, padding left out, is ours field by field."""
    kept = [one for one in seen if not isinstance(one, inet6.Pad1 | inet6.PadN)]
    wanted = [as_scapy(option) for option in options]
    assert [type(one) for one in kept] == [type(one) for one in wanted]
    for one, other in zip(kept, wanted, strict=True):
        # Built and dissected again, so that computed lengths and address forms are alike.
        again = type(other)(bytes(other))
        assert one.fields == again.fields


scapy_messages = st.one_of(
    st.builds(msg.BindingUpdate, some.word, some.word, some.lifetime, known_options),
    st.builds(
        msg.BindingAcknowledgement, some.octet, some.word, some.lifetime, some.octet, known_options
    ),
    st.builds(msg.BindingError, some.octet, some.address, known_options),
    st.builds(msg.BindingRefreshRequest, known_options),
)


@some.RUN
@given(scapy_messages)
def test_scapy_reads_ours(message: Any) -> None:
    octets = DEFAULT_CODEC.build(A, B, message)
    layer = inet6.IPv6(packet(octets)).payload
    wanted = as_scapy_message(message)
    assert type(layer) is type(wanted)
    assert (layer.nh, layer.len, layer.res) == (59, len(octets) // 8 - 1, 0)
    names = [
        name
        for name in ("seq", "flags", "reserved", "mhtime", "status", "res2", "ha")
        if name in wanted.fields and name in {f.name for f in layer.fields_desc}
    ]
    assert fields(layer, *names) == fields(wanted, *names)
    same_options(layer.options, message.options)
    assert not bytes(layer.payload)


@some.RUN
@given(scapy_messages)
def test_we_read_scapys(message: Any) -> None:
    built = bytes(inet6.IPv6(**HEADER) / as_scapy_message(message))[40:]
    if len(built) % 8:  # scapy does not pad a Binding Error behind its options
        assert isinstance(message, msg.BindingError)
        return
    assert DEFAULT_CODEC.parse(A, B, built) == message


@some.RUN
@given(some.message)
def test_scapy_finds_the_same_checksum(message: msg.Message) -> None:
    octets = DEFAULT_CODEC.build(A, B, message)
    header = inet6.IPv6(**HEADER, nh=135)
    assert inet6.in6_chksum(135, header, octets) == 0
    blank = octets[:4] + b"\0\0" + octets[6:]
    assert inet6.in6_chksum(135, header, blank) == int.from_bytes(octets[4:6], "big")


@some.RUN
@given(some.address, some.address, st.binary(max_size=99), st.sampled_from((58, 135)))
def test_checksum_of_anything(source: bytes, destination: bytes, data: bytes, nh: int) -> None:
    header = inet6.IPv6(src=text(source), dst=text(destination), nh=nh)
    wanted = inet6.in6_chksum(nh, header, data)
    # scapy sends 0xFFFF for 0, the other form of the same number (RFC 768); RFC 1071 keeps 0.
    assert checksum(source, destination, data, nh) % 0xFFFF == wanted % 0xFFFF
    if len(data) % 2 == 0:
        right = data + checksum(source, destination, data + b"\0\0", nh).to_bytes(2, "big")
        assert verifies(source, destination, right, nh)
        assert not verifies(source, destination, right[:-1] + bytes([right[-1] ^ 1]), nh)


@pytest.mark.parametrize(
    "message",
    [
        msg.HomeAgentSwitch((A, B), (msg.RestartCounter(5),)),
        msg.Heartbeat(7, 3, (msg.RestartCounter(5),)),
        msg.Harp(HarpType.HELLO, 7, 1, options=(msg.SyncPosition(1, 2),)),
    ],
    ids=["Home Agent Switch", "Heartbeat", "HARP"],
)
def test_scapy_knows_only_the_header_of_others(message: msg.Message) -> None:
    octets = DEFAULT_CODEC.build(A, B, message)
    layer = inet6.IPv6(packet(octets)).payload
    assert isinstance(layer, inet6.MIP6MH_Generic)
    assert (layer.nh, layer.len, layer.mhtype) == (59, octets[1], octets[2])
    generic = inet6.MIP6MH_Generic(mhtype=octets[2], msg=octets[6:])
    built = bytes(inet6.IPv6(**HEADER) / generic)[40:]
    assert built == octets
    assert DEFAULT_CODEC.parse(A, B, built) == message


@pytest.mark.parametrize(
    ("message", "layer"),
    [
        (
            msg.OtherMobility(1, b"\0\0" + b"cookie 1"),
            inet6.MIP6MH_HoTI(cookie=b"cookie 1", reserved=0),
        ),
        (
            msg.OtherMobility(2, b"\0\0" + b"cookie 2"),
            inet6.MIP6MH_CoTI(cookie=b"cookie 2", reserved=0),
        ),
        (
            msg.OtherMobility(3, b"\0\5" + b"cookie 3" + b"keygen 3"),
            inet6.MIP6MH_HoT(index=5, cookie=b"cookie 3", token=b"keygen 3"),
        ),
        (
            msg.OtherMobility(4, b"\0\6" + b"cookie 4" + b"keygen 4"),
            inet6.MIP6MH_CoT(index=6, cookie=b"cookie 4", token=b"keygen 4"),
        ),
    ],
    ids=["HoTI", "CoTI", "HoT", "CoT"],
)
def test_return_routability(message: msg.OtherMobility, layer: Any) -> None:
    built = bytes(inet6.IPv6(**HEADER) / layer)[40:]
    assert DEFAULT_CODEC.build(A, B, message) == built
    assert DEFAULT_CODEC.parse(A, B, built) == message


@some.RUN
@given(some.word, some.word, st.none() | st.lists(some.address, max_size=4).map(tuple))
def test_discovery_both_ways(
    identifier: int, flags: int, addresses: tuple[bytes, ...] | None
) -> None:
    common = {"id": identifier, "R": flags >> 15, "res": flags & 0x7FFF}
    if addresses is None:
        message: msg.DhaadRequest | msg.DhaadReply = msg.DhaadRequest(identifier, flags)
        layer = inet6.ICMPv6HAADRequest(**common)
    else:
        message = msg.DhaadReply(identifier, addresses, flags)
        layer = inet6.ICMPv6HAADReply(**common, addresses=[text(one) for one in addresses])
    octets = build_icmpv6(A, B, message)
    built = bytes(inet6.IPv6(**HEADER) / layer)[40:]
    assert built == octets
    assert parse_icmpv6(A, B, built) == message
    dissected = inet6.IPv6(packet(octets, 58)).payload
    assert type(dissected) is type(layer)
    assert fields(dissected, *common) == common
    if addresses is not None:
        assert dissected.addresses == [text(one) for one in addresses]


# --- tshark reads ours ----------------------------------------------------------------------------

TSHARK = shutil.which("tshark")
Leaves = list[tuple[str, str]]
OPTIONS: msg.Options = (
    msg.AlternateCareOf(CARE_OF),
    msg.MobileNetworkPrefix(56, HOME),
    msg.NonceIndices(1, 2),
    msg.BindingIdentifier(3),
    msg.MnIdentifier(1, b"mn@home.example"),
    msg.RefreshAdvice(240),
    msg.RestartCounter(9),
    msg.LinkLayerAddress(2, b"\0\2\0\0\0\0\1"),
    msg.Authentication(1, 256, bytes(range(12))),
    msg.ReplayProtection(0xE000_0000_8000_0000),
    msg.BindingAuthData(bytes(range(12))),
)
SHOWN: tuple[tuple[msg.Message, dict[str, str]], ...] = (
    (
        msg.BindingUpdate(513, 0xC440, 600, OPTIONS),
        {
            "mip6.mhtype": "5", "mip6.bu.seqnr": "513", "mip6.bu.lifetime": "150",
            "mip6.bu.a_flag": "1", "mip6.bu.h_flag": "1", "mip6.bu.l_flag": "0",
            "mip6.bu.k_flag": "0", "mip6.bu.m_flag": "0", "mip6.nemo.bu.r_flag": "1",
            "mip6.bu.p_flag": "0", "mip6.bu.f_flag": "0", "mip6.bu.t_flag": "0",
            "mip6.acoa.acoa": "2001:db8:f::100", "mip6.nemo.mnp.pfl": "56",
            "mip6.nemo.mnp.mnp": "2001:db8:1::100", "mip6.ni.hni": "1", "mip6.ni.cni": "2",
            "mip6.bi.bid": "3", "mip6.mnid.subtype": "1",
            "mip6.mnid.identifier": "mn@home.example", "mip6.bra.interval": "60",
            "mip6.rc": "9", "mip6.auth.subtype": "1", "mip6.auth.mobility_spi": "256",
        },
    ),
    (
        msg.BindingUpdate(1, 0x3B80, 4),
        {
            "mip6.bu.a_flag": "0", "mip6.bu.h_flag": "0", "mip6.bu.l_flag": "1",
            "mip6.bu.k_flag": "1", "mip6.bu.m_flag": "1", "mip6.nemo.bu.r_flag": "0",
            "mip6.bu.p_flag": "1", "mip6.bu.f_flag": "1", "mip6.bu.t_flag": "1",
            "mip6.bu.lifetime": "1",
        },
    ),
    (
        msg.BindingAcknowledgement(130, 513, 600, 0x80, OPTIONS),
        {
            "mip6.mhtype": "6", "mip6.ba.status": "130", "mip6.ba.seqnr": "513",
            "mip6.ba.lifetime": "150", "mip6.ba.k_flag": "1", "mip6.nemo.ba.r_flag": "0",
        },
    ),
    (
        msg.BindingError(2, HOME),
        {"mip6.mhtype": "7", "mip6.be.status": "2", "mip6.be.haddr": "2001:db8:1::100"},
    ),
    (msg.BindingRefreshRequest(), {"mip6.mhtype": "0"}),
    (
        msg.HomeAgentSwitch((A,)),
        {"mip6.mhtype": "12", "mip6.has.num_addrs": "1", "mip6.has.address": "2001:db8:1::a"},
    ),
    (
        msg.Heartbeat(70000, 3, OPTIONS),
        {
            "mip6.mhtype": "13", "mip6.hb.u_flag": "1", "mip6.hb.r_flag": "1",
            "mip6.hb.seqnr": "70000", "mip6.rc": "9",
        },
    ),
    (msg.Heartbeat(1, 2), {"mip6.hb.u_flag": "1", "mip6.hb.r_flag": "0"}),
    (msg.OtherMobility(1, bytes(2) + b"12345678"), {"mip6.hoti.cookie": "0x3132333435363738"}),
)  # fmt: skip
DISCOVERY = (msg.DhaadRequest(513, 0x8000), msg.DhaadReply(513, (A, B), 0x8000))


def leaves(value: Any) -> Leaves:
    """All `name: text` pairs of tshark's JSON, in order, names repeated."""
    found: Leaves = []
    for name, inner in value:
        if isinstance(inner, str):
            found.append((name, inner))
        elif isinstance(inner, list) and inner and isinstance(inner[0], tuple):
            found += leaves(inner)
    return found


@pytest.fixture(scope="module")
def dissected(tmp_path_factory: pytest.TempPathFactory) -> list[Leaves]:
    """Tshark's view of a capture with every message of SHOWN, then DISCOVERY."""
    if TSHARK is None:
        pytest.skip("tshark is not installed")
    packets = [packet(DEFAULT_CODEC.build(A, B, message)) for message, _ in SHOWN]
    packets += [packet(build_icmpv6(A, B, message), 58) for message in DISCOVERY]
    linktype_ipv6 = 229
    capture = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, linktype_ipv6)
    for octets in packets:
        capture += struct.pack("<IIII", 0, 0, len(octets), len(octets)) + octets
    path: Path = tmp_path_factory.mktemp("capture") / "ours.pcap"
    path.write_bytes(capture)
    done = subprocess.run(
        [TSHARK, "-n", "-r", str(path), "-T", "json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return [leaves(frame) for frame in json.loads(done.stdout, object_pairs_hook=list)]


def test_tshark_sees_every_packet(dissected: list[Leaves]) -> None:
    assert len(dissected) == len(SHOWN) + len(DISCOVERY)


@pytest.mark.parametrize("index", range(len(SHOWN)))
def test_tshark_agrees_field_by_field(dissected: list[Leaves], index: int) -> None:
    message, shown = SHOWN[index]
    octets = DEFAULT_CODEC.build(A, B, message)
    seen = dict(dissected[index])
    assert {name: seen.get(name) for name in shown} == shown
    assert seen["mip6.proto"] == "59" and seen["mip6.hlen"] == str(octets[1])
    assert seen["mip6.csum"] == f"0x{octets[4:6].hex()}"


@pytest.mark.parametrize(
    "index", [i for i, (message, _) in enumerate(SHOWN) if getattr(message, "options", ())]
)
def test_tshark_splits_the_options_alike(dissected: list[Leaves], index: int) -> None:
    """Its raw octets of each option, padding too, in order, are ours from the options on."""
    octets = DEFAULT_CODEC.build(A, B, SHOWN[index][0])
    raw = [
        bytes.fromhex(value.replace(":", ""))
        for name, value in dissected[index]
        if name.startswith("mip6.options.")
    ]
    assert b"".join(raw) == octets[12:]
    kinds = [one[0] for one in raw if one[0] > 1]
    assert kinds == [3, 6, 4, 35, 8, 2, 28, 7, 9, 10, 5]


@pytest.mark.parametrize("index", range(len(DISCOVERY)))
def test_tshark_agrees_on_discovery(dissected: list[Leaves], index: int) -> None:
    seen = dissected[len(SHOWN) + index]
    fields = dict(seen)
    assert fields["icmpv6.type"] == str(144 + index)
    assert fields["icmpv6.checksum.status"] == "1"  # good
    assert fields["icmpv6.mip6.identifier"] == "513"
    addresses = [value for name, value in seen if name == "icmpv6.mip6.home_agent_address"]
    assert addresses == ([] if index == 0 else ["2001:db8:1::a", "2001:db8:1::b"])
