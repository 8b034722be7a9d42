"""The Mobility Header in an IPv6 packet: chains of extension headers, and the addresses that the
checksum wants.

Ref: RFC 8200 §4; RFC 4302 §2.2; RFC 6275 §6.1.1, §6.3, §6.4; harp.md §3 rule 1
"""

import random
import struct
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harp.wire import messages as msg
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.packet import MobilityPacket, find_mobility_header

from . import bytes_by_hand as hand
from . import strategies as some
from .bytes_by_hand import CARE_OF, HOME, A, B

HOP_BY_HOP, ROUTING, FRAGMENT, ESP, AH, DESTINATION, NONE = 0, 43, 44, 50, 51, 60, 59
UPDATE = hand.message(HOME, A, hand.UPDATE, hand.update_body(1, 0xC000, 100))


@dataclass(frozen=True)
class Extension:
    """One extension header: its number, and all but its Next Header octet."""

    number: int
    rest: bytes


def packet(
    *chain: Extension,
    payload: bytes = UPDATE,
    last: int = 135,
    source: bytes = CARE_OF,
    destination: bytes = A,
    hop_limit: int = 64,
    length: int | None = None,
) -> bytes:
    """An IPv6 packet; `length` overrides what its Payload Length claims."""
    numbers = [*(one.number for one in chain), last]
    body = b""
    for one, following in zip(chain, numbers[1:], strict=True):
        body += bytes([following]) + one.rest
    body += payload
    size = len(body) if length is None else length
    return struct.pack("!IHBB", 6 << 28, size, numbers[0], hop_limit) + source + destination + body


