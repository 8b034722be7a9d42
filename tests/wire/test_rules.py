"""Rules 1 to 7 on receipt: each malformed class has its reason, the first rule decides.

Ref: harp.md §2 (what is malformed), §3 (order); RFC 6275 §9.2
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations

import pytest

from harp.wire import messages as msg
from harp.wire.codec import DEFAULT_CODEC

from . import bytes_by_hand as hand
from .bytes_by_hand import CARE_OF, HOME, A, B
from .judge import verdict


def judged(payload: bytes) -> str:
    """What the codec says of a payload from A to B; the second opinion must say the same."""
    parsed = DEFAULT_CODEC.parse(A, B, payload)
    said = str(parsed.reason) if isinstance(parsed, msg.Malformed) else "valid"
    assert said == verdict(A, B, payload), payload.hex()
    if isinstance(parsed, msg.Malformed):
        assert parsed.detail
    return said


def harp(kind: int, *options: hand.Option, **fields: int) -> bytes:
    """A HARP message with these options, laid out as the padding rule says."""
    return hand.message(A, B, hand.HARP, hand.harp_body(kind, **fields), options)


def hello_with(tail: bytes) -> bytes:
    """A HELLO whose option octets stand exactly as given."""
    return hand.loose(A, B, hand.HARP, hand.harp_body(hand.HELLO), tail)


def update_with(tail: bytes) -> bytes:
    """A Binding Update whose option octets stand exactly as given."""
    return hand.loose(A, B, hand.UPDATE, hand.update_body(1, 0xC000, 100), tail)


# --- the order of the rules -----------------------------------------------------------------------


@dataclass(frozen=True)
class Draft:
    """A HELLO of 24 octets before its faults."""

    proto: int = 59
    header_len: int = 2
    mh_type: int = hand.HARP
    kind: int = hand.HELLO
    sequence: int = 1
    tail: bytes = bytes(4)
    flip: int = 0
    cut: int = 24

    def octets(self) -> bytes:
        mh = bytes([self.proto, self.header_len, self.mh_type, 0, 0, 0])
        mh += hand.harp_body(self.kind, seq=self.sequence) + self.tail
        sealed = hand.seal(A, B, mh)
        return (sealed[:5] + bytes([sealed[5] ^ self.flip]) + sealed[6:])[: self.cut]


FAULTS: tuple[tuple[str, Callable[[Draft], Draft]], ...] = (
    ("truncated", lambda d: replace(d, cut=7)),
    ("bad_length", lambda d: replace(d, cut=min(d.cut, 8))),
    ("bad_checksum", lambda d: replace(d, flip=1)),
    ("unknown_type", lambda d: replace(d, mh_type=99)),
    ("bad_payload_proto", lambda d: replace(d, proto=6)),
    ("bad_length", lambda d: replace(d, header_len=1)),
    ("unknown_harp_type", lambda d: replace(d, kind=10)),
    ("bad_sequence", lambda d: replace(d, sequence=0)),
    ("bad_option", lambda d: replace(d, tail=bytes([99, 3, 0, 0]))),
)
"""In the order of harp.md §3: reason, and how a message gets that fault."""

FAULT_SETS = [
    chosen for size in range(1, len(FAULTS) + 1) for chosen in combinations(range(9), size)
]


def test_a_draft_without_fault_is_valid() -> None:
    assert judged(Draft().octets()) == "valid"


@pytest.mark.parametrize("size", range(1, 10))
def test_the_first_rule_that_fails_decides(size: int) -> None:
    """Every set of faults: all singles, all pairs, up to all nine at once."""
    for chosen in (c for c in FAULT_SETS if len(c) == size):
        draft = Draft()
        for index in chosen:
            draft = FAULTS[index][1](draft)
        assert judged(draft.octets()) == FAULTS[chosen[0]][0], chosen


# --- rules 1 to 6 ---------------------------------------------------------------------------------

MINIMUM = {0: 0, 12: 0, 1: 1, 2: 1, 5: 1, 6: 1, 13: 1, 3: 2, 4: 2, 7: 2, 11: 2}
"""harp.md §2.3."""


def blank(mh_type: int, header_len: int) -> bytes:
    """An MH of zeros, but Sequence # 1 where HARP has it."""
    mh = bytearray(8 * (header_len + 1))
    mh[0:3] = 59, header_len, mh_type
    if mh_type == hand.HARP and header_len:
        mh[9] = 1
    return hand.seal(A, B, bytes(mh))


