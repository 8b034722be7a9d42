"""The fast path for plain bindings says exactly what the ordinary codec says.

Ref: harp.md §2 (padding), §2.2
"""

import random
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harp.tables.codepoints import CodePoints
from harp.tables.harp_types import HarpFlag, HarpType
from harp.wire import messages as msg
from harp.wire.auth import verify_ha_ha
from harp.wire.bulk import BindingRecord, BulkCodec, BulkReply
from harp.wire.codec import DEFAULT_CODEC, Codec
from harp.wire.mandatory import OF_BINDING

from . import bytes_by_hand as hand
from . import strategies as some
from .bytes_by_hand import CARE_OF, HOME, A, B

BULK = BulkCodec(DEFAULT_CODEC)
KEY = bytes(range(16))
LOG = msg.Harp(HarpType.SS_REP, 7, 5, flags=HarpFlag.R, options=(msg.SyncPosition(3, 70000),))

record = st.builds(BindingRecord, some.address, some.address, some.word, some.word, some.word)
records = st.lists(record, min_size=1, max_size=20)
outside = st.lists(
    st.one_of(
        *(
            strategy
            for cls, strategy in some.BY_CLASS.items()
            if cls not in OF_BINDING and cls is not msg.BindingCache
        )
    ),
    max_size=4,
).map(tuple)


@st.composite
def heads(draw: st.DrawFn) -> msg.Harp:
    """An SS-REP, log or answer, before its bindings."""
    head = msg.Harp(
        HarpType.SS_REP,
        draw(some.octet),
        draw(st.integers(1, 0xFFFF)),
        *(draw(some.octet), draw(some.octet), draw(some.word), draw(some.word), draw(some.word)),
        draw(st.sampled_from((0, 1, 500))),
    )
    return replace(head, options=(*draw(outside), draw(some.position), *draw(outside)))


def option(one: BindingRecord) -> msg.BindingCache:
    return msg.BindingCache(*one[:4], 4 * one.lifetime_units)


def ordinary(head: msg.Harp, plain: list[BindingRecord], *behind: msg.Option) -> msg.Harp:
    """The same message for the ordinary codec."""
    return replace(head, options=(*head.options, *map(option, plain), *behind))


# --- the same octets, the same records ------------------------------------------------------------


@some.RUN
@given(heads(), records)
def test_same_octets_same_records(head: msg.Harp, plain: list[BindingRecord]) -> None:
    block = BULK.pack(plain)
    octets = BULK.build(A, B, head, block)
    assert octets == DEFAULT_CODEC.build(A, B, ordinary(head, plain))
    parsed = BULK.parse(A, B, octets)
    assert parsed == BulkReply(head, block)
    assert list(BULK.unpack(block)) == plain


def test_a_record_by_hand() -> None:
    one = BindingRecord(HOME, CARE_OF, 0xC000, 5, 150)
    body = hand.raw(*hand.binding(HOME, CARE_OF, 0xC000, 5, 150))
    assert BULK.pack([one, one]) == (hand.padding(6) + body) * 2


@some.RUN
@given(heads(), records, st.binary(min_size=16, max_size=64), some.huge)
def test_authentication_behind_the_block(
    head: msg.Harp, plain: list[BindingRecord], key: bytes, stamp: int
) -> None:
    block = BULK.pack(plain)
    octets = DEFAULT_CODEC.sign(A, B, BULK.begin(head, block), 256, key, stamp)
    assert octets == DEFAULT_CODEC.build_signed(A, B, ordinary(head, plain), 256, key, stamp)
    assert verify_ha_ha(A, B, octets, key)
    tail = (msg.ReplayProtection(stamp), msg.Authentication(241, 256, octets[-16:]))
    parsed = BULK.parse(A, B, octets)
    assert parsed == BulkReply(replace(head, options=(*head.options, *tail)), block)


@some.RUN
@given(heads())
def test_no_bindings(head: msg.Harp) -> None:
    octets = BULK.build(A, B, head, b"")
    assert octets == DEFAULT_CODEC.build(A, B, head)
    assert BULK.pack([]) == b""
    assert BULK.parse(A, B, octets) == DEFAULT_CODEC.parse(A, B, octets)


@some.RUN
@given(some.code_points(), records)
def test_other_code_points(points: CodePoints, plain: list[BindingRecord]) -> None:
    codec = Codec(points)
    bulk = BulkCodec(codec)
    block = bulk.pack(plain)
    octets = bulk.build(A, B, LOG, block)
    assert octets == codec.build(A, B, ordinary(LOG, plain))
    assert bulk.parse(A, B, octets) == BulkReply(LOG, block)
    assert list(bulk.unpack(block)) == plain


