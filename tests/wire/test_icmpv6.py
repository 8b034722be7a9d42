"""Home agent address discovery messages.

Ref: RFC 6275 §6.5, §6.6; RFC 3963 §4.4, §4.5; RFC 4443 §2.3
"""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harp.wire import messages as msg
from harp.wire.icmpv6 import build_icmpv6, parse_icmpv6

from . import bytes_by_hand as hand
from . import strategies as some
from .bytes_by_hand import HOME, A, B

REQUEST, REPLY = 144, 145


def reason(payload: bytes, source: bytes = A) -> str:
    parsed = parse_icmpv6(source, B, payload)
    assert isinstance(parsed, msg.Malformed)
    assert parsed.detail
    return str(parsed.reason)


@some.RUN
@given(some.word, some.word)
def test_request(identifier: int, flags: int) -> None:
    message = msg.DhaadRequest(identifier, flags)
    octets = hand.icmpv6(A, B, REQUEST, identifier.to_bytes(2, "big") + flags.to_bytes(2, "big"))
    assert build_icmpv6(A, B, message) == octets
    assert parse_icmpv6(A, B, octets) == message


@some.RUN
@given(some.word, some.word, st.lists(some.address, max_size=6).map(tuple))
def test_reply(identifier: int, flags: int, addresses: tuple[bytes, ...]) -> None:
    message = msg.DhaadReply(identifier, addresses, flags)
    body = identifier.to_bytes(2, "big") + flags.to_bytes(2, "big") + b"".join(addresses)
    octets = hand.icmpv6(A, B, REPLY, body)
    assert build_icmpv6(A, B, message) == octets
    assert parse_icmpv6(A, B, octets) == message


@pytest.mark.parametrize("octets", range(8))
def test_truncated(octets: int) -> None:
    assert reason(hand.icmpv6(A, B, REQUEST, bytes(4))[:octets]) == "truncated"


@pytest.mark.parametrize("kind", [REQUEST, REPLY])
def test_every_flipped_bit_is_seen(kind: int) -> None:
    octets = hand.icmpv6(A, B, kind, b"\x12\x34\x80\0" + HOME * (kind == REPLY))
    for bit in range(8, 8 * len(octets)):
        flipped = bytearray(octets)
        flipped[bit // 8] ^= 0x80 >> bit % 8
        assert reason(bytes(flipped)) == "bad_checksum"
    assert reason(octets, source=HOME) == "bad_checksum"


@pytest.mark.parametrize("more", [2, 8, 14, 18, 30])
def test_an_address_in_part(more: int) -> None:
    payload = hand.icmpv6(A, B, REPLY, bytes(4) + bytes(more))
    assert reason(payload) == "bad_length"


def test_an_odd_octet_is_summed_as_if_a_zero_followed() -> None:
    even = hand.icmpv6(A, B, REPLY, bytes(4) + b"\x12\0")
    total = int.from_bytes(even[2:4], "big") + 1  # one octet less in the pseudo-header
    odd = even[:2] + total.to_bytes(2, "big") + even[4:-1]
    assert reason(odd) == "bad_length"
    assert reason(even[:-1]) == "bad_checksum"


def test_other_icmpv6_is_none_of_ours() -> None:
    for kind in set(range(256)) - {REQUEST, REPLY}:
        assert parse_icmpv6(A, B, hand.icmpv6(A, B, kind, bytes(4))) is None
        assert parse_icmpv6(A, B, bytes([kind]) + bytes(15)) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("DhaadRequest.identifier", msg.DhaadRequest(65536)),
        ("DhaadReply.flags", msg.DhaadReply(1, (), -1)),
        ("DhaadReply.addresses", msg.DhaadReply(1, (HOME, bytes(15)))),
    ],
)
def test_a_value_that_does_not_fit_is_named(
    name: str, message: msg.DhaadRequest | msg.DhaadReply
) -> None:
    with pytest.raises(ValueError, match=rf"^{name}"):
        build_icmpv6(A, B, message)


def test_random_payloads_never_raise() -> None:
    rng = random.Random(144)
    for _ in range(5_000):
        payload = rng.choice((b"", b"\x90\0", b"\x91\0")) + rng.randbytes(rng.randrange(48))
        parse_icmpv6(A, B, payload)
        if len(payload) % 2 == 0 and len(payload) > 8:
            sealed = hand.icmpv6(A, B, payload[0], payload[4:])
            parsed = parse_icmpv6(A, B, sealed)
            if isinstance(parsed, msg.DhaadReply):
                assert build_icmpv6(A, B, parsed) == sealed
