"""Authentication between home agents, and the timestamps that it protects.

Ref: harp.md §2.3 ("Message authentication"), §7; RFC 4285 §5, §6; RFC 5905 §6 (NTP timestamp)
"""

from __future__ import annotations

import hmac

from harp.tables.constants import US_PER_S
from harp.tables.options import HA_HA_TAG_OCTETS

_NTP_EPOCH_S = 2_208_988_800
"""Seconds from 1900 to 1970 (RFC 5905 §6)."""


def ha_ha_tag(source: bytes, destination: bytes, mh: bytes | bytearray, key: bytes) -> bytes:
    """HMAC-SHA-256-128 over source, destination and the MH up to the SPI, checksum taken as 0.

    `mh` ends with the (not judged) tag, as harp.md §2 demands.
    """
    covered = bytearray(mh[:-HA_HA_TAG_OCTETS])
    covered[4:6] = bytes(2)
    return hmac.digest(key, source + destination + covered, "sha256")[:HA_HA_TAG_OCTETS]


def verify_ha_ha(source: bytes, destination: bytes, mh: bytes, key: bytes) -> bool:
    """Whether the tag at the end of `mh` is that of `key`, compared in constant time.

    The caller has parsed `mh` and found an HA-HA option in it: the codec admits it only at the end.
    """
    tag = ha_ha_tag(source, destination, mh, key)
    return hmac.compare_digest(tag, mh[-HA_HA_TAG_OCTETS:])


def ntp_from_unix_us(unix_us: int) -> int:
    """64-bit NTP timestamp (2^-32 s units since 1900) of a time in µs since 1970."""
    seconds, microseconds = divmod(unix_us, US_PER_S)
    # Rounded up, so that the way back gives the same microsecond.
    fraction = -(-(microseconds << 32) // US_PER_S)
    return ((seconds + _NTP_EPOCH_S) % 2**32) << 32 | fraction


def unix_us_from_ntp(timestamp: int) -> int:
    """Time in µs since 1970 of an NTP timestamp of the eras 1968 to 2104 (RFC 4330 §3)."""
    seconds, fraction = divmod(timestamp, 1 << 32)
    if not seconds & 0x8000_0000:
        seconds += 1 << 32
    return (seconds - _NTP_EPOCH_S) * US_PER_S + (fraction * US_PER_S >> 32)
