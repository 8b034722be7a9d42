"""Authentication between mobile node and home agent without IPsec.

Ref: RFC 4285 §5.1 (MN-HA mobility message authentication option)
"""

from __future__ import annotations

import hmac
from typing import TypeAlias

from harp.tables.options import AUTHENTICATION, MN_HA_SUBTYPE, MN_HA_TAG_OCTETS, PAD1, PADN
from harp.wire import messages as msg
from harp.wire.codec import Codec

_OPTIONS = 12
"""Octet at which the options of a Binding Update or Acknowledgement begin."""
_HEAD_OCTETS = 5
"""Subtype and SPI."""

Signable: TypeAlias = msg.BindingUpdate | msg.BindingAcknowledgement


def mn_ha_tag(care_of_address: bytes, home_address: bytes, covered: bytes, key: bytes) -> bytes:
    """First 96 bits of HMAC-SHA1 over care-of address, home address and MH data.

    `covered`: the Mobility Header up to the SPI inclusive, its checksum 0.
    """
    return hmac.digest(key, care_of_address + home_address + covered, "sha1")[:MN_HA_TAG_OCTETS]


def build_mn_ha(
    codec: Codec,
    source: bytes,
    destination: bytes,
    message: Signable,
    *,
    care_of_address: bytes,
    home_address: bytes,
    spi: int,
    key: bytes,
) -> bytes:
    """The Mobility Header of `message` with the MN-HA option appended as its last."""
    mh = codec.begin(message)
    blank = msg.Authentication(MN_HA_SUBTYPE, spi, bytes(MN_HA_TAG_OCTETS))
    codec.options.append(mh, (blank,))
    end = len(mh)
    codec.finish(source, destination, mh)  # pads and sets Header Len, which the tag covers
    tag = mn_ha_tag(care_of_address, home_address, _covered(mh, end), key)
    mh[end - MN_HA_TAG_OCTETS : end] = tag
    return codec.finish(source, destination, mh)


def verify_mn_ha(mh: bytes, care_of_address: bytes, home_address: bytes, key: bytes) -> bool:
    """Whether the MN-HA option of a parsed Mobility Header is its last and carries the tag of
    `key`. Octets behind the Mobility Header are ignored."""
    mh = mh[: 8 * (mh[1] + 1)]
    end = _end_of_mn_ha(mh)
    if end is None:
        return False
    tag = mn_ha_tag(care_of_address, home_address, _covered(mh, end), key)
    return hmac.compare_digest(tag, mh[end - MN_HA_TAG_OCTETS : end])


def _covered(mh: bytes | bytearray, end: int) -> bytes:
    """RFC 4285 §5.1: "the content of the Mobility Header up to and including the SPI field", with
    "the checksum field in the Mobility Header ... set to 0"."""
    return bytes(mh[:4]) + bytes(2) + bytes(mh[6 : end - MN_HA_TAG_OCTETS])


def _end_of_mn_ha(mh: bytes) -> int | None:
    """Octet behind the MN-HA option of a Binding Update or Acknowledgement that has parsed.

    None, too, if an option follows that the tag does not cover: RFC 4285 §5.1 wants MN-HA last,
    or before other authentication only. Else padding behind it could be made an option.
    """
    end: int | None = None
    at = _OPTIONS
    while at < len(mh):
        kind = mh[at]
        if kind == PAD1:
            at += 1
            continue
        stop = at + 2 + mh[at + 1]
        if kind == AUTHENTICATION.number:
            if end is None and mh[at + 2] == MN_HA_SUBTYPE:
                if mh[at + 1] != _HEAD_OCTETS + MN_HA_TAG_OCTETS:
                    return None
                end = stop
        elif end is not None and kind != PADN:
            return None
        at = stop
    return end