def options(*parts: bytes, number: int = DESTINATION) -> Extension:
    """Destination Options or Hop-by-Hop with these octets, Pad1s to a multiple of 8."""
    body = b"".join(parts)
    body += bytes(-(2 + len(body)) % 8)
    return Extension(number, bytes([(2 + len(body)) // 8 - 1]) + body)


def home_option(address: bytes) -> bytes:
    """RFC 6275 §6.3."""
    return bytes([201, 16]) + address


def routing(address: bytes, segments_left: int = 1, kind: int = 2) -> Extension:
    """RFC 6275 §6.4."""
    return Extension(ROUTING, bytes([2, kind, segments_left]) + bytes(4) + address)


def fragment(offset_and_more: int) -> Extension:
    """RFC 8200 §4.5."""
    return Extension(FRAGMENT, struct.pack("!BHI", 0, offset_and_more, 7))


def authentication(words: int) -> Extension:
    """RFC 4302 §2.2: Payload Len counts 32-bit words, less 2."""
    return Extension(AH, bytes([words - 2]) + bytes(4 * words - 2))


FOUND = MobilityPacket(CARE_OF, A, CARE_OF, A, 64, UPDATE)


def find(octets: bytes) -> MobilityPacket:
    found = find_mobility_header(octets)
    assert isinstance(found, MobilityPacket)
    return found


# --- chains ---------------------------------------------------------------------------------------


def test_no_extension_header() -> None:
    assert find(packet()) == FOUND
    assert find(packet(hop_limit=255)) == replace(FOUND, hop_limit=255)


CHAIN_LINKS = (
    options(number=HOP_BY_HOP),
    options(bytes(40)),
    options(bytes([5, 2, 0, 0]), number=HOP_BY_HOP),
    routing(HOME, segments_left=0),
    routing(HOME, kind=0),
    Extension(ROUTING, bytes([0, 4, 0]) + bytes(4)),
    fragment(0),
    fragment(6),  # the two reserved bits
    *(authentication(words) for words in (4, 6, 7)),
)


@some.RUN
@given(st.lists(st.sampled_from(CHAIN_LINKS), max_size=8))
def test_any_chain(chain: list[Extension]) -> None:
    assert find(packet(*chain)) == FOUND


def test_a_long_chain_has_an_end() -> None:
    assert find(packet(*[options()] * 4000)) == FOUND


@pytest.mark.parametrize("last", [NONE, ESP, 6, 17, 41, 58, 134, 136, 140, 255])
def test_another_upper_layer(last: int) -> None:
    assert find_mobility_header(packet(last=last)) is None
    assert find_mobility_header(packet(options(), last=last)) is None


@pytest.mark.parametrize("bits", [1, 8, 9, 0xFFF8, 0xFFF9])
def test_a_fragment_carries_no_whole_header(bits: int) -> None:
    """RFC 6946: only an atomic fragment is a whole packet."""
    assert find_mobility_header(packet(fragment(bits))) is None


def test_a_tunnelled_header_is_not_for_us() -> None:
    assert find_mobility_header(packet(payload=packet(), last=41)) is None


def test_an_authentication_header_too_short() -> None:
    """RFC 4302 §2.2: Payload Len 0 or 1 makes 8 or 12 octets; each is walked as it says."""
    for words in (2, 3):
        assert find(packet(authentication(words))) == FOUND


# --- addresses of the checksum --------------------------------------------------------------------


@pytest.mark.parametrize("before", [b"", b"\0", b"\0\0\0", b"\1\0", b"\1\2\0\0", b"\1\4\0\0\0\0"])
@pytest.mark.parametrize("behind", [b"", b"\0", b"\1\0", b"\1\7" + bytes(7)])
def test_home_address_option_with_any_padding(before: bytes, behind: bytes) -> None:
    found = find(packet(options(before, home_option(HOME), behind)))
    assert found == replace(FOUND, source=HOME)
    update = DEFAULT_CODEC.parse(found.source, found.destination, found.payload)
    assert update == msg.BindingUpdate(1, 0xC000, 400)


def test_home_address_behind_another_option() -> None:
    found = find(packet(options(bytes([0x1E, 3, 1, 2, 3]), home_option(HOME))))
    assert found.source == HOME
    inside = bytes([0x1E, 18]) + home_option(HOME)  # an option's data is no option
    assert find(packet(options(inside))).source == CARE_OF


def test_home_address_only_among_destination_options() -> None:
    assert find(packet(options(home_option(HOME), number=HOP_BY_HOP))).source == CARE_OF


@pytest.mark.parametrize(
    "option",
    [
        bytes([201, 15]) + HOME[:15],
        bytes([201, 17]) + HOME + b"\0",
        bytes([201, 0]),
        bytes([201, 255]) + HOME,
        bytes([200, 16]) + HOME,
        bytes([0x1E, 255]) + home_option(HOME),
    ],
)
def test_no_home_address_option(option: bytes) -> None:
    assert find(packet(options(option))).source == CARE_OF


def test_home_address_option_past_its_header() -> None:
    """It claims octets of the Mobility Header behind."""
    short = Extension(DESTINATION, bytes([1]) + home_option(HOME)[:14])
    assert find(packet(short)).source == CARE_OF
    lone = Extension(DESTINATION, bytes([0]) + b"\1\3\0\0\0" + bytes([201]))
    assert find(packet(lone)).source == CARE_OF


def test_type_2_routing_header() -> None:
    ack = hand.message(A, HOME, hand.ACK, hand.ack_body(0, 0, 1, 100))
    found = find(packet(routing(HOME), payload=ack, source=A, destination=CARE_OF))
    assert found == MobilityPacket(A, HOME, A, CARE_OF, 64, ack)
    parsed = DEFAULT_CODEC.parse(found.source, found.destination, found.payload)
    assert parsed == msg.BindingAcknowledgement(0, 1, 400)


@pytest.mark.parametrize(
    "header",
    [
        routing(HOME, segments_left=0),
        routing(HOME, segments_left=2),
        routing(HOME, kind=0),
        routing(HOME, kind=4),
        Extension(ROUTING, bytes([4, 2, 1]) + bytes(4) + HOME + HOME),
        Extension(ROUTING, bytes([0, 2, 1]) + bytes(4)),
    ],
)
def test_other_routing_headers_change_nothing(header: Extension) -> None:
    assert find(packet(header)) == FOUND


def test_both_addresses() -> None:
    chain = (routing(B), options(b"\0\0", home_option(HOME)))
    assert find(packet(*chain)) == replace(FOUND, source=HOME, destination=B)
    assert find(packet(*reversed(chain))) == replace(FOUND, source=HOME, destination=B)


# --- truncation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("octets", range(40))
def test_no_whole_ipv6_header(octets: int) -> None:
    assert find_mobility_header(packet()[:octets]) is None


@pytest.mark.parametrize("version", [0, 4, 5, 7, 15])
def test_another_version(version: int) -> None:
    assert find_mobility_header(bytes([version << 4]) + packet()[1:]) is None


@pytest.mark.parametrize("kept", range(40, 40 + len(UPDATE)))
def test_a_packet_that_ends_too_soon(kept: int) -> None:
    cut = find_mobility_header(packet()[:kept])
    missing = 40 + len(UPDATE) - kept
    assert isinstance(cut, msg.Malformed)
    assert cut.reason == "truncated" and f"ends {missing} octets before" in cut.detail


def test_a_payload_shorter_than_a_header() -> None:
    for octets in range(8):
        found = find(packet(payload=UPDATE[:octets]))
        assert found.payload == UPDATE[:octets]
        parsed = DEFAULT_CODEC.parse(found.source, found.destination, found.payload)
        assert isinstance(parsed, msg.Malformed) and parsed.reason == "truncated"


def test_octets_past_the_payload_length_are_link_padding() -> None:
    assert find(packet() + b"\xff" * 6) == FOUND
    assert find(packet(options(home_option(HOME))) + bytes(6)).payload == UPDATE


def test_octets_behind_the_mobility_header_stay_in_the_payload() -> None:
    assert find(packet(payload=UPDATE + b"behind")).payload == UPDATE + b"behind"


@pytest.mark.parametrize("length", range(24))
def test_an_extension_header_past_the_payload(length: int) -> None:
    """The octets are there, but Payload Length says that they are not the packet's."""
    octets = packet(options(bytes(22)), length=length)
    assert find_mobility_header(octets) is None


@pytest.mark.parametrize("kept", range(40, 64))
def test_a_packet_that_ends_inside_its_chain(kept: int) -> None:
    assert find_mobility_header(packet(options(bytes(22)))[:kept]) is None


# --- anything -------------------------------------------------------------------------------------


def test_every_random_packet_is_taken_calmly() -> None:
    """50,000 random and mutated packets: never an exception, and what is found lies inside."""
    rng = random.Random(8200)
    whole = [
        packet(),
        packet(options(b"\0", home_option(HOME)), routing(B)),
        packet(authentication(6), fragment(0), options(number=HOP_BY_HOP)),
    ]
    kinds = set()
    for _ in range(50_000):
        octets = bytearray(rng.choice(whole))
        for _ in range(rng.randrange(4)):
            octets[rng.randrange(len(octets))] = rng.choice((0, 1, 43, 44, 51, 60, 135, 201, 255))
        if rng.random() < 0.2:
            octets = bytearray(b"\x60") + rng.randbytes(rng.randrange(120))
        cut = bytes(octets[: rng.randrange(len(octets) + 1)] if rng.random() < 0.3 else octets)
        found = find_mobility_header(cut)
        kinds.add(type(found))
        if isinstance(found, MobilityPacket):
            assert cut[40 + int.from_bytes(cut[4:6], "big") - len(found.payload) :].startswith(
                found.payload
            )
            assert found.ip_source == cut[8:24] and found.ip_destination == cut[24:40]
            assert found.hop_limit == cut[7]
            assert len(found.source) == len(found.destination) == 16
        elif isinstance(found, msg.Malformed):
            assert found.reason == "truncated"
            assert 40 + int.from_bytes(cut[4:6], "big") > len(cut)
    assert kinds == {MobilityPacket, msg.Malformed, type(None)}
