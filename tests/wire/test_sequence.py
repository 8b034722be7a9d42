"""Sequence arithmetic: properties that hold at every wrap.

Ref: RFC 6275 §9.5.1; RFC 1982 §3.2; harp.md §2.1, §6
"""

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harp.wire.sequence import log_sequence, newer16, newer32, next_harp_sequence

from .strategies import RUN

COMPARISONS = [(newer16, 16), (newer32, 32)]
both = pytest.mark.parametrize(("newer", "bits"), COMPARISONS)
anything = st.integers(0, 2**32 - 1)
Newer = Callable[[int, int], bool]


@both
@RUN
@given(old=anything, step=anything)
@example(old=0, step=0)
@example(old=2**32 - 1, step=1)
def test_exactly_the_half_circle_ahead_is_newer(
    newer: Newer, bits: int, old: int, step: int
) -> None:
    modulus = 2**bits
    old, step = old % modulus, step % modulus
    assert newer((old + step) % modulus, old) is (0 < step < modulus // 2)


@both
@RUN
@given(one=anything, other=anything)
def test_two_numbers_are_never_each_newer(newer: Newer, bits: int, one: int, other: int) -> None:
    one, other = one % 2**bits, other % 2**bits
    apart = (one - other) % 2**bits
    found = newer(one, other) + newer(other, one)
    assert found == (0 if apart in (0, 2 ** (bits - 1)) else 1)


@both
@RUN
@given(old=anything)
def test_half_the_circle_apart_is_older_both_ways(newer: Newer, bits: int, old: int) -> None:
    """harp.md §2.1: "2^15 apart = older"."""
    old %= 2**bits
    opposite = (old + 2 ** (bits - 1)) % 2**bits
    assert not newer(old, opposite) and not newer(opposite, old)
    assert newer((opposite - 1) % 2**bits, old)
    assert not newer((opposite + 1) % 2**bits, old)


@both
@RUN
@given(one=anything, other=anything, shift=anything)
def test_only_the_distance_counts(
    newer: Newer, bits: int, one: int, other: int, shift: int
) -> None:
    modulus = 2**bits
    one, other = one % modulus, other % modulus
    assert newer((one + shift) % modulus, (other + shift) % modulus) is newer(one, other)


def test_rfc_6275_examples_at_the_wrap() -> None:
    assert newer16(0, 65535) and newer16(1, 65535) and newer16(32766, 65535)
    assert not newer16(65535, 0) and not newer16(32767, 65535) and not newer16(5, 5)
    assert newer32(0, 2**32 - 1) and not newer32(2**31, 0) and newer32(2**31 - 1, 0)


def test_next_harp_sequence_visits_all_but_0() -> None:
    """harp.md §2.1: "never 0; after 65535 comes 1"."""
    assert next_harp_sequence(65535) == 1
    seen, sequence = set(), 1
    while sequence not in seen:
        seen.add(sequence)
        following = next_harp_sequence(sequence)
        assert newer16(following, sequence)
        sequence = following
    assert sequence == 1 and seen == set(range(1, 65536))


@RUN
@given(st.integers(1, 2**32 - 2))
@example(65534)
@example(65535)
@example(65536)
def test_log_sequence_follows_the_position(position: int) -> None:
    """harp.md §6: Position mod 65535 + 1."""
    assert log_sequence(position) == position % 65535 + 1
    assert 1 <= log_sequence(position) <= 65535
    assert log_sequence(position + 1) == next_harp_sequence(log_sequence(position))


def test_the_log_sequence_of_the_golden_message() -> None:
    assert log_sequence(70001) == 4467