@pytest.mark.parametrize(
    "wrong",
    [
        BindingRecord(HOME, CARE_OF, 0x10000, 0, 0),
        BindingRecord(HOME, CARE_OF, 0, -1, 0),
        BindingRecord(HOME, CARE_OF, 0, 0, 0x10000),
    ],
)
def test_a_record_that_does_not_fit(wrong: BindingRecord) -> None:
    with pytest.raises(struct.error):
        BULK.pack([wrong])


# --- whatever is not one plain block goes to the ordinary parser ----------------------------------

PLAIN = [BindingRecord(HOME, CARE_OF, 0xC000, n, 150) for n in range(3)]
BINDING = option(PLAIN[0])
NOT_PLAIN: dict[str, tuple[msg.Option, ...]] = {
    "a prefix behind": (BINDING, msg.MobileNetworkPrefix(56, HOME)),
    "a BID behind": (BINDING, msg.BindingIdentifier(3)),
    "AAA behind": (BINDING, msg.Aaa(b"")),
    "a vendor option behind": (BINDING, msg.Vendor(1, 1, b"")),
    "unknown behind": (BINDING, msg.UnknownOption(99, b"")),
    "a prefix between": (BINDING, msg.MobileNetworkPrefix(56, HOME), BINDING),
    "an option between": (BINDING, msg.RestartCounter(1), BINDING),
    "a timestamp between": (BINDING, BINDING, msg.ReplayProtection(1), BINDING, BINDING),
}


