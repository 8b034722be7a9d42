"""Build and parse are each other's inverse; the octets are those that the padding rule gives.

Ref: harp.md §2 (padding, alignment), §2.1-2.3 (layouts)
"""

import re
from dataclasses import FrozenInstanceError, fields, replace
from ipaddress import IPv6Address
from typing import Any, assert_never

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harp.tables.codepoints import CodePoints
from harp.tables.harp_types import HarpType
from harp.wire import messages as msg
from harp.wire.codec import DEFAULT_CODEC, Codec

from . import bytes_by_hand as hand
from . import strategies as some
from .bytes_by_hand import CARE_OF, HOME, A, B
from .judge import verdict

ADDRESS_CODES = {
    msg.AddressKind.HOME: 241,
    msg.AddressKind.HOME_AGENT: 242,
    msg.AddressKind.CARE_OF: 243,
}


def units(lifetime_s: int) -> int:
    """Lifetime in units of 4 s, rounded up."""
    return (lifetime_s + 3) // 4


def option_by_hand(option: msg.Option) -> hand.Option:
    match option:
        case msg.UnknownOption(kind, data):
            return kind, data
        case msg.RefreshAdvice(interval_s):
            return hand.refresh_advice(units(interval_s))
        case msg.AlternateCareOf(address):
            return hand.alternate_care_of(address)
        case msg.NonceIndices(home, care_of):
            return 4, home.to_bytes(2, "big") + care_of.to_bytes(2, "big")
        case msg.BindingAuthData(authenticator):
            return 5, authenticator
        case msg.MobileNetworkPrefix(length, prefix):
            return hand.network_prefix(prefix, length)
        case msg.LinkLayerAddress(code, address):
            return 7, bytes([code]) + address
        case msg.MnIdentifier(subtype, identifier):
            return 8, bytes([subtype]) + identifier
        case msg.Authentication(subtype, spi, tag):
            return 9, bytes([subtype]) + spi.to_bytes(4, "big") + tag
        case msg.ReplayProtection(timestamp):
            return hand.timestamp(timestamp)
        case msg.Vendor(vendor_id, subtype, data):
            return hand.vendor(vendor_id, subtype, data)
        case msg.RestartCounter(value):
            return hand.restart_counter(value)
        case msg.IpAddress(kind, address):
            return hand.ip_address(ADDRESS_CODES[kind], address)
        case msg.BindingIdentifier(bid, status, flags, care_of):
            kind, data = hand.bid(bid, status, flags)
            return kind, data + care_of
        case msg.BindingCache(home, care_of, flags, sequence, lifetime_s):
            return hand.binding(home, care_of, flags, sequence, units(lifetime_s))
        case msg.Detection(interval_us, multiplier):
            return hand.detection(interval_us, multiplier)
        case msg.Aaa(data):
            return hand.aaa(data)
        case msg.CacheDigest(count, digest):
            return hand.cache_digest(count, digest)
        case msg.SyncPosition(term, position):
            return hand.sync_position(term, position)
        case msg.Configuration(digest):
            return hand.configuration(digest)
    assert_never(option)


def body_by_hand(message: msg.Message) -> tuple[int, bytes]:
    match message:
        case msg.Harp():
            return hand.HARP, hand.harp_body(
                *(int(message.type), message.group, message.sequence, message.status),
                *(message.flags, message.preference, message.lifetime_s, message.interval_ms),
                message.index,
            )
        case msg.BindingUpdate(sequence, flags, lifetime_s, _):
            return hand.UPDATE, hand.update_body(sequence, flags, units(lifetime_s))
        case msg.BindingAcknowledgement(status, sequence, lifetime_s, flags, _):
            return hand.ACK, hand.ack_body(status, flags, sequence, units(lifetime_s))
        case msg.BindingError(status, home, _):
            return hand.ERROR, hand.error_body(status, home)
        case msg.BindingRefreshRequest():
            return hand.REFRESH_REQUEST, bytes(2)
        case msg.HomeAgentSwitch(addresses, _):
            return hand.SWITCH, hand.switch_body(list(addresses))
        case msg.Heartbeat(sequence, flags, _):
            return hand.HEARTBEAT, flags.to_bytes(2, "big") + sequence.to_bytes(4, "big")
        case msg.OtherMobility(mh_type, data):
            return mh_type, data
    assert_never(message)


