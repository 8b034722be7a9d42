"""HA-HA and MN-HA authentication against HMACs computed by hand; NTP timestamps.

Ref: harp.md §2.3 (HA-HA), RFC 4285 §5.1 (MN-HA), RFC 5905 §6, RFC 4330 §3 (eras)
"""

import hashlib
import hmac
import struct
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harp.tables.harp_types import HarpType
from harp.wire import messages as msg
from harp.wire.auth import ha_ha_tag, ntp_from_unix_us, unix_us_from_ntp, verify_ha_ha
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.mnha import build_mn_ha, verify_mn_ha

from . import bytes_by_hand as hand
from . import strategies as some
from .bytes_by_hand import CARE_OF, HOME, A, B

KEY = bytes(range(32))
OTHER = bytes(range(1, 33))
HELLO = msg.Harp(HarpType.HELLO, 7, 21, flags=0xA8, preference=200, lifetime_s=3, interval_ms=1000)
STAMP = 0xE000_0000_8000_0000

# --- HA-HA ----------------------------------------------------------------------------------------


def flipped(octets: bytes, bit: int) -> bytes:
    out = bytearray(octets)
    out[bit // 8] ^= 0x80 >> bit % 8
    return bytes(out)


@pytest.mark.parametrize("options", [(), (msg.SyncPosition(3, 70000),)])
def test_signed_message_is_that_of_the_hand_builder(options: msg.Options) -> None:
    message = replace(HELLO, options=options)
    octets = DEFAULT_CODEC.build_signed(A, B, message, 256, KEY, STAMP)
    body = hand.harp_body(0, 7, 21, 0, 0xA8, 200, 3, 1000)
    by_hand = [hand.sync_position(3, 70000)] * len(options)
    assert octets == hand.signed(A, B, body, [*by_hand, hand.timestamp(STAMP)], 256, KEY)
    tag = octets[-16:]
    assert DEFAULT_CODEC.parse(A, B, octets) == replace(
        message,
        options=(*options, msg.ReplayProtection(STAMP), msg.Authentication(241, 256, tag)),
    )


def test_tag_computed_step_by_step() -> None:
    octets = DEFAULT_CODEC.build_signed(A, B, HELLO, 0x01020304, KEY, STAMP)
    assert len(octets) == 64
    assert octets[-23:-16] == bytes([9, 21, 241, 1, 2, 3, 4])
    digest = hmac.new(KEY, digestmod=hashlib.sha256)
    for part in (A, B, octets[:4], b"\0\0", octets[6:48]):
        digest.update(part)
    assert octets[48:] == digest.digest()[:16] == ha_ha_tag(A, B, octets, KEY)
    assert verify_ha_ha(A, B, octets, KEY)


def test_wrong_key_and_wrong_addresses() -> None:
    octets = DEFAULT_CODEC.build_signed(A, B, HELLO, 256, KEY, STAMP)
    assert not verify_ha_ha(A, B, octets, OTHER)
    assert not verify_ha_ha(B, A, octets, KEY)
    assert not verify_ha_ha(A, HOME, octets, KEY)
    assert not verify_ha_ha(HOME, B, octets, KEY)


def test_every_bit_but_the_checksum_is_covered() -> None:
    message = replace(HELLO, options=(msg.SyncPosition(3, 70000),))
    octets = DEFAULT_CODEC.build_signed(A, B, message, 256, KEY, STAMP)
    for bit in range(8 * len(octets)):
        in_checksum = 4 <= bit // 8 < 6
        assert verify_ha_ha(A, B, flipped(octets, bit), KEY) is in_checksum, bit


@pytest.mark.parametrize(
    ("spi", "good"), [(0, False), (255, False), (256, True), (2**32 - 1, True)]
)
def test_least_spi(spi: int, good: bool) -> None:
    if good:
        assert verify_ha_ha(A, B, DEFAULT_CODEC.build_signed(A, B, HELLO, spi, KEY, 0), KEY)
        return
    with pytest.raises(ValueError, match=f"SPI {spi}: must be at least 256"):
        DEFAULT_CODEC.build_signed(A, B, HELLO, spi, KEY, 0)


def test_shortest_key() -> None:
    octets = DEFAULT_CODEC.build_signed(A, B, HELLO, 256, KEY[:16], 0)
    assert verify_ha_ha(A, B, octets, KEY[:16])
    with pytest.raises(ValueError, match="key of 15 octets: at least 16"):
        DEFAULT_CODEC.build_signed(A, B, HELLO, 256, KEY[:15], 0)


def test_errors_name_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"Authentication\.spi"):
        DEFAULT_CODEC.build_signed(A, B, HELLO, 2**32, KEY, 0)
    with pytest.raises(ValueError, match=r"ReplayProtection\.timestamp"):
        DEFAULT_CODEC.build_signed(A, B, HELLO, 256, KEY, 2**64)
    full = replace(HELLO, options=(msg.UnknownOption(99, bytes(248)),) * 8)
    with pytest.raises(ValueError, match="a Mobility Header has 2048"):
        DEFAULT_CODEC.build_signed(A, B, full, 256, KEY, 0)


