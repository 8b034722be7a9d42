"""Journal records: back as they were; damage set aside, the rest used."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harp.engine.entries import Entry
from harp.engine.journal import (
    EntryForgotten,
    EntryKept,
    JournalCodec,
    Record,
    RestartKept,
    StateKept,
    TimestampKept,
    forgets,
    split,
    subject,
)
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import (
    Aaa,
    BindingIdentifier,
    MobileNetworkPrefix,
    SyncPosition,
    UnknownOption,
    Vendor,
)

OFFSET = 1_700_000_000_000_000
CODEC = JournalCodec(DEFAULT_CODEC, OFFSET)

addresses = st.binary(min_size=16, max_size=16)
u16, u32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF)
positions = st.builds(SyncPosition, u32, u32)
options = st.lists(
    st.one_of(
        st.builds(MobileNetworkPrefix, st.integers(0, 128), addresses),
        st.builds(Vendor, u32, st.integers(0, 255), st.binary(max_size=40)),
        st.builds(Aaa, st.binary(max_size=200)),
        st.builds(UnknownOption, st.just(200), st.binary(max_size=20)),
        st.builds(BindingIdentifier, st.integers(1, 0xFFFF)),
    ),
    max_size=3,
).map(tuple)
entries = st.builds(
    Entry,
    home_address=addresses,
    bid=u16,
    care_of_address=addresses,
    flags=u16,
    sequence=u16,
    expires_us=st.integers(-(2**50), 2**50),
    longest_units=u16,
    position=positions,
    live=st.booleans(),
    options=options,
)
records = st.one_of(
    st.builds(EntryKept, entries),
    st.builds(EntryForgotten, addresses, u16),
    st.builds(StateKept, positions, positions, u32),
    st.builds(RestartKept, u32),
    st.builds(TimestampKept, addresses, st.integers(0, 2**64 - 1)),
)


@given(st.lists(records, max_size=8))
def test_records_come_back_as_they_were(wanted: list[Record]) -> None:
    journal = b"".join(map(CODEC.encode, wanted))
    apart = split(journal)
    assert [CODEC.decode(octets) for octets in apart.records] == wanted
    assert apart.damage == []


@given(st.lists(records, min_size=1, max_size=6), st.data())
def test_a_cut_tail_is_set_aside_and_the_rest_used(
    wanted: list[Record], data: st.DataObject
) -> None:
    whole = [CODEC.encode(record) for record in wanted]
    last = whole[-1]
    cut = last[: data.draw(st.integers(1, len(last) - 1))]
    apart = split(b"".join(whole[:-1]) + cut)
    assert apart.records == whole[:-1]
    (damage,) = apart.damage
    assert damage == (sum(map(len, whole[:-1])), cut, True)


@given(st.lists(records, min_size=2, max_size=6), st.data())
def test_a_damaged_record_is_set_aside_and_the_rest_used(
    wanted: list[Record], data: st.DataObject
) -> None:
    whole = [CODEC.encode(record) for record in wanted]
    at = data.draw(st.integers(0, len(whole) - 1))
    octet = data.draw(st.integers(0, len(whole[at]) - 1))
    bad = bytearray(whole[at])
    bad[octet] ^= data.draw(st.integers(1, 255))
    if octet == 3:  # the one octet that means nothing yet
        return
    apart = split(b"".join([*whole[:at], bytes(bad), *whole[at + 1 :]]))
    assert apart.records == whole[:at] + whole[at + 1 :]
    (damage,) = apart.damage
    assert damage.octets == bytes(bad)
    assert damage.at_end == (at == len(whole) - 1)


@given(st.binary(max_size=300))
def test_whatever_a_file_holds_nothing_is_raised_or_lost(octets: bytes) -> None:
    apart = split(octets)
    assert sum(len(damage.octets) for damage in apart.damage) == len(octets)


def test_noise_with_many_false_beginnings() -> None:
    rng = Random(5)
    record = CODEC.encode(RestartKept(7))
    noise = b"".join(b"HJ" + rng.randbytes(rng.randint(0, 12)) for _ in range(500))
    apart = split(noise + record + b"HJ")
    assert apart.records == [record]
    assert [(d.offset, d.at_end) for d in apart.damage] == [
        (0, False),
        (len(noise) + len(record), True),
    ]


@pytest.mark.parametrize("kind", [0, 6, 255])
def test_a_record_of_a_later_version_is_none_of_ours(kind: int) -> None:
    record = bytearray(CODEC.encode(RestartKept(7)))
    record[2] = kind
    assert CODEC.decode(bytes(record)) is None


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5])
def test_a_record_too_short_for_its_kind_is_none(kind: int) -> None:
    assert CODEC.decode(bytes((0x48, 0x4A, kind)) + bytes(10)) is None


def test_options_that_do_not_parse_are_none() -> None:
    entry = Entry(bytes(16), 0, bytes(16), 0, 0, 0, 0, SyncPosition(0, 0), True)
    assert CODEC.decode(CODEC.encode(EntryKept(entry)) + b"\x06\x12") is None


def test_times_are_unix_times_on_disk() -> None:
    """After a restart the monotonic clock counts from elsewhere; the end is the same moment."""
    entry = Entry(bytes(16), 0, bytes(16), 0, 0, 5_000_000, 9, SyncPosition(1, 2), True)
    record = CODEC.encode(EntryKept(entry))
    back = JournalCodec(DEFAULT_CODEC, OFFSET + 3_000_000).decode(record)
    assert isinstance(back, EntryKept) and back.entry.expires_us == 2_000_000


@given(entries, entries, addresses)
def test_of_two_records_with_one_subject_the_later_overrules(
    one: Entry, other: Entry, sender: bytes
) -> None:
    kept, again = (CODEC.encode(EntryKept(entry)) for entry in (one, other))
    gone = CODEC.encode(EntryForgotten(one.home_address, one.bid))
    assert subject(kept) == subject(gone)
    assert (subject(kept) == subject(again)) is (one.key == other.key)
    assert forgets(gone) and not forgets(kept)
    stamps = [CODEC.encode(TimestampKept(sender, number)) for number in (1, 2)]
    counters = [CODEC.encode(RestartKept(number)) for number in (1, 2)]
    assert subject(stamps[0]) == subject(stamps[1]) != subject(counters[0]) == subject(counters[1])
    unknown = counters[0][:2] + b"\xff" + counters[0][3:]
    assert subject(unknown) == unknown
