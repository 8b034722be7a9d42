"""Classic BPF programs: which packets wake a socket up.

Ref: Linux Documentation/networking/filter.rst; harp.md §10

Loads from `_NETWORK` on count from the IPv6 header wherever the socket's data begins.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Collection
from typing import NamedTuple

from harp.daemon.sockets.options import SO_ATTACH_FILTER
from harp.tables.ipv6 import FIXED_HEADER_OCTETS, NextHeader
from harp.tables.mh import HOP_LIMIT, NEXT_HEADER

LOAD_HALF, LOAD_BYTE, LOAD_WORD, JUMP_EQUAL, RETURN = 0x28, 0x30, 0x20, 0x15, 0x06
"""`ldh [k]`, `ldb [k]`, `ld [k]`, `jeq #k`, `ret #k` of linux/bpf_common.h."""
_NETWORK = 0xFFF0_0000
"""SKF_NET_OFF."""
_PACKET_TYPE = 0xFFFF_F004
"""SKF_AD_OFF + SKF_AD_PKTTYPE."""
_NEXT_HEADER, _HOP_LIMIT, _SOURCE = 6, 7, 8
"""Offsets in the IPv6 header (RFC 8200 §3)."""
_MH_TYPE = 2
"""Offset in a Mobility Header (RFC 6275 §6.1.1)."""
_ALL, _NONE = 0xFFFF_FFFF, 0
_MOST = 200
"""Addresses in one filter: the kernel takes 4,096 instructions, and each is tried in turn."""


class Instruction(NamedTuple):
    """`struct sock_filter`."""

    code: int
    if_true: int
    if_false: int
    operand: int


def members_only(
    mh_type: int, sources: Collection[bytes], *, any_hop_limit: bool, others: bool
) -> list[Instruction]:
    """For a raw socket of protocol 135: HARP from members, or (`others`) all but that.

    Two sockets share what arrives: so a flood of anything else fills a buffer of its own and
    delays no HELLO. No sources, or too many: HARP from anybody counts as from members."""
    hit, miss = (_NONE, _ALL) if others else (_ALL, _NONE)
    program = [Instruction(LOAD_BYTE, 0, 0, _MH_TYPE), *_unless(mh_type, miss)]
    if not any_hop_limit:
        program += [Instruction(LOAD_BYTE, 0, 0, _NETWORK + _HOP_LIMIT)]
        program += _unless(HOP_LIMIT, miss)
    if not 0 < len(sources) <= _MOST:
        return [*program, Instruction(RETURN, 0, 0, hit)]
    for address in sorted(sources):
        program += _if_source(address, hit)
    return [*program, Instruction(RETURN, 0, 0, miss)]


def _unless(value: int, result: int) -> list[Instruction]:
    """Ends with a result unless the accumulator has a value."""
    return [Instruction(JUMP_EQUAL, 1, 0, value), Instruction(RETURN, 0, 0, result)]


def _if_source(address: bytes, result: int) -> list[Instruction]:
    """Ends with a result if the IPv6 source is an address."""
    program: list[Instruction] = []
    words = struct.unpack("!4I", address)
    for index, word in enumerate(words):
        past = 2 * (len(words) - 1 - index) + 1
        program.append(Instruction(LOAD_WORD, 0, 0, _NETWORK + _SOURCE + 4 * index))
        program.append(Instruction(JUMP_EQUAL, 0, past, word))
    return [*program, Instruction(RETURN, 0, 0, result)]


def home_address_option() -> list[Instruction]:
    """For a packet socket of IPv6: to this machine, Destination Options, then 135."""
    return [
        Instruction(LOAD_BYTE, 0, 0, _PACKET_TYPE),
        *_unless(socket.PACKET_HOST, _NONE),
        Instruction(LOAD_BYTE, 0, 0, _NETWORK + _NEXT_HEADER),
        *_unless(NextHeader.DESTINATION_OPTIONS, _NONE),
        Instruction(LOAD_BYTE, 0, 0, _NETWORK + FIXED_HEADER_OCTETS),
        *_unless(NEXT_HEADER, _NONE),
        Instruction(RETURN, 0, 0, _ALL),
    ]


def nothing() -> list[Instruction]:
    """For a socket that only sends."""
    return [Instruction(RETURN, 0, 0, _NONE)]


def attach(opened: socket.socket, program: list[Instruction]) -> None:
    """From now on only what the program lets through reaches the socket."""
    code = b"".join(struct.pack("@HBBI", *each) for each in program)
    held = ctypes.create_string_buffer(code, len(code))
    declared = struct.pack("@HP", len(program), ctypes.addressof(held))
    opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, declared)