@some.RUN
@given(some.harp(), st.integers(256, 2**32 - 1), st.binary(min_size=16, max_size=64), some.huge)
def test_what_is_signed_verifies(message: msg.Harp, spi: int, key: bytes, stamp: int) -> None:
    """Whatever the options: the tag is aligned, last, and parses where it should."""
    bare = replace(message, options=tuple(o for o in message.options if not _is_ha_ha(o)))
    octets = DEFAULT_CODEC.build_signed(A, B, bare, spi, key, stamp)
    parsed = DEFAULT_CODEC.parse(A, B, octets)
    assert isinstance(parsed, msg.Harp)
    assert parsed.options[:-2] == bare.options
    assert parsed.options[-2:] == (
        msg.ReplayProtection(stamp),
        msg.Authentication(241, spi, octets[-16:]),
    )
    assert len(octets) % 8 == 0 and verify_ha_ha(A, B, octets, key)
    assert octets[-23] == 9 and (len(octets) - 23) % 8 == 1


def _is_ha_ha(option: msg.Option) -> bool:
    return isinstance(option, msg.Authentication) and option.subtype == 241


# --- MN-HA ----------------------------------------------------------------------------------------

UPDATE = msg.BindingUpdate(5, 0xC000, 600, (msg.AlternateCareOf(CARE_OF),))
ACK = msg.BindingAcknowledgement(0, 5, 600)


def mn_ha(message: msg.BindingUpdate | msg.BindingAcknowledgement) -> bytes:
    return build_mn_ha(
        DEFAULT_CODEC,
        HOME,
        A,
        message,
        care_of_address=CARE_OF,
        home_address=HOME,
        spi=0x01020304,
        key=KEY,
    )


def spi_end(octets: bytes) -> int:
    """Octet behind the SPI, found by its octets."""
    return octets.index(bytes([9, 17, 1, 1, 2, 3, 4])) + 7


@pytest.mark.parametrize("message", [UPDATE, ACK])
def test_mn_ha_tag_by_hand(message: msg.BindingUpdate | msg.BindingAcknowledgement) -> None:
    octets = mn_ha(message)
    end = spi_end(octets)
    assert (end - 7) % 4 == 1  # RFC 4285 §5: aligned 4n+1
    covered = octets[:4] + b"\0\0" + octets[6:end]
    tag = hmac.new(KEY, CARE_OF + HOME + covered, hashlib.sha1).digest()[:12]
    assert octets[end : end + 12] == tag
    assert not any(octets[end + 14 :])  # padding alone stands behind
    parsed = DEFAULT_CODEC.parse(HOME, A, octets)
    authentication = msg.Authentication(1, 0x01020304, tag)
    assert parsed == replace(message, options=(*message.options, authentication))
    assert verify_mn_ha(octets, CARE_OF, HOME, KEY)


@pytest.mark.parametrize("message", [UPDATE, ACK])
def test_mn_ha_covers_every_bit_up_to_its_spi(
    message: msg.BindingUpdate | msg.BindingAcknowledgement,
) -> None:
    octets = mn_ha(message)
    end = spi_end(octets)
    for bit in range(8 * (end + 12)):
        changed = flipped(octets, bit)
        parsed = DEFAULT_CODEC.parse(HOME, A, hand.seal(HOME, A, changed))
        if isinstance(parsed, msg.Malformed):
            continue  # verify_mn_ha is for what has parsed
        in_checksum = 4 <= bit // 8 < 6
        assert verify_mn_ha(changed, CARE_OF, HOME, KEY) is in_checksum, bit


def test_mn_ha_wrong_key_and_addresses() -> None:
    octets = mn_ha(UPDATE)
    assert not verify_mn_ha(octets, CARE_OF, HOME, OTHER)
    assert not verify_mn_ha(octets, HOME, HOME, KEY)
    assert not verify_mn_ha(octets, CARE_OF, A, KEY)


def without_tag(*options: hand.Option) -> bytes:
    return hand.message(HOME, A, hand.UPDATE, hand.update_body(5, 0xC000, 150), options)


@pytest.mark.parametrize(
    "options",
    [
        (),
        (hand.alternate_care_of(CARE_OF),),
        ((9, bytes([2, 0, 0, 1, 0]) + bytes(12)),),  # MN-AAA
        ((9, bytes([1, 0, 0, 1, 0]) + bytes(11)),),  # a tag too short
        ((9, bytes([1, 0, 0, 1, 0])),),
    ],
)
def test_mn_ha_absent_or_of_another_form(options: tuple[hand.Option, ...]) -> None:
    octets = without_tag(*options)
    assert not isinstance(DEFAULT_CODEC.parse(HOME, A, octets), msg.Malformed)
    assert not verify_mn_ha(octets, CARE_OF, HOME, KEY)


