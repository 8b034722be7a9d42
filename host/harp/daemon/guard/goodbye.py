"""The goodbye HELLO that a guard says for a daemon that cannot any more; no I/O.

Ref: harp.md §2.1 (HA Lifetime 0), §4 ("left" at once), §7 (timestamps never repeat or go back), §9
"""

from __future__ import annotations

from dataclasses import replace

from harp.engine.config import Key
from harp.tables.harp_types import FIXED_OCTETS, HarpFlag
from harp.tables.options import AUTHENTICATION, HA_HA_AUTH_LENGTH
from harp.wire.codec import Codec
from harp.wire.messages import Authentication, Detection, Harp
from harp.wire.sequence import next_harp_sequence

_HA_HA = AUTHENTICATION.number
_TAIL_OCTETS = 2 + HA_HA_AUTH_LENGTH
"""The HA-HA option with its head; it ends the message (harp.md §2)."""
_STAMP_OCTETS = 10
_BETWEEN = 5
"""Padding between Replay Protection (8n+2) and HA-HA (8n+1)."""


def timestamp_of(codec: Codec, mh: bytes) -> int:
    """NTP timestamp of a signed HARP message of our own, as the codec lays it out; 0: it is not
    signed."""
    tail = len(mh) - _TAIL_OCTETS
    stamp = tail - _BETWEEN - _STAMP_OCTETS
    head = (_HA_HA, HA_HA_AUTH_LENGTH, codec.code_points.auth_subtype)
    if stamp < FIXED_OCTETS or tuple(mh[tail : tail + 3]) != head:
        return 0
    return int.from_bytes(mh[stamp + 2 : stamp + _STAMP_OCTETS])


def goodbye(
    codec: Codec, source: bytes, destination: bytes, hello: bytes, key: Key | None, timestamp: int
) -> bytes | None:
    """What comes after the last HELLO to a destination: HA Lifetime 0, no A, the next Sequence #,
    signed if that was. None: there is nothing to follow, or no key to sign with.

    `timestamp`: NTP, of those that the daemon left to its guard (harp.md §7).
    """
    last = codec.parse(source, destination, hello)
    if not isinstance(last, Harp):
        return None
    farewell = replace(
        last,
        sequence=next_harp_sequence(last.sequence),
        flags=last.flags & HarpFlag.V,
        lifetime_s=0,
        options=tuple(option for option in last.options if isinstance(option, Detection)),
    )
    if not any(isinstance(option, Authentication) for option in last.options):
        return codec.build(source, destination, farewell)
    if key is None:
        return None
    return codec.build_signed(source, destination, farewell, key.spi, key.key, timestamp)