@pytest.mark.parametrize("options", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_not_plain(options: tuple[msg.Option, ...]) -> None:
    message = replace(LOG, options=(*LOG.options, *options))
    octets = DEFAULT_CODEC.build(A, B, message)
    assert BULK.parse(A, B, octets) == message


@pytest.mark.parametrize("first", [msg.MobileNetworkPrefix(56, HOME), msg.UnknownOption(99, b"")])
def test_an_option_of_a_binding_before_the_block(first: msg.Option) -> None:
    answer = replace(LOG, index=1, options=(*LOG.options, first, BINDING))
    assert BULK.parse(A, B, DEFAULT_CODEC.build(A, B, answer)) == answer
    log = replace(answer, index=0)
    parsed = BULK.parse(A, B, DEFAULT_CODEC.build(A, B, log))
    assert isinstance(parsed, msg.Malformed) and parsed.reason == "bad_option"


@pytest.mark.parametrize("gap", [b"", b"\0" * 6, b"\1\3\0\0\0\0", b"\1\4\0\0\0\1", b"\1\0" * 3])
def test_other_padding_between_records(gap: bytes) -> None:
    body = hand.raw(*hand.binding(HOME, CARE_OF, 0xC000, 0, 150))
    tail = hand.padding(2) + hand.raw(*hand.sync_position(3, 70000))
    tail += hand.padding(6) + body + gap + body
    payload = hand.loose(A, B, hand.HARP, hand.harp_body(2, 7, 5, flags=0x40), tail)
    assert BULK.parse(A, B, payload) == ordinary(LOG, PLAIN[:1] * 2)


def test_a_block_at_another_alignment_is_one_too() -> None:
    body = hand.raw(*hand.binding(HOME, CARE_OF, 0xC000, 0, 150))
    tail = b"\0" * 3 + hand.raw(*hand.sync_position(3, 70000))
    tail += b"\0" + body + hand.padding(6) + body
    payload = hand.loose(A, B, hand.HARP, hand.harp_body(2, 7, 5, flags=0x40), tail)
    assert BULK.parse(A, B, payload) == BulkReply(LOG, BULK.pack(PLAIN[:1] * 2))
    assert DEFAULT_CODEC.parse(A, B, payload) == ordinary(LOG, PLAIN[:1] * 2)


def test_reserved_octets_of_a_record_are_ignored() -> None:
    payload = hand.message(
        A,
        B,
        hand.HARP,
        hand.harp_body(2, 7, 5, flags=0x40),
        (hand.sync_position(3, 70000), hand.binding(HOME, CARE_OF, 0xC000, 0, 150, 0xFFFF)),
    )
    parsed = BULK.parse(A, B, payload)
    assert isinstance(parsed, BulkReply)
    assert list(BULK.unpack(parsed.block)) == PLAIN[:1]


@pytest.mark.parametrize("length", [39, 41, 0])
def test_a_binding_of_another_length(length: int) -> None:
    position = (hand.sync_position(3, 70000),)
    good = hand.message(A, B, hand.HARP, hand.harp_body(2), position)[:-6]
    body = hand.raw(241, bytes(length)) + bytes(48)
    payload = hand.loose(A, B, hand.HARP, good[6:], body)
    parsed = BULK.parse(A, B, payload)
    assert isinstance(parsed, msg.Malformed) and parsed.reason == "bad_option"


@some.RUN
@given(some.message)
def test_any_message_parses_as_it_does_ordinarily(message: msg.Message) -> None:
    octets = DEFAULT_CODEC.build(A, B, message)
    parsed = BULK.parse(A, B, octets)
    if not isinstance(parsed, BulkReply):
        assert parsed == message
        return
    assert isinstance(message, msg.Harp)
    bindings = [one for one in message.options if isinstance(one, msg.BindingCache)]
    others = tuple(one for one in message.options if not isinstance(one, msg.BindingCache))
    assert not any(type(one) in OF_BINDING for one in others)
    assert [option(one) for one in BULK.unpack(parsed.block)] == bindings
    assert parsed.message == replace(message, options=others)


# --- the rules hold for it too --------------------------------------------------------------------

FAULTY: tuple[tuple[str, msg.Harp], ...] = (
    ("bad_sequence", replace(LOG, sequence=0)),
    ("bad_option", replace(LOG, options=())),
    ("bad_option", replace(LOG, options=(msg.CacheDigest(1, 1),))),
    ("bad_option", replace(LOG, index=1, options=())),
)


@pytest.mark.parametrize(("reason", "head"), FAULTY)
def test_faults_of_a_block_message(reason: str, head: msg.Harp) -> None:
    parsed = BULK.parse(A, B, BULK.build(A, B, head, BULK.pack(PLAIN)))
    assert isinstance(parsed, msg.Malformed) and parsed.reason == reason
    assert parsed == DEFAULT_CODEC.parse(A, B, BULK.build(A, B, head, BULK.pack(PLAIN)))


def test_sequence_0_comes_before_a_bad_option() -> None:
    tail = hand.raw(245, bytes(7))
    payload = hand.loose(A, B, hand.HARP, hand.harp_body(2, seq=0), tail)
    parsed = BULK.parse(A, B, payload)
    assert isinstance(parsed, msg.Malformed) and parsed.reason == "bad_sequence"


# --- capacity -------------------------------------------------------------------------------------

AUTH_OCTETS = 40
"""Replay Protection and HA-HA behind 8n octets: 2 + 10, 5 + 23 octets."""


def test_capacity_is_exact() -> None:
    """One record more never fits, and all that are promised do."""
    rng = random.Random(6275)
    for _ in range(400):
        filler = tuple(msg.RestartCounter(1) for _ in range(rng.randrange(4)))
        head = replace(LOG, options=(*LOG.options, *filler, msg.Configuration(bytes(8))))
        limit = rng.choice((0, 64, 100, 1280, 1460, 2047, 2048, 4096, rng.randrange(2100)))
        count = BULK.capacity(head, limit)
        most = min(limit, 2048)

        before = [_by_hand(one) for one in head.options]

        def octets(n: int, before: list[hand.Option] = before) -> int:
            plain = [hand.binding(HOME, CARE_OF, 0, 0, 0)] * n
            return len(hand.laid_out(bytes(20), [*before, *plain]))

        assert count >= 0
        assert count == 0 or octets(count) <= most
        assert octets(count + 1) > most
        if count:
            assert len(BULK.build(A, B, head, BULK.pack(PLAIN[:1] * count))) <= most


def _by_hand(one: msg.Option) -> hand.Option:
    match one:
        case msg.SyncPosition(term, position):
            return hand.sync_position(term, position)
        case msg.RestartCounter(value):
            return hand.restart_counter(value)
        case msg.Configuration(digest):
            return hand.configuration(digest)
    raise AssertionError(one)


@pytest.mark.parametrize("limit", [*range(100, 300), 1280, 1460, 2040, 2048])
def test_capacity_leaves_room_for_authentication(limit: int) -> None:
    count = BULK.capacity(LOG, limit, AUTH_OCTETS)

    def signed(n: int) -> int:
        mh = BULK.begin(LOG, BULK.pack(PLAIN[:1] * n))
        return len(DEFAULT_CODEC.sign(A, B, mh, 256, KEY, 1))

    assert count == 0 or signed(count) <= limit
    if limit + 48 <= 2048:
        assert signed(count + 1) > limit


def test_about_30_plain_bindings_at_1500() -> None:
    """harp.md §6: an IPv6 header of 40 octets before the MH."""
    assert BULK.capacity(LOG, 1500 - 40) == 29