def by_hand_mn_ha(tail: bytes, behind: bytes) -> bytes:
    """A Binding Update: `tail`, the MN-HA option with the right tag, `behind`."""
    head = tail + bytes([9, 17, 1, 0, 0, 1, 0])
    blank = hand.loose(
        HOME, A, hand.UPDATE, hand.update_body(5, 0xC000, 150), head + bytes(12) + behind
    )
    end = 12 + len(head)
    covered = blank[:4] + b"\0\0" + blank[6:end]
    tag = hmac.new(KEY, CARE_OF + HOME + covered, hashlib.sha1).digest()[:12]
    return hand.seal(HOME, A, blank[:end] + tag + blank[end + 12 :])


@pytest.mark.parametrize("tail", [b"\0", b"\1\3abc", hand.raw(3, CARE_OF), b"\0\0" + b"\1\0"])
def test_mn_ha_of_another_builder(tail: bytes) -> None:
    assert verify_mn_ha(by_hand_mn_ha(tail, b""), CARE_OF, HOME, KEY)
    assert verify_mn_ha(by_hand_mn_ha(tail, b"\1\2\xff\xff"), CARE_OF, HOME, KEY)


def test_an_option_behind_mn_ha_is_not_covered_and_so_refused() -> None:
    """RFC 4285 §5: the option is the last, but for another authentication option; else anyone on
    the path could turn its padding into options."""
    for behind in (hand.raw(*hand.refresh_advice(1)), hand.raw(*hand.bid(7)), hand.raw(99, b"")):
        octets = by_hand_mn_ha(b"", behind)
        assert not isinstance(DEFAULT_CODEC.parse(HOME, A, octets), msg.Malformed)
        assert not verify_mn_ha(octets, CARE_OF, HOME, KEY)
    mn_aaa = hand.raw(9, bytes([2, 0, 0, 1, 0]) + bytes(16))
    assert verify_mn_ha(by_hand_mn_ha(b"", mn_aaa), CARE_OF, HOME, KEY)


@pytest.mark.parametrize("behind", [b"\x09", b"\x09\x11", bytes([9, 17, 1]), b"\xff" * 40])
def test_octets_behind_the_header_say_nothing(behind: bytes) -> None:
    assert not verify_mn_ha(without_tag() + behind, CARE_OF, HOME, KEY)
    assert verify_mn_ha(mn_ha(UPDATE) + behind, CARE_OF, HOME, KEY)


# --- timestamps -----------------------------------------------------------------------------------

NTP_UNIX = 2_208_988_800
"""Seconds between 1900 and 1970 (RFC 5905 figure 4)."""


@pytest.mark.parametrize(
    ("unix_us", "ntp"),
    [
        (0, NTP_UNIX << 32),
        (500_000, NTP_UNIX << 32 | 1 << 31),
        (1_000_000, (NTP_UNIX + 1) << 32),
        # RFC 5905 figure 4: the last second of era 0, the first of era 1, 2036-02-07 06:28:16.
        ((2**32 - NTP_UNIX - 1) * 1_000_000, (2**32 - 1) << 32),
        ((2**32 - NTP_UNIX) * 1_000_000, 0),
        ((2**32 - NTP_UNIX) * 1_000_000 + 250_000, 1 << 30),
    ],
)
def test_known_timestamps(unix_us: int, ntp: int) -> None:
    assert ntp_from_unix_us(unix_us) == ntp
    assert unix_us_from_ntp(ntp) == unix_us


FIRST, LAST = (2**31 - NTP_UNIX) * 1_000_000, (2**32 + 2**31 - NTP_UNIX) * 1_000_000 - 1
"""1968-01-20 to 2104-02-26 (RFC 4330 §3)."""


@some.RUN
@given(st.integers(FIRST, LAST))
@example(FIRST)
@example(LAST)
@example(999_999)
def test_every_microsecond_comes_back(unix_us: int) -> None:
    ntp = ntp_from_unix_us(unix_us)
    assert 0 <= ntp < 2**64
    assert struct.pack("!Q", ntp)
    assert unix_us_from_ntp(ntp) == unix_us


@some.RUN
@given(st.integers(FIRST, LAST - 1), st.integers(1, 10**9))
def test_later_is_later_within_an_era(unix_us: int, more: int) -> None:
    one, other = ntp_from_unix_us(unix_us), ntp_from_unix_us(unix_us + more)
    assert 0 < (other - one) % 2**64 < 2**63