@pytest.mark.parametrize("octets", range(8))
def test_fewer_than_8_octets_are_truncated(octets: int) -> None:
    assert judged(blank(0, 0)[:octets]) == "truncated"


@pytest.mark.parametrize("octets", range(8, 24))
def test_a_header_longer_than_the_payload(octets: int) -> None:
    assert judged(harp(hand.HELLO)[:octets]) == "bad_length"


@pytest.mark.parametrize(("mh_type", "minimum"), MINIMUM.items())
def test_minimum_header_len(mh_type: int, minimum: int) -> None:
    for header_len in range(minimum):
        assert judged(blank(mh_type, header_len)) == "bad_length"
    for header_len in (minimum, minimum + 1, 255):
        assert judged(blank(mh_type, header_len)) == "valid"


def test_every_other_mh_type_is_unknown() -> None:
    for mh_type in set(range(256)) - MINIMUM.keys():
        assert judged(blank(mh_type, 2)) == "unknown_type"


def test_payload_proto_must_be_59() -> None:
    for proto in set(range(256)) - {59}:
        draft = Draft(proto=proto)
        assert judged(draft.octets()) == "bad_payload_proto"


def test_every_flipped_bit_of_a_message_is_seen() -> None:
    payload = harp(hand.HELLO, hand.sync_position(3, 70000), group=7, seq=9)
    length = range(8 * len(payload))
    for bit in length:
        flipped = bytearray(payload)
        flipped[bit // 8] ^= 0x80 >> bit % 8
        said = judged(bytes(flipped))
        # Bits of Header Len change what the checksum covers, and may point past the payload.
        assert said in ({"bad_checksum", "bad_length"} if bit // 8 == 1 else {"bad_checksum"})


def test_the_checksum_covers_the_pseudo_header() -> None:
    payload = harp(hand.HELLO)
    for source, destination in ((HOME, B), (A, HOME)):
        parsed = DEFAULT_CODEC.parse(source, destination, payload)
        assert isinstance(parsed, msg.Malformed) and parsed.reason == "bad_checksum"


def test_reserved_octets_are_ignored() -> None:
    payload = harp(hand.HELLO, group=3)
    marked = hand.seal(A, B, payload[:3] + b"\xff" + payload[4:])
    assert DEFAULT_CODEC.parse(A, B, marked) == DEFAULT_CODEC.parse(A, B, payload)


# --- rule 7: Type and Sequence # ------------------------------------------------------------------


def test_every_unknown_harp_type() -> None:
    for kind in range(10, 256):
        assert judged(harp(kind)) == "unknown_harp_type"


@pytest.mark.parametrize("kind", range(10))
def test_sequence_0(kind: int) -> None:
    options = (hand.sync_position(1, 1), hand.ip_address(241, HOME), hand.ip_address(242, A))
    assert judged(harp(kind, *options, index=1, seq=1)) == "valid"
    assert judged(harp(kind, *options, index=1, seq=0)) == "bad_sequence"


@pytest.mark.parametrize("mh_type", [hand.UPDATE, hand.ACK, hand.HEARTBEAT])
def test_sequence_0_is_right_elsewhere(mh_type: int) -> None:
    assert judged(blank(mh_type, 1)) == "valid"


# --- rule 7: options ------------------------------------------------------------------------------

ONLY_LENGTHS = {
    **{2: {2}, 3: {16}, 4: {4}, 6: {18}, 10: {8}, 28: {4}, 34: {18}, 35: {4, 8, 20}},
    **{241: {40}, 242: {6}, 244: {12}, 245: {8}, 246: {8}},
}
"""Option type → lengths that are right."""
LEAST_LENGTHS = {5: 0, 7: 1, 8: 1, 9: 5, 19: 5, 243: 0}
"""Option type → least length, where the tail is free."""


def filler(kind: int, length: int) -> bytes:
    """Zeros; the Prefix Length of an IP Address option is 128."""
    data = bytearray(length)
    if kind == 34 and length > 1:
        data[:2] = 241, 128
    return bytes(data)


@pytest.mark.parametrize("place", [hello_with, update_with])
@pytest.mark.parametrize(("kind", "right"), ONLY_LENGTHS.items())
def test_lengths_of_fixed_options(
    place: Callable[[bytes], bytes], kind: int, right: set[int]
) -> None:
    beside = hand.raw(*hand.sync_position(1, 1)) if kind == 244 else b""
    for length in range(48):
        said = judged(place(beside + hand.raw(kind, filler(kind, length))))
        assert said == ("valid" if length in right else "bad_option"), (kind, length)


@pytest.mark.parametrize("place", [hello_with, update_with])
@pytest.mark.parametrize(("kind", "least"), LEAST_LENGTHS.items())
def test_lengths_of_open_options(place: Callable[[bytes], bytes], kind: int, least: int) -> None:
    for length in (*range(12), 254, 255):
        said = judged(place(hand.raw(kind, bytes(length))))
        assert said == ("valid" if length >= least else "bad_option"), (kind, length)


@pytest.mark.parametrize("place", [hello_with, update_with])
@pytest.mark.parametrize("kind", [1, 2, 99, 241, 255])
def test_an_option_past_the_end(place: Callable[[bytes], bytes], kind: int) -> None:
    """The last option's Length one too long, and a Type octet with no Length behind it."""
    body = bytes(12 if place is hello_with else 4)
    whole = place(hand.raw(1, bytes(len(body) - 2)))
    at = len(whole) - len(body)
    too_long = whole[:at] + hand.raw(kind, bytes(len(body) - 2), length=len(body) - 1)
    assert judged(hand.seal(A, B, too_long)) == "bad_option"
    lone = whole[:-1] + bytes([kind])
    lone = lone[:at] + hand.raw(1, bytes(len(body) - 3)) + lone[-1:]
    assert judged(hand.seal(A, B, lone)) == "bad_option"


@pytest.mark.parametrize("kind", [2, 34, 241, 245])
@pytest.mark.parametrize("place", [hello_with, update_with])
def test_an_option_of_the_right_length_past_the_end(
    place: Callable[[bytes], bytes], kind: int
) -> None:
    length = max(ONLY_LENGTHS[kind])
    payload = place(hand.raw(kind, filler(kind, length)))
    cut = payload[:1] + bytes([payload[1] - 1]) + payload[2:-8]
    assert judged(hand.seal(A, B, cut)) in ("bad_option", "bad_length")


def test_the_octet_behind_the_header_belongs_to_no_option() -> None:
    """An option that ends one octet past the MH, the octet being there in the payload."""
    payload = hello_with(hand.raw(99, bytes(2)))
    longer = hand.seal(A, B, payload[:21] + b"\x03" + payload[22:]) + bytes(8)
    assert judged(longer) == "bad_option"


@pytest.mark.parametrize("length", [129, 200, 255])
def test_prefix_length_over_128(length: int) -> None:
    for right in (0, 1, 64, 128):
        assert judged(hello_with(hand.raw(*hand.network_prefix(HOME, right)))) == "valid"
    assert judged(hello_with(hand.raw(*hand.network_prefix(HOME, length)))) == "bad_option"


@pytest.mark.parametrize("code", [241, 242, 243])
@pytest.mark.parametrize("length", [0, 64, 127, 129, 255])
def test_ip_address_prefix_length_is_128(code: int, length: int) -> None:
    assert judged(hello_with(hand.raw(*hand.ip_address(code, HOME)))) == "valid"
    assert judged(hello_with(hand.raw(*hand.ip_address(code, HOME, length)))) == "bad_option"


def test_an_unknown_option_code_is_an_unknown_option() -> None:
    option = hand.ip_address(1, HOME, 64)
    parsed = DEFAULT_CODEC.parse(A, B, hello_with(hand.raw(*option)))
    assert isinstance(parsed, msg.Harp)
    assert parsed.options == (msg.UnknownOption(*option),)


# --- HA-HA authentication -------------------------------------------------------------------------

MAC = (9, bytes([241, 0, 0, 1, 0]) + bytes(16))


@pytest.mark.parametrize("mh_type", [hand.HARP, hand.UPDATE])
def test_ha_ha_only_at_the_end(mh_type: int) -> None:
    body = hand.harp_body(0) if mh_type == hand.HARP else hand.update_body(1, 0, 0)
    position = hand.sync_position(1, 1)

    def said(*options: hand.Option) -> str:
        return judged(hand.message(A, B, mh_type, body, options))

    assert said(MAC) == "valid"
    assert said(position, MAC) == "valid"
    assert said(MAC, position) == "bad_option"
    assert said(MAC, (99, b"")) == "bad_option"
    assert said(MAC, MAC) == "bad_option"
    assert said(MAC, position, MAC) == "bad_option"


@pytest.mark.parametrize("behind", [bytes(8), hand.padding(8)])
def test_nothing_behind_ha_ha_not_even_padding(behind: bytes) -> None:
    assert judged(hello_with(hand.padding(5) + hand.raw(*MAC))) == "valid"
    assert judged(hello_with(hand.padding(5) + hand.raw(*MAC) + behind)) == "bad_option"


@pytest.mark.parametrize("length", [*range(21), 22, 23, 29, 255])
def test_ha_ha_length(length: int) -> None:
    """The tag at the very end, so that only its length is wrong."""
    data = (MAC[1] + bytes(255))[:length]
    pad = (8 - (20 + 2 + length) % 8) % 8
    tail = hand.padding(pad) + hand.raw(9, data)
    assert judged(hand.loose(A, B, hand.HARP, hand.harp_body(0), tail)) == "bad_option"


def test_other_authentication_may_stand_anywhere() -> None:
    mn_ha = (9, bytes([1, 0, 0, 1, 0]) + bytes(12))
    assert judged(harp(hand.HELLO, mn_ha, mn_ha, hand.sync_position(1, 1), MAC)) == "valid"


# --- what each Type must carry --------------------------------------------------------------------

POSITION, BINDING = hand.sync_position(3, 70000), hand.binding(HOME, CARE_OF, 0xC000, 5, 150)
HOME_ADDRESS, AGENT = hand.ip_address(241, HOME), hand.ip_address(242, A)
CARE_OF_ADDRESS, PREFIX = hand.ip_address(243, CARE_OF), hand.network_prefix(HOME, 56)
VENDOR, BID, AAA = hand.vendor(10415, 1, b"x"), hand.bid(3), hand.aaa(b"avp")
DIGEST, UNKNOWN = hand.cache_digest(1, 2), (99, b"??")
LOG = {"index": 0}
M = 0x10

CASES: tuple[tuple[str, int, dict[str, int], tuple[hand.Option, ...], bool], ...] = (
    ("HELLO, nothing", 0, {}, (), True),
    ("digest beside a position", 0, {}, (DIGEST, POSITION), True),
    ("digest alone", 0, {}, (DIGEST,), False),
    ("digest alone in an SO-REQ", 4, {}, (DIGEST,), False),
    ("SS-REQ, nothing", 1, {}, (), False),
    ("SS-REQ, home address", 1, {}, (HOME_ADDRESS,), True),
    ("SS-REQ, prefix", 1, {}, (PREFIX,), True),
    ("SS-REQ, vendor", 1, {}, (VENDOR,), True),
    ("SS-REQ, position alone", 1, {}, (POSITION,), False),
    ("SS-REQ, home agent address", 1, {}, (AGENT,), False),
    ("SS-REQ, care-of address", 1, {}, (CARE_OF_ADDRESS,), False),
    ("SS-REQ, address of another code", 1, {}, (hand.ip_address(1, HOME),), False),
    ("SS-REQ, unknown", 1, {}, (UNKNOWN,), False),
    ("SS-REQ, several", 1, {}, (POSITION, AGENT, HOME_ADDRESS), True),
    ("log", 2, LOG, (POSITION, BINDING), True),
    ("log, two bindings", 2, LOG, (POSITION, BINDING, PREFIX, BID, BINDING, AAA), True),
    ("log, nothing", 2, LOG, (), False),
    ("log, no position", 2, LOG, (BINDING,), False),
    ("log, no binding", 2, LOG, (POSITION,), False),
    ("log, prefix first", 2, LOG, (POSITION, PREFIX, BINDING), False),
    ("log, BID first", 2, LOG, (POSITION, BID, BINDING), False),
    ("log, vendor first", 2, LOG, (POSITION, VENDOR, BINDING), False),
    ("log, AAA first", 2, LOG, (POSITION, AAA, BINDING), False),
    ("log, unknown first", 2, LOG, (POSITION, UNKNOWN, BINDING), False),
    ("log, timestamp first", 2, LOG, (POSITION, hand.timestamp(9), BINDING), True),
    ("log, unknown behind", 2, LOG, (POSITION, BINDING, UNKNOWN), True),
    ("log, M does not make it an answer", 2, {**LOG, "flags": M}, (POSITION,), False),
    ("answer, last, nothing", 2, {"index": 1}, (), False),
    ("answer, last, position", 2, {"index": 1}, (POSITION,), True),
    ("answer, last, binding without position", 2, {"index": 2}, (BINDING,), False),
    ("answer, more follow", 2, {"index": 2, "flags": M}, (BINDING,), True),
    ("answer, prefix before a binding", 2, {"index": 2, "flags": M}, (PREFIX, BINDING), True),
    ("answer, refused", 2, {"index": 1, "status": 128}, (), True),
    ("answer, status 127 does not refuse", 2, {"index": 1, "status": 127}, (), False),
    ("SS-ACK of an answer", 3, {"index": 1}, (), True),
    ("SS-ACK of the log", 3, LOG, (POSITION,), True),
    ("SS-ACK of the log, no position", 3, LOG, (), False),
    ("SS-ACK of the log, refusing", 3, {**LOG, "status": 130}, (), True),
    ("SO-REQ", 4, {}, (), True),
    ("SO-REP", 5, {}, (), True),
    ("SB-REQ", 6, {}, (), True),
    ("SB-REP", 7, {}, (), True),
    ("SW-COMP", 8, {}, (), True),
    ("HA-REKEY, nothing", 9, {}, (), False),
    ("HA-REKEY, home agent address", 9, {}, (AGENT,), True),
    ("HA-REKEY, home address", 9, {}, (HOME_ADDRESS,), False),
)


@pytest.mark.parametrize(
    ("kind", "fields", "options", "good"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_mandatory_and_misplaced_options(
    kind: int, fields: dict[str, int], options: tuple[hand.Option, ...], good: bool
) -> None:
    assert judged(harp(kind, *options, **fields)) == ("valid" if good else "bad_option")


# --- what is ignored ------------------------------------------------------------------------------


def test_unknown_flags_and_statuses_are_kept() -> None:
    for value in range(256):
        parsed = DEFAULT_CODEC.parse(A, B, harp(hand.SO_REP, flags=value, status=value))
        assert isinstance(parsed, msg.Harp)
        assert (parsed.flags, parsed.status) == (value, value)


def test_unknown_options_are_kept_in_their_place() -> None:
    known = set(ONLY_LENGTHS) | set(LEAST_LENGTHS)
    for kind in set(range(2, 256)) - known:
        payload = harp(hand.HELLO, (kind, b"\1\2"), POSITION, (kind, b""))
        parsed = DEFAULT_CODEC.parse(A, B, payload)
        assert isinstance(parsed, msg.Harp)
        assert parsed.options == (
            msg.UnknownOption(kind, b"\1\2"),
            msg.SyncPosition(3, 70000),
            msg.UnknownOption(kind, b""),
        )
        assert DEFAULT_CODEC.build(A, B, parsed) == payload


@pytest.mark.parametrize("shift", range(8))
def test_any_alignment_is_accepted(shift: int) -> None:
    tail = bytes(shift) + hand.raw(*POSITION) + hand.raw(1, b"\xff" * shift)
    tail += hand.raw(*HOME_ADDRESS)
    parsed = DEFAULT_CODEC.parse(A, B, hello_with(tail))
    assert isinstance(parsed, msg.Harp)
    assert parsed.options == (
        msg.SyncPosition(3, 70000),
        msg.IpAddress(msg.AddressKind.HOME, HOME),
    )


@pytest.mark.parametrize("behind", [b"\0", b"\xff" * 7, bytes(8), b"\x3b" * 1500])
@pytest.mark.parametrize("mh_type", MINIMUM)
def test_octets_behind_the_header_are_ignored(mh_type: int, behind: bytes) -> None:
    payload = blank(mh_type, 3)
    assert DEFAULT_CODEC.parse(A, B, payload + behind) == DEFAULT_CODEC.parse(A, B, payload)
    assert judged(payload + behind) == "valid"


# --- Home Agent Switch ----------------------------------------------------------------------------


def test_home_agent_switch_counts_its_addresses() -> None:
    for count in (0, 1, 2, 127):
        addresses = [bytes([i]) * 16 for i in range(count)]
        payload = hand.message(A, B, hand.SWITCH, hand.switch_body(addresses))
        parsed = DEFAULT_CODEC.parse(A, B, payload)
        assert parsed == msg.HomeAgentSwitch(tuple(addresses))
        more = hand.seal(A, B, payload[:6] + bytes([count + 1]) + payload[7:])
        assert judged(more) == "bad_length"


@pytest.mark.parametrize("missing", [8, 16, 24])
def test_home_agent_switch_addresses_past_its_end(missing: int) -> None:
    count = 2
    body = bytes([count, 0]) + bytes(16 * count - missing)
    assert judged(hand.loose(A, B, hand.SWITCH, body, b"")) == "bad_length"
