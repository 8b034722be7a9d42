"""From harpd to the process that forwards or makes routes, and what it tells back.

Frames over a Unix stream, both of this machine's byte order:

```
harpd → worker:  | Op (8) | Group ID (8) | BID (16) | Length of body (32) | body
  PREPARE   home address, care-of address, then prefixes: length (8), prefix (16)
  REMOVE    home address
  BLOCK     plain bindings as `wire.bulk` packs them; lifetime 0 removes
  FLUSHED   nothing: all before it is to be in the kernel when it is reported back
  COMPLETE  nothing: all bindings have been told, what else is in the kernel goes
worker → harpd:  a `Report`
```
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from harp.daemon.dataplane.bindings import ADDRESS_OCTETS, HOST_BITS, Bindings, Network
from harp.engine.effects import PrepareRoute, PrepareRoutes, RemoveRoute
from harp.wire.bulk import BulkCodec
from harp.wire.codec import DEFAULT_CODEC

_HEAD = struct.Struct("=BBHI")
_BLOCKS = BulkCodec(DEFAULT_CODEC)
"""Unpacks blocks whatever their code points are."""
_NETWORK = struct.Struct("=B16s")
_REPORT = struct.Struct("=9Q")


class Op(IntEnum):
    """What a frame asks for."""

    PREPARE = 1
    REMOVE = 2
    BLOCK = 3
    FLUSHED = 4
    COMPLETE = 5


class Report(NamedTuple):
    """What the worker says of itself; counts since its start."""

    flushed: int = 0
    """FLUSHED frames whose predecessors are done."""
    routes: int = 0
    """Prefixes that the kernel forwards."""
    queued: int = 0
    """Changes that wait for the kernel."""
    failed: int = 0
    """Changes that the kernel refused."""
    encapsulated: int = 0
    """Packets toward mobile nodes."""
    decapsulated: int = 0
    """Packets from mobile nodes."""
    unbound: int = 0
    """Packets from tunnels whose inner source has no binding with that outer source: dropped."""
    too_big: int = 0
    """Packets answered with Packet Too Big."""
    unsent: int = 0
    """Packets that the kernel would not take."""

    def pack(self) -> bytes:
        """For the stream."""
        return _REPORT.pack(*self)


REPORT_OCTETS = _REPORT.size


def unpack_report(data: bytes) -> Report:
    """One report of `REPORT_OCTETS`."""
    return Report(*_REPORT.unpack(data))


def prepare_frame(route: PrepareRoute) -> bytes:
    """A binding is new or has changed."""
    networks = b"".join([_NETWORK.pack(p.length, p.address) for p in route.prefixes])
    body = route.home_address + route.care_of + networks
    return _HEAD.pack(Op.PREPARE, route.group, route.bid, len(body)) + body


def block_frame(routes: PrepareRoutes) -> bytes:
    """Many plain bindings."""
    return _HEAD.pack(Op.BLOCK, routes.group, 0, len(routes.block)) + routes.block


def remove_frame(route: RemoveRoute) -> bytes:
    """A binding is gone."""
    return _HEAD.pack(Op.REMOVE, route.group, route.bid, ADDRESS_OCTETS) + route.home_address


def flushed_frame() -> bytes:
    """Asks to be told when all before it is done."""
    return _HEAD.pack(Op.FLUSHED, 0, 0, 0)


def complete_frame() -> bytes:
    """Every binding has been told, to a worker that began with none."""
    return _HEAD.pack(Op.COMPLETE, 0, 0, 0)


class Frame(NamedTuple):
    """One frame as it came."""

    op: int
    group: int
    bid: int
    body: bytes

    def apply(self, bindings: Bindings) -> None:
        """Carries out what it asks for in its group's table."""
        match self.op:
            case Op.BLOCK:
                for binding in _BLOCKS.unpack(self.body):
                    if binding.lifetime_units:
                        bindings.prepare(binding.home_address, 0, binding.care_of_address)
                    else:
                        bindings.remove(binding.home_address, 0)
            case Op.PREPARE:
                home, care_of = self.body[:16], self.body[16:32]
                bindings.prepare(home, self.bid, care_of, tuple(_networks(self.body)))
            case Op.REMOVE:
                bindings.remove(self.body, self.bid)


def _networks(body: bytes) -> Iterator[Network]:
    for length, prefix in _NETWORK.iter_unpack(body[2 * ADDRESS_OCTETS :]):
        if length < HOST_BITS:
            yield prefix, length


class Frames:
    """Cuts a stream into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def take(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes."""
        self._rest += data
        at = 0
        try:
            while at + _HEAD.size <= len(self._rest):
                op, group, bid, length = _HEAD.unpack_from(self._rest, at)
                end = at + _HEAD.size + length
                if end > len(self._rest):
                    break
                yield Frame(op, group, bid, bytes(self._rest[at + _HEAD.size : end]))
                at = end
        finally:
            del self._rest[:at]
