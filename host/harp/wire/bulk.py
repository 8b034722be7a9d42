"""Fast path for SS-REPs full of plain bindings: whole messages at a time, no object a binding.

Ref: harp.md §2 (padding), §2.2 (Binding Cache Information), §6 (full sync, log)

A plain binding (no options of its own) behind another takes 48 octets: six of padding that align
the option to 8n+6, then the 42 of the option. A *block* is a row of such records:

```
 0      2          6     8             24                40      42      44       46       48
 +------+----------+-----+-------------+-----------------+-------+-------+--------+--------+
 | 1, 4 | 4 x zero |T, 40| Home Address| Care-of Address | Flags |  Seq  |Lifetime|Reserved|
 +------+----------+-----+-------------+-----------------+-------+-------+--------+--------+
```
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from harp.tables.harp_types import FIXED_OCTETS, HarpType
from harp.tables.mh import MAX_MH_OCTETS
from harp.tables.options import BINDING_CACHE
from harp.wire import messages as msg
from harp.wire.codec import Codec, parse_harp_head
from harp.wire.fault import Fault
from harp.wire.mandatory import OF_BINDING, check_options
from harp.wire.options import BINDING_CACHE_HEAD, padding

RECORD_OCTETS = 48
"""Octets of one record in a block."""
_HOME_AT = RECORD_OCTETS - BINDING_CACHE.lengths[0]
_HOME_OCTETS = 16
_ALIGNMENT = BINDING_CACHE.alignment
_IN_BINDINGS = OF_BINDING | {msg.BindingCache}
_PAD = padding(RECORD_OCTETS - 2 - BINDING_CACHE.lengths[0])


class BindingRecord(NamedTuple):
    """A plain binding as it lies on the wire."""

    home_address: bytes
    care_of_address: bytes
    flags: int
    sequence: int
    lifetime_units: int
    """In units of 4 s; 0: delete."""


@dataclass(frozen=True, slots=True)
class BulkReply:
    """An SS-REP all of whose bindings are plain and lie in one block."""

    message: msg.Harp
    """The message with the options outside of bindings only."""
    block: bytes
    """Its bindings: a multiple of 48 octets."""


def homes_of(block: bytes) -> list[bytes]:
    """The home addresses of a block's records, in their order."""
    return [block[at : at + _HOME_OCTETS] for at in range(_HOME_AT, len(block), RECORD_OCTETS)]


class BulkCodec:
    """Packs, builds, parses and unpacks blocks under one codec's code points."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        lead = _PAD + bytes((codec.code_points.option_binding_cache, BINDING_CACHE.lengths[0]))
        self._lead = lead
        self._record = struct.Struct(f"!{len(lead)}x{BINDING_CACHE_HEAD}")
        self._pack = struct.Struct(f"!{len(lead)}s{BINDING_CACHE_HEAD}").pack
        body = RECORD_OCTETS - len(lead)
        self._more = re.compile(b"(?:%b.{%d})*" % (re.escape(lead), body), re.DOTALL)

    def pack(self, records: Iterable[BindingRecord]) -> bytes:
        """A block of `records`. Raises struct.error on a value that does not fit."""
        pack, lead = self._pack, self._lead
        return b"".join([pack(lead, *record) for record in records])

    def unpack(self, block: bytes) -> Iterator[BindingRecord]:
        """The records of a block."""
        return map(BindingRecord._make, self._record.iter_unpack(block))

    def capacity(self, message: msg.Harp, max_octets: int, reserve_octets: int = 0) -> int:
        """How many records fit behind the options of `message` into an MH of `max_octets` (at
        most 2,048), when `reserve_octets` stay free (authentication)."""
        at = len(self._codec.begin(message))
        first = at + (_ALIGNMENT.rest - at) % _ALIGNMENT.multiple - len(_PAD)
        room = min(max_octets, MAX_MH_OCTETS) // 8 * 8 - reserve_octets - first
        return max(0, room // RECORD_OCTETS)

    def begin(self, message: msg.Harp, block: bytes) -> bytearray:
        """An MH under construction as `Codec.begin`: `message`, then a block."""
        mh = self._codec.begin(message)
        if block:
            mh += padding((_ALIGNMENT.rest - len(mh)) % _ALIGNMENT.multiple)
            mh += memoryview(block)[len(_PAD) :]
        return mh

    def build(self, source: bytes, destination: bytes, message: msg.Harp, block: bytes) -> bytes:
        """The Mobility Header of `message` with a block behind its options."""
        return self._codec.finish(source, destination, self.begin(message, block))

    def parse(
        self, source: bytes, destination: bytes, payload: bytes
    ) -> BulkReply | msg.Message | msg.Malformed:
        """As `Codec.parse`, but an SS-REP of one block comes as `BulkReply`. Never raises."""
        try:
            mh, parser = self._codec.admit(source, destination, payload)
            return self._parse_block(mh) or parser(mh)
        except Fault as fault:
            return msg.Malformed(fault.reason, fault.detail)

    def _parse_block(self, mh: bytes) -> BulkReply | None:
        """None: not an SS-REP with just one block, for the ordinary parser to judge."""
        if mh[2] != self._codec.code_points.mh_type_harp or mh[6] != HarpType.SS_REP:
            return None
        head = parse_harp_head(mh)
        options = self._codec.options
        before, at = options.parse_until(mh, FIXED_OCTETS, self._lead[len(_PAD)])
        first = at + RECORD_OCTETS - len(_PAD)
        if first > len(mh) or mh[at : at + 2] != self._lead[len(_PAD) :]:
            return None
        more = self._more.match(mh, first)
        end = more.end() if more else first
        outside = before + options.parse(mh, end)
        if any(type(option) in _IN_BINDINGS for option in outside):
            return None
        message = msg.Harp(*(*head, outside))
        check_options(message, has_block=True)
        return BulkReply(message, _PAD + mh[at:end])