def octets_by_hand(message: msg.Message) -> bytes:
    """The message made without the codec."""
    mh_type, body = body_by_hand(message)
    options = () if isinstance(message, msg.OtherMobility) else message.options
    return hand.message(A, B, mh_type, body, map(option_by_hand, options))


def known(parsed: msg.Message | msg.Malformed) -> msg.Message:
    assert not isinstance(parsed, msg.Malformed), parsed
    return parsed


# --- identity -------------------------------------------------------------------------------------


@some.RUN
@given(some.message)
def test_parse_after_build_is_the_identity(message: msg.Message) -> None:
    assert DEFAULT_CODEC.parse(A, B, DEFAULT_CODEC.build(A, B, message)) == message


@pytest.mark.parametrize("kind", HarpType, ids=lambda kind: kind.name)
@some.RUN
@given(data=st.data())
def test_every_harp_type(kind: HarpType, data: st.DataObject) -> None:
    message = data.draw(some.harp((kind,)))
    octets = octets_by_hand(message)
    assert DEFAULT_CODEC.build(A, B, message) == octets
    assert DEFAULT_CODEC.parse(A, B, octets) == message
    assert verdict(A, B, octets) == "valid"


@some.RUN
@given(some.message)
def test_the_octets_are_those_of_the_hand_builder(message: msg.Message) -> None:
    assert DEFAULT_CODEC.build(A, B, message) == octets_by_hand(message)


@pytest.mark.parametrize("cls", some.BY_CLASS, ids=lambda cls: cls.__name__)
@some.RUN
@given(data=st.data())
def test_every_option_at_every_offset(cls: type, data: st.DataObject) -> None:
    """Each option behind 0 to 7 octets that something else took."""
    option = data.draw(some.BY_CLASS[cls])
    for taken in range(8):
        message = msg.Heartbeat(1, 0, (msg.UnknownOption(99, bytes(taken)), option))
        octets = octets_by_hand(message)
        assert DEFAULT_CODEC.build(A, B, message) == octets
        assert DEFAULT_CODEC.parse(A, B, octets) == message


@some.RUN
@given(some.harp())
def test_a_parsed_message_is_as_good_as_a_made_one(message: msg.Harp) -> None:
    """Frozen, of its own class all through, hashed and copied alike."""
    parsed = known(DEFAULT_CODEC.parse(A, B, DEFAULT_CODEC.build(A, B, message)))
    assert repr(parsed) == repr(message) and hash(parsed) == hash(message)
    assert isinstance(parsed, msg.Harp) and replace(parsed, group=1) == replace(message, group=1)
    for one, name in ((parsed, "group"), *((o, fields(o)[0].name) for o in parsed.options)):
        with pytest.raises(FrozenInstanceError):
            setattr(one, name, 0)


# --- canonical form -------------------------------------------------------------------------------


@st.composite
def loose_octets(draw: st.DrawFn) -> bytes:
    """A Binding Update with options at any offset, any padding, reserved octets set."""
    tail = b""
    for option in draw(st.lists(some.option, max_size=5)):
        tail += draw(st.sampled_from((b"", b"\0", b"\1\0", b"\0\0\0", b"\1\3\xff\xff\xff")))
        tail += hand.raw(*option_by_hand(option))
    body = hand.update_body(draw(some.word), draw(some.word), draw(some.word))
    mh = hand.loose(A, B, hand.UPDATE, body, tail)
    return hand.seal(A, B, mh[:3] + bytes([draw(some.octet)]) + mh[4:])


