"""Binding changes on their way into SS-REPs (harp.md §2.1, §2.2, §6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from harp.engine.config import GroupConfig, Security
from harp.engine.entries import Change
from harp.tables.harp_types import FIXED_OCTETS, HarpType
from harp.tables.mh import LIFETIME_UNIT_S, MAX_MH_OCTETS
from harp.wire.bindings import bindings
from harp.wire.bulk import RECORD_OCTETS, BindingRecord, BulkCodec
from harp.wire.codec import Codec
from harp.wire.messages import BindingCache, Harp, Option

IPV6_OCTETS = 40
ESP_OCTETS = 64
"""Bound on what ESP adds: header, IV, padding, trailer and ICV (RFC 4303 §2)."""
PROTECTION_OCTETS = 48
"""Bound on Replay Protection and HA-HA authentication behind the bindings."""
HEAD_OCTETS = 32
"""Fixed part and Sync Position."""
PLAIN_OCTETS = RECORD_OCTETS + 1
"""Bound on a binding without options: one octet more than in a block, for worse alignment."""


class Packed(NamedTuple):
    """What `SendHarp` takes: plain bindings packed, or all among the options."""

    message: Harp
    block: bytes


class Packer:
    """Puts changes into SS-REPs of one group, as many as fit."""

    def __init__(self, config: GroupConfig) -> None:
        self._codec = Codec(config.code_points)
        self.bulk = BulkCodec(self._codec)
        self._config = config
        self.reconfigured()

    def reconfigured(self) -> None:
        """What fits into a message: path MTU and signatures."""
        config, protection = self._config, self._config.protection
        taken = HEAD_OCTETS + (PROTECTION_OCTETS if protection.signing_key else 0)
        outer = IPV6_OCTETS + (ESP_OCTETS if protection.security is Security.IPSEC else 0)
        path = min(config.sync.mtu_octets - outer, MAX_MH_OCTETS) // 8 * 8
        self.room_octets = path - taken
        """harp.md §6: "Batched to min(path MTU, 2,048)"."""
        self.most_octets = MAX_MH_OCTETS - taken
        """What one binding alone may fill, however small the path MTU."""
        self.records = self.room_octets // RECORD_OCTETS
        """Plain bindings in one block."""

    def octets(self, change: Change) -> int:
        """Bound on what a change fills."""
        cache, options = change
        if not options:
            return PLAIN_OCTETS
        alone = Harp(HarpType.SS_REP, 0, 1, options=(cache, *options))
        return len(self._codec.begin(alone)) - FIXED_OCTETS + 7  # alignment

    def split(self, changes: Iterable[Change]) -> Iterator[list[Change]]:
        """Changes in groups that fit into a message each; one that fits into none is left out."""
        group: list[Change] = []
        room = self.room_octets
        for change in changes:
            octets = self.octets(change)
            if octets > self.most_octets:
                continue
            if group and octets > room:
                yield group
                group, room = [], self.room_octets
            group.append(change)
            room -= octets
        if group:
            yield group

    def changes(self, packed: Packed) -> list[Change]:
        """The bindings of an SS-REP, in their order."""
        changes: list[Change] = list(bindings(packed.message.options))
        for home, care_of, flags, sequence, units in self.bulk.unpack(packed.block):
            cache = BindingCache(home, care_of, flags, sequence, units * LIFETIME_UNIT_S)
            changes.append((cache, ()))
        return changes

    def pack(self, message: Harp, changes: list[Change]) -> Packed:
        """`message` with `changes` behind its own options, in their order."""
        if any(options for _, options in changes):
            flat: list[Option] = list(message.options)
            for cache, options in changes:
                flat.append(cache)
                flat += options
            return Packed(replace(message, options=tuple(flat)), b"")
        records = [
            BindingRecord(
                cache.home_address,
                cache.care_of_address,
                cache.flags,
                cache.sequence,
                -(-cache.lifetime_s // LIFETIME_UNIT_S),
            )
            for cache, _ in changes
        ]
        return Packed(message, self.bulk.pack(records))
