"""The serial link between host and offload: frames, messages, limits.

Ref: offload.md §6 (serial link and registers); Cheshire and Baker, "Consistent Overhead Byte
Stuffing", IEEE/ACM Transactions on Networking 7(2), 1999; CRC-32 as in IEEE 802.3 §3.2.9

A frame is a zero, the COBS code of a message, a zero. All numbers are little-endian, so that a
register's words keep their first octet first. The CRC covers the message up to it.

    request   op (8) | number (16) | address (16) | count (8) | words (32 each, WRITE) | CRC-32
    answer    op + ANSWER (8) | number (16) | words (32 each, READ, KICK) | status (8) | CRC-32
    event     op (8) | id (16) | count (16) | first_us (64) | CRC-32
"""

from dataclasses import dataclass
from enum import IntEnum


class LinkOp(IntEnum):
    """First octet of a message."""

    READ = 0x01
    """`count` words upwards from `address`; one sample for each multi-word value."""
    WRITE = 0x02
    """`count` words upwards from `address`."""
    KICK = 0x03
    """Renews the lease (pulse `guard.kick`, the register's other fields as they are); then READ."""
    EVENT = 0x10
    """From the device: a pending event. Acknowledged by a WRITE of `event_ack`."""


ANSWER = 0x80
"""Set in the op of the answer to a request."""


class LinkStatus(IntEnum):
    """How a request ended."""

    OK = 0
    """All of it was done."""
    REFUSED = 1
    """A word does not exist or refused what was written; all others were done, it reads as 0."""
    MALFORMED = 2
    """Unknown op, count 0 or above MAX_WORDS, or words missing: nothing was done."""


@dataclass(frozen=True, slots=True)
class LinkField:
    """One number at the beginning of a message."""

    name: str
    octets: int
    doc: str


OP = LinkField("op", 1, "`LinkOp`")
NUMBER = LinkField("number", 2, "Names the request: executed once, its answer kept for repeats")
REQUEST_HEAD: tuple[LinkField, ...] = (
    OP,
    NUMBER,
    LinkField("address", 2, "First word in the register map"),
    LinkField("count", 1, "Words, 1 to MAX_WORDS"),
)
ANSWER_HEAD: tuple[LinkField, ...] = (OP, NUMBER)
ANSWER_TAIL: tuple[LinkField, ...] = (LinkField("status", 1, "`LinkStatus`"),)
"""Behind the words: it is known when the last of them was done."""
EVENT_HEAD: tuple[LinkField, ...] = (
    OP,
    LinkField("id", 2, "Code of its kind x EVENT_STRIDE + index"),
    LinkField("count", 2, "How often since it was acknowledged, up to 65535"),
    LinkField("first_us", 8, "When it happened first since then, µs of the device"),
)


def octets_of(head: tuple[LinkField, ...]) -> int:
    """Length of these fields."""
    return sum(field.octets for field in head)


MAX_WORDS = 64
"""Registers in one request."""
WORD_OCTETS = 4
CRC_OCTETS = 4
CRC_POLYNOMIAL = 0xEDB88320
"""Reflected; start and final XOR are all ones (zlib's `crc32`)."""
CRC_RESIDUE = 0xDEBB20E3
"""Register of the CRC behind a whole message with its CRC, before the final XOR."""
DELIMITER = 0
"""Before and behind each frame; empty frames mean nothing."""
COBS_BLOCK = 254
"""Most octets without a zero behind one COBS code."""
MAX_MESSAGE_OCTETS = octets_of(REQUEST_HEAD) + MAX_WORDS * WORD_OCTETS + CRC_OCTETS
MAX_FRAME_OCTETS = MAX_MESSAGE_OCTETS + -(-MAX_MESSAGE_OCTETS // COBS_BLOCK)
"""Between the delimiters."""

BAUD = 1_000_000
"""Default of both sides, bit/s; 8 data bits, no parity, one stop bit."""
MAX_BAUD = 3_000_000
MAX_BAUD_ERROR = 0.005
"""Of the gateware's bit clock."""
BITS_AN_OCTET = 10
"""On the line: start, eight data bits, stop."""