@some.RUN
@given(loose_octets())
def test_build_after_parse_is_canonical(octets: bytes) -> None:
    message = known(DEFAULT_CODEC.parse(A, B, octets))
    built = DEFAULT_CODEC.build(A, B, message)
    assert built == octets_by_hand(message)
    assert known(DEFAULT_CODEC.parse(A, B, built)) == message


@some.RUN
@given(st.integers(0, 262140))
def test_lifetimes_are_rounded_up_to_4_s(lifetime_s: int) -> None:
    update = msg.BindingUpdate(1, 0, lifetime_s)
    parsed = DEFAULT_CODEC.parse(A, B, DEFAULT_CODEC.build(A, B, update))
    assert parsed == replace(update, lifetime_s=4 * units(lifetime_s))


def test_padding_of_each_option_by_the_written_rule() -> None:
    """Where the Type octet stands behind the 20 octets of a HELLO, typed in from harp.md §2."""
    at = {
        28: 22, 242: 22, 244: 22, 245: 22, 246: 22,
        6: 20, 34: 20, 35: 20, 19: 20, 243: 20, 241: 22, 10: 26, 9: 25,
    }  # fmt: skip
    options: dict[int, msg.Option] = {
        28: msg.RestartCounter(1),
        242: msg.Detection(1, 1),
        244: msg.CacheDigest(1, 1),
        245: msg.SyncPosition(1, 1),
        246: msg.Configuration(bytes(8)),
        6: msg.MobileNetworkPrefix(64, HOME),
        34: msg.IpAddress(msg.AddressKind.HOME, HOME),
        35: msg.BindingIdentifier(1),
        19: msg.Vendor(1, 1, b""),
        243: msg.Aaa(b"x"),
        241: msg.BindingCache(HOME, CARE_OF, 0, 1, 4),
        10: msg.ReplayProtection(1),
        9: msg.Authentication(241, 256, bytes(16)),
    }
    assert at.keys() == options.keys()
    for kind, option in options.items():
        codec = DEFAULT_CODEC.begin(msg.Harp(HarpType.HELLO, 1, 1, options=(option,)))
        assert codec[at[kind]] == kind
        gap = at[kind] - 20
        assert codec[20 : at[kind]] == hand.padding(gap)


# --- what cannot be built -------------------------------------------------------------------------

