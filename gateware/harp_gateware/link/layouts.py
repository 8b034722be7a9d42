"""What passes between the parts of the link.

Ref: `harp.tables.link` (messages)
"""

from amaranth.lib import data

from harp.tables.link import CRC_OCTETS, MAX_MESSAGE_OCTETS, WORD_OCTETS
from harp.tables.register_schema import ADDRESS_BITS, WORD_BITS

OCTET = 8
CRC = 8 * CRC_OCTETS
LENGTH = MAX_MESSAGE_OCTETS.bit_length()
"""Bits of a message's length, CRC included."""

HEAD = data.StructLayout({"op": OCTET, "number": 16, "address": ADDRESS_BITS, "count": OCTET})
"""A request's fixed part, as on the wire."""

PIECE = data.StructLayout({"data": WORD_BITS, "octets": range(WORD_OCTETS + 1), "last": 1})
"""One to four octets of a message, the first in the lowest bits. `last`: the CRC follows."""
