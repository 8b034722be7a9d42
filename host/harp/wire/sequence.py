"""Sequence arithmetic: what is newer when numbers wrap.

Ref: RFC 6275 §9.5.1 (16 bits); RFC 1982 §3.2 (32 bits); harp.md §2.1 (HARP skips 0)
"""

from harp.tables.harp_types import SEQUENCE_MODULUS


def newer16(new: int, old: int) -> bool:
    """Whether `new` is later than `old` modulo 2^16; 2^15 apart counts as older.

    RFC 6275 §9.5.1: "All comparisons of the Sequence Number MUST be ... performed modulo 2**16".
    """
    return 0 < (new - old) % 0x1_0000 < 0x8000


def newer32(new: int, old: int) -> bool:
    """Whether `new` is later than `old` modulo 2^32; 2^31 apart counts as older (RFC 1982)."""
    return 0 < (new - old) % 0x1_0000_0000 < 0x8000_0000


def next_harp_sequence(sequence: int) -> int:
    """The Sequence # after this one: 1 follows 65535, 0 is never used (harp.md §2.1)."""
    return sequence % SEQUENCE_MODULUS + 1


def log_sequence(position: int) -> int:
    """Sequence # of the log message at a position (harp.md §6)."""
    return position % SEQUENCE_MODULUS + 1