HELLO = msg.Harp(HarpType.HELLO, 1, 1)
WRONG: Any = "x"
TOO_MUCH: tuple[tuple[str, Any], ...] = (
    ("Harp.group", replace(HELLO, group=256)),
    ("Harp.sequence", replace(HELLO, sequence=-1)),
    ("Harp.sequence", replace(HELLO, sequence=65536)),
    ("Harp.status", replace(HELLO, status=256)),
    ("Harp.flags", replace(HELLO, flags=256)),
    ("Harp.preference", replace(HELLO, preference=65536)),
    ("Harp.lifetime_s", replace(HELLO, lifetime_s=65536)),
    ("Harp.interval_ms", replace(HELLO, interval_ms=65536)),
    ("Harp.index", replace(HELLO, index=65536)),
    ("BindingUpdate.lifetime_s", msg.BindingUpdate(1, 0, 262141)),
    ("BindingUpdate.lifetime_s", msg.BindingUpdate(1, 0, -4)),
    ("BindingAcknowledgement.status", msg.BindingAcknowledgement(256, 1, 4)),
    ("BindingError.home_address", msg.BindingError(1, bytes(15))),
    ("HomeAgentSwitch.addresses", msg.HomeAgentSwitch((bytes(17),))),
    ("HomeAgentSwitch.addresses", msg.HomeAgentSwitch((bytes(16),) * 128)),
    ("Heartbeat.sequence", msg.Heartbeat(2**32)),
    ("RefreshAdvice.interval_s", msg.RefreshAdvice(262144)),
    ("AlternateCareOf.address", msg.AlternateCareOf(bytes(17))),
    ("NonceIndices.care_of", msg.NonceIndices(0, 65536)),
    ("BindingAuthData.authenticator", msg.BindingAuthData(bytes(256))),
    ("MobileNetworkPrefix.length", msg.MobileNetworkPrefix(129, HOME)),
    ("MobileNetworkPrefix.length", msg.MobileNetworkPrefix(-1, HOME)),
    ("MobileNetworkPrefix.prefix", msg.MobileNetworkPrefix(64, bytes(8))),
    ("LinkLayerAddress.address", msg.LinkLayerAddress(1, bytes(255))),
    ("MnIdentifier.identifier", msg.MnIdentifier(1, bytes(255))),
    ("Authentication.tag", msg.Authentication(1, 256, bytes(251))),
    ("Authentication.spi", msg.Authentication(1, 2**32, b"")),
    ("ReplayProtection.timestamp", msg.ReplayProtection(2**64)),
    ("Vendor.data", msg.Vendor(1, 1, bytes(251))),
    ("RestartCounter.value", msg.RestartCounter(2**32)),
    ("address", msg.IpAddress(msg.AddressKind.HOME, bytes(4))),
    ("BindingIdentifier.care_of_address", msg.BindingIdentifier(1, 0, 0, bytes(5))),
    ("BindingCache.home_address", msg.BindingCache(b"", HOME, 0, 0, 0)),
    ("BindingCache.lifetime_s", msg.BindingCache(HOME, HOME, 0, 0, 262141)),
    ("Detection.multiplier", msg.Detection(1, 256)),
    ("Aaa.data", msg.Aaa(bytes(256))),
    ("CacheDigest.hash", msg.CacheDigest(1, 2**64)),
    ("SyncPosition.term", msg.SyncPosition(-1, 1)),
    ("Configuration.hash", msg.Configuration(bytes(9))),
    ("option of type 99", msg.UnknownOption(99, bytes(256))),
    ("option of type 0", msg.UnknownOption(0, b"")),
    ("option of type 1", msg.UnknownOption(1, b"")),
    ("option of type 256", msg.UnknownOption(256, b"")),
)


@pytest.mark.parametrize(("name", "thing"), TOO_MUCH, ids=lambda x: x if type(x) is str else "")
def test_a_value_that_does_not_fit_is_named(name: str, thing: Any) -> None:
    is_option = not hasattr(thing, "options")
    message = replace(HELLO, options=(thing,)) if is_option else thing
    with pytest.raises(ValueError, match=re.escape(name)):
        DEFAULT_CODEC.build(A, B, message)


def test_a_value_that_is_no_number_is_named() -> None:
    with pytest.raises(ValueError, match=r"SyncPosition\.position = 'x'"):
        DEFAULT_CODEC.options.append(bytearray(), (msg.SyncPosition(1, WRONG),))


def test_the_longest_message() -> None:
    """2,048 octets: 20, then 8 options of 253 and one of 4 octets; one octet more fits not."""
    full = replace(HELLO, options=(msg.UnknownOption(99, bytes(251)),) * 8)
    longest = replace(full, options=(*full.options, msg.UnknownOption(99, b"12")))
    octets = DEFAULT_CODEC.build(A, B, longest)
    assert len(octets) == 2048 and octets[1] == 255
    assert DEFAULT_CODEC.parse(A, B, octets) == longest
    with pytest.raises(ValueError, match="2056 octets: a Mobility Header has 2048"):
        DEFAULT_CODEC.build(
            A, B, replace(full, options=(*full.options, msg.UnknownOption(99, b"123")))
        )


# --- code points ----------------------------------------------------------------------------------

OWN = {
    "option_binding_cache": 241, "option_detection": 242, "option_aaa": 243,
    "option_digest": 244, "option_sync_position": 245, "option_configuration": 246,
}  # fmt: skip


