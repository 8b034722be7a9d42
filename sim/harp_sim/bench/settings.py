"""The model's configuration as words of the register map.

Ref: harp.tables.registers; offload.md §6
"""

from collections.abc import Iterator

from harp.tables.offload import PeerMode, SlotFlag, WatchdogAction
from harp.tables.reasons import ACTIONS, OFFLOAD_REASONS
from harp.tables.register_schema import WORD_BITS
from harp.tables.registers import BY_NAME
from harp_sim.bench.device import Device
from harp_sim.model import config as model
from harp_sim.model.config import Config, Mode

Element = tuple[str, int]
"""Register and index."""


def elements(config: Config) -> Iterator[tuple[Element, dict[str, int]]]:
    """Every element that the configuration sets, with its fields; the others stay at reset."""
    yield (
        ("control", 0),
        {
            "filter_enable": config.filter_enable,
            "peers_complete": config.peers_complete,
            "demand_hop_limit": config.demand_hop_limit,
            "link_mirror": config.link_mirror,
            "harp_mh_type": config.harp_type,
            "auth_subtype": config.auth_subtype,
            "pass_every": config.pass_every,
            "harp_types": config.harp_types,
        },
    )
    yield (
        ("guard", 0),
        {
            "armed": config.watchdog_armed,
            "action": WatchdogAction[config.watchdog_action.name],
            "lease_ms": config.lease_ms,
            "host_link_grace_us": config.host_link_grace_us,
        },
    )
    for index, reason in enumerate(OFFLOAD_REASONS):
        rule = config.rules[reason]
        yield ("action", index), {"action": ACTIONS.index(rule.action), "bucket": rule.bucket}
    for mh_type in range(BY_NAME["mh_type"].count):
        yield ("mh_type", mh_type), _type(config.types.get(mh_type), mh_type)
    for index, bucket in enumerate(config.buckets):
        fields = {"period_us": bucket.period_us, "tolerance_us": bucket.tolerance_us}
        yield ("bucket", index), fields
    for index in range(BY_NAME["local"].count):
        known = index < len(config.local)
        yield ("local", index), {"address": _address(config.local[index]) if known else 0}
    for index in range(BY_NAME["fence"].count):
        yield ("fence", index), _fence(config, index)
    for index, peer in enumerate(config.peers):
        yield from _peer(index, peer)
    for index, slot in enumerate(config.slots):
        yield from _slot(index, slot)


def words(name: str, index: int, fields: dict[str, int]) -> list[int]:
    """The words of an element; fields that are not named have their reset value."""
    register = BY_NAME[name]
    value = 0
    for field in register.fields:
        value |= int(fields.get(field.name, register.reset_of(field, index))) << field.at
    return [value >> WORD_BITS * n & 0xFFFF_FFFF for n in range(register.words)]


class Settings:
    """Writes configurations to a device, only what differs from what it has."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._written = {key: words(*key, fields) for key, fields in elements(Config())}

    async def write(self, config: Config) -> None:
        """Bring the device to `config`."""
        for key, fields in elements(config):
            wanted = words(*key, fields)
            if self._written.get(key) != wanted:
                await self._element(*key, wanted)
                self._written[key] = wanted

    def rewrite(self, name: str) -> None:
        """The next `write` writes the elements of this register though they have not changed."""
        for key in self._written:
            if key[0] == name:
                self._written[key] = []

    async def _element(self, name: str, index: int, wanted: list[int]) -> None:
        address = BY_NAME[name].address(index)
        if name == "peer":
            await self._device.write_words(address + 4, [0])
        if name == "slot":
            await self._device.write_words(address, [0])
            await self._device.write_words(address + 1, wanted[1:3])
            await self._device.write_words(address, wanted[:1])
            return
        await self._device.write_words(address, wanted)


def _address(octets: bytes) -> int:
    return int.from_bytes(octets, "little")


def _type(entry: model.TypeEntry | None, mh_type: int) -> dict[str, int]:
    if entry is None:
        return {"known": 0}
    return {
        "known": 1,
        "allowed": entry.allowed,
        "limited": entry.bucket is not None,
        "bucket": entry.bucket or 0,
        "min_header_len": entry.min_header_len,
    }


def _fence(config: Config, index: int) -> dict[str, int]:
    if index >= len(config.fence):
        return {}
    entry = config.fence[index]
    return {
        "address": _address(entry.address),
        "prefix_len": entry.prefix_len,
        "own": int(entry.own),
    }


def _peer(index: int, peer: model.Peer | None) -> Iterator[tuple[Element, dict[str, int]]]:
    if peer is None:
        yield ("peer", index), {}
        return
    yield (
        ("peer_timing", index),
        {
            "deadline_us": peer.deadline_us,
            "late_us": peer.late_us,
            "multiplier": peer.multiplier,
        },
    )
    yield (
        ("peer", index),
        {
            "address": _address(peer.source),
            "group": peer.group,
            "vlan": peer.vlan or 0,
            "any_vlan": peer.vlan is None,
            "mode": PeerMode.SEEN if peer.mode is Mode.SEEN else PeerMode.VERIFIED,
            "authenticate": peer.authenticated,
            "enable": 1,
        },
    )


def _slot(index: int, slot: model.Slot | None) -> Iterator[tuple[Element, dict[str, int]]]:
    if slot is None:
        yield ("slot", index), {}
        return
    padded = slot.template + bytes(-len(slot.template) % 4)
    first = BY_NAME["slot_template"].count // BY_NAME["slot"].count * index
    for n in range(0, len(padded), 4):
        octets = int.from_bytes(padded[n : n + 4], "little")
        yield ("slot_template", first + n // 4), {"octets": octets}
    flags = SlotFlag.ENABLE
    flags |= SlotFlag.RESIGN if slot.resign else SlotFlag(0)
    flags |= SlotFlag.SEQUENCE if slot.patch_sequence else SlotFlag(0)
    flags |= SlotFlag.CHECKSUM if slot.patch_checksum else SlotFlag(0)
    yield (
        ("slot", index),
        {
            "flags": flags,
            "mh_offset": slot.mh_offset,
            "length": len(slot.template),
            "sequence_from": index if slot.sequence_slot is None else slot.sequence_slot,
            "period_us": slot.period_us,
            "jitter": slot.jitter_percent,
        },
    )
