"""Many datagrams with one system call.

Ref: recvmmsg(2), cmsg(3)

Python's own `recvmsg` takes one datagram a call and writes its address as text; with this a packet
costs about a third, and a burst of HELLOs is read before the first of them is judged.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

_NAME_OCTETS = 28
"""`struct sockaddr_in6`; `struct sockaddr_ll` is shorter."""
_CONTROL_OCTETS = 512
"""Room for ancillary data: destination options are at most 256 octets for a Home Address."""
_HEADER = struct.Struct("@PIPNPNi0PI0P")
"""`struct mmsghdr`: name, its length, vectors, how many, control, its length, flags, octets."""
_VECTOR = struct.Struct("@PN")
"""`struct iovec`."""
_CONTROL_HEADER = struct.Struct("@Nii")
"""`struct cmsghdr`: length with header, level, type."""

_ALIGNMENT = struct.calcsize("@N")

# A PyDLL call keeps the interpreter's lock: a call that never waits must not offer other threads
# to run in the middle of the loop.
_libc = ctypes.PyDLL(None, use_errno=True)


class Datagram(NamedTuple):
    """One datagram as the kernel gave it."""

    payload: bytes
    """The first of its octets if a slot is too short."""
    name: bytes
    """The socket address it came from, as in memory."""
    control: bytes
    """Ancillary data."""


class Batch:
    """Room for `slots` datagrams of at most `octets` octets, used again for every call."""

    def __init__(self, slots: int, octets: int) -> None:
        self.slots = slots
        self._octets = octets
        self._data = ctypes.create_string_buffer(slots * octets)
        self._names = ctypes.create_string_buffer(slots * _NAME_OCTETS)
        self._control = ctypes.create_string_buffer(slots * _CONTROL_OCTETS)
        self._vectors = ctypes.create_string_buffer(slots * _VECTOR.size)
        self._headers = ctypes.create_string_buffer(slots * _HEADER.size)
        at = ctypes.addressof
        for slot in range(slots):
            _VECTOR.pack_into(
                self._vectors, slot * _VECTOR.size, at(self._data) + slot * octets, octets
            )
            _HEADER.pack_into(
                self._headers,
                slot * _HEADER.size,
                at(self._names) + slot * _NAME_OCTETS,
                _NAME_OCTETS,
                at(self._vectors) + slot * _VECTOR.size,
                1,
                at(self._control) + slot * _CONTROL_OCTETS,
                _CONTROL_OCTETS,
                0,
                0,
            )
        self._pristine = self._headers.raw

    def receive(self, descriptor: int, limit: int) -> list[Datagram]:
        """What waits, at most `limit` and at most `slots`; empty: nothing does. An error that the
        socket had to tell (an interface went down) is taken off it and not told."""
        headers = self._headers
        got: int = _libc.recvmmsg(
            descriptor, headers, min(limit, self.slots), socket.MSG_DONTWAIT, None
        )
        if got <= 0:
            return []
        used = got * _HEADER.size
        found = list(self._taken(memoryview(headers)[:used]))
        # The kernel wrote lengths over the room there is.
        ctypes.memmove(headers, self._pristine, used)
        return found

    def _taken(self, headers: memoryview) -> Iterator[Datagram]:
        data = memoryview(self._data).cast("B")
        names = memoryview(self._names).cast("B")
        control = memoryview(self._control).cast("B")
        at_data = at_name = at_control = 0
        for fields in _HEADER.iter_unpack(headers):
            _, name_octets, _, _, _, control_octets, _, octets = fields
            yield Datagram(
                bytes(data[at_data : at_data + octets]),
                bytes(names[at_name : at_name + name_octets]),
                bytes(control[at_control : at_control + control_octets]),
            )
            at_data += self._octets
            at_name += _NAME_OCTETS
            at_control += _CONTROL_OCTETS


def control_messages(control: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Ancillary data taken apart: level, type, content."""
    at, head = 0, _CONTROL_HEADER.size
    while at + head <= len(control):
        length, level, kind = _CONTROL_HEADER.unpack_from(control, at)
        if length < head:
            return
        yield level, kind, control[at + head : at + length]
        at += -(-length // _ALIGNMENT) * _ALIGNMENT
