"""The merge rule of harp.md §6."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harp.engine.entries import UNIT_US, Entry
from harp.engine.merge import LIFETIME_SLACK_US, Winner, merge
from harp.wire.messages import Aaa, SyncPosition
from harp.wire.sequence import newer16

BASE = SyncPosition(3, 100)
BEFORE, AFTER = SyncPosition(3, 100), SyncPosition(4, 1)
HOME = bytes(15) + b"\x01"
ENTRY = Entry(
    home_address=HOME,
    bid=0,
    care_of_address=bytes(15) + b"\x02",
    flags=0xC000,
    sequence=7,
    expires_us=100 * UNIT_US,
    longest_units=100,
    position=AFTER,
    live=True,
)


def test_what_only_one_side_has_stays() -> None:
    assert merge(ENTRY, None, BASE) is Winner.OURS
    assert merge(None, ENTRY, BASE) is Winner.THEIRS
    assert merge(None, None, BASE) is Winner.OURS


def test_the_one_changed_after_base_wins_as_it_is() -> None:
    old = ENTRY._replace(position=BEFORE, sequence=9)
    assert merge(old, ENTRY._replace(live=False), BASE) is Winner.THEIRS
    assert merge(ENTRY, old, BASE, theirs_changed=False) is Winner.OURS
    assert merge(old, ENTRY, BASE, theirs_changed=False) is Winner.OURS


@pytest.mark.parametrize(
    ("ours", "theirs", "winner"),
    [
        ({"sequence": 7}, {"sequence": 8}, Winner.THEIRS),
        ({"sequence": 8}, {"sequence": 7}, Winner.OURS),
        ({"sequence": 65535}, {"sequence": 0, "live": False}, Winner.THEIRS),
        ({"sequence": 0}, {"sequence": 65535, "live": False}, Winner.OURS),
        ({}, {}, Winner.OURS),
        ({}, {"live": False}, Winner.THEIRS),
        ({"live": False}, {}, Winner.OURS),
        ({"live": False}, {"live": False, "expires_us": 0}, Winner.OURS),
        ({}, {"expires_us": ENTRY.expires_us + LIFETIME_SLACK_US}, Winner.THEIRS),
        ({}, {"expires_us": ENTRY.expires_us - LIFETIME_SLACK_US}, Winner.OURS),
        ({}, {"expires_us": ENTRY.expires_us + LIFETIME_SLACK_US - 1}, Winner.OURS),
        ({}, {"care_of_address": b"\xff" * 16}, Winner.THEIRS),
        ({"flags": 0xFFFF}, {}, Winner.OURS),
        ({}, {"options": (Aaa(b"x"),)}, Winner.THEIRS),
    ],
)
def test_changed_on_both_sides(
    ours: dict[str, object], theirs: dict[str, object], winner: Winner
) -> None:
    mine, other = ENTRY._replace(**ours), ENTRY._replace(**theirs)  # type: ignore[arg-type]
    assert merge(mine, other, BASE) is winner


entries = st.builds(
    ENTRY._replace,
    sequence=st.integers(0, 65535),
    live=st.booleans(),
    expires_us=st.integers(0, 40).map(lambda n: n * UNIT_US),
    care_of_address=st.sampled_from((bytes(16), b"\x20" * 16)),
    flags=st.sampled_from((0x4000, 0xC000)),
)


@given(one=entries, other=entries)
def test_both_members_come_to_the_same_winner(one: Entry, other: Entry) -> None:
    here = one if merge(one, other, BASE) is Winner.OURS else other
    there = other if merge(other, one, BASE) is Winner.OURS else one
    assert (here.live, here.sequence) == (there.live, there.sequence)
    if here.live:
        content = (here.care_of_address, here.flags)
        assert content == (there.care_of_address, there.flags)
        assert abs(here.expires_us - there.expires_us) < LIFETIME_SLACK_US


@given(one=entries, other=entries)
def test_an_older_sequence_never_wins(one: Entry, other: Entry) -> None:
    if merge(one, other, BASE) is Winner.THEIRS:
        assert not newer16(one.sequence, other.sequence)
    else:
        assert not newer16(other.sequence, one.sequence)