def renumbered(mh: bytes, points: CodePoints) -> bytes:
    """A HARP message under the defaults with the numbers of `points` put in by hand."""
    numbers = {number: getattr(points, name) for name, number in OWN.items()}
    codes = {241: points.address_home, 242: points.address_home_agent, 243: points.address_care_of}
    out = bytearray(mh)
    out[2] = points.mh_type_harp
    at = 20
    while at < len(mh):
        if mh[at] == 0:
            at += 1
            continue
        out[at] = numbers.get(mh[at], mh[at])
        if mh[at] == 34:
            out[at + 2] = codes[mh[at + 2]]
        if mh[at] == 9 and mh[at + 2] == 241:
            out[at + 2] = points.auth_subtype
        at += 2 + mh[at + 1]
    return hand.seal(A, B, bytes(out))


ALL_OWN = (
    msg.SyncPosition(1, 2),
    msg.IpAddress(msg.AddressKind.HOME, HOME),
    msg.IpAddress(msg.AddressKind.HOME_AGENT, A),
    msg.IpAddress(msg.AddressKind.CARE_OF, CARE_OF),
    msg.CacheDigest(5, 6),
    msg.Configuration(b"87654321"),
    msg.Detection(3300, 3),
    msg.BindingCache(HOME, CARE_OF, 0xC000, 7, 600),
    msg.Aaa(b"avp"),
    msg.Authentication(241, 256, bytes(16)),
)


@some.RUN
@given(some.code_points(), st.sampled_from(HarpType))
def test_other_code_points(points: CodePoints, kind: HarpType) -> None:
    codec = Codec(points)
    default = msg.Harp(kind, 1, 2, options=ALL_OWN)
    mac = msg.Authentication(points.auth_subtype, 256, bytes(16))
    message = replace(default, options=(*ALL_OWN[:-1], mac))
    octets = codec.build(A, B, message)
    assert octets == renumbered(DEFAULT_CODEC.build(A, B, default), points)
    assert codec.parse(A, B, octets) == message


def test_default_type_is_unknown_under_another() -> None:
    codec = Codec(CodePoints(mh_type_harp=200))
    octets = DEFAULT_CODEC.build(A, B, HELLO)
    parsed = codec.parse(A, B, octets)
    assert isinstance(parsed, msg.Malformed) and parsed.reason == "unknown_type"


NUMBERS = [field.name for field in fields(CodePoints) if field.name != "multicast_group"]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-1, 256, 1000, "241", None])
def test_a_code_point_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name} = {value}: not in 0 to 255$"):
        CodePoints(**{name: value})


TAKEN = [
    *(("mh_type_harp", value) for value in (0, 1, 2, 3, 4, 5, 6, 7, 12, 13)),
    *((name, value) for name in OWN for value in (0, 1, 2, 3, 6, 9, 10, 19, 28, 34, 35)),
    *((f"address_{name}", 1) for name in ("home", "home_agent", "care_of")),
    *(("auth_subtype", value) for value in (1, 2)),
]


@pytest.mark.parametrize(("name", "value"), TAKEN)
def test_a_code_point_of_someone_else_is_named(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"^{name} = {value}: already used by "):
        CodePoints(**{name: value})


@pytest.mark.parametrize(
    ("second", "first"),
    [
        ("option_detection", "option_binding_cache"),
        ("option_configuration", "option_aaa"),
        ("address_care_of", "address_home"),
    ],
)
def test_one_number_for_two_things_is_named(second: str, first: str) -> None:
    with pytest.raises(ValueError, match=rf"^{second} = 220: already used by {first}$"):
        CodePoints(**{second: 220, first: 220})


@pytest.mark.parametrize("group", ["2001:db8::1", "ff05::114", "ff0e::1", "::"])
def test_the_multicast_group_is_link_local(group: str) -> None:
    with pytest.raises(ValueError, match=rf"^multicast_group = {group}: "):
        CodePoints(multicast_group=IPv6Address(group))
    assert CodePoints(multicast_group=IPv6Address("ff12::5")).multicast_group.is_multicast
