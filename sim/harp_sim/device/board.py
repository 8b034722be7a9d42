"""A board in plain Python: the reference model behind the register map and the serial link.

Sans-IO: frames, octets of the link and the time go in; frames and octets come out. What the model
leaves open (`missed`, latencies, which µs a slot takes in its window) is not to be had here.

Ref: offload.md §1 to §7; `harp_sim.model`
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from harp.offload.frames import Pushed
from harp.tables.offload import (
    BUCKETS,
    EVENT_KINDS,
    EVENT_REPEAT_US,
    EVENT_STRIDE,
    PEERS,
    SLOTS,
    TEMPLATE_OCTETS,
    PeerState,
    SlotFlag,
)
from harp.tables.reasons import ACTIONS, OFFLOAD_REASONS, OUTCOMES
from harp.tables.register_schema import WORD_BITS
from harp.tables.registers import BY_NAME, MAP_VERSION
from harp_sim.device.link_end import LinkEnd
from harp_sim.device.registers import Registers
from harp_sim.model.config import (
    Bucket,
    Fenced,
    Mode,
    Peer,
    Port,
    Rule,
    Slot,
    TypeEntry,
    WatchdogAction,
)
from harp_sim.model.events import EventKind
from harp_sim.model.model import Egress, Model

CLOCK_HZ = 125_000_000
PARAMETER_HASH = 0x0511DE71
"""Of no build: nobody mistakes it for gateware."""
LATE_US = 1_000_000
"""How late a slot may leave here: an operating system runs this."""
TEMPLATE_WORDS = TEMPLATE_OCTETS * 8 // WORD_BITS
_PORTS = tuple(Port)
_PORT_FIELDS = {
    "rx_frames": "frames",
    "rx_octets": "octets",
    "rx_fcs_errors": "fcs_errors",
    "rx_errors": "errors",
    "rx_runts": "runts",
    "rx_oversize": "oversize",
}


@dataclass(frozen=True, slots=True)
class Departure:
    """A frame that leaves, without FCS."""

    port: Port
    octets: bytes


def fcs(octets: bytes) -> bytes:
    """Frame check sequence (IEEE 802.3 §3.2.9)."""
    return zlib.crc32(octets).to_bytes(4, "little")


class BoardRegisters(Registers):
    """The map over a model: what is written becomes its settings."""

    def __init__(self, peers: int = PEERS, map_version: int = MAP_VERSION) -> None:
        of_peers = [name for name in BY_NAME if name == "peer" or name.startswith("peer_")]
        super().__init__(dict.fromkeys(of_peers, peers) | {"bucket": BUCKETS + peers})
        self.model = Model()
        self.now = 0
        self.link = {"bad_frames": 0, "repeats": 0}
        self.transmitted = {port: [0, 0] for port in Port}
        """Frames and octets that left by each port."""
        self.sent = [0] * SLOTS
        self._peers = peers
        self._armed = 0
        self.held["map_version", 0, "value"] = map_version
        self.held["sticky", 0, "reset"] = 1
        self.model.events.observer = self._happened

    def _happened(self, kind: EventKind, index: int, at_us: int) -> None:
        if kind in (EventKind.LEASE_LOST, EventKind.WATCHDOG_FIRED):
            self.held["sticky", 0, kind.value] = 1

    # What the gateware would show

    def sample(self, name: str, index: int, field: str) -> int:
        reader = getattr(self, f"_sample_{name}", None)
        return super().sample(name, index, field) if reader is None else reader(index, field)

    def _sample_parameter_hash(self, index: int, field: str) -> int:
        return PARAMETER_HASH

    def _sample_capabilities(self, index: int, field: str) -> int:
        known = {"ports": 2, "slots": SLOTS, "peers": self._peers, "clock_hz": CLOCK_HZ}
        return known.get(field, 0)

    def _sample_now(self, index: int, field: str) -> int:
        return self.now

    def _sample_uart(self, index: int, field: str) -> int:
        return self.link.get(field, 0)

    def _sample_guard_state(self, index: int, field: str) -> int:
        guard = self.model.guard
        end_us = guard._lease_end_us
        return {
            "lease": guard.lease_live,
            "fired": guard.fired,
            "fenced": guard.fenced,
            "lease_left_us": max(0, end_us - self.now) if end_us is not None else 0,
            "fenced_frames": self.model.counters.fenced.value,
        }[field]

    def _sample_kick_answer(self, index: int, field: str) -> int:
        return self.model.slots.sequence[int(field.removeprefix("sequence_"))]

    def _sample_reason_frames(self, index: int, field: str) -> int:
        return self.model.counters.reasons[OFFLOAD_REASONS[index]].value

    def _sample_outcome_frames(self, index: int, field: str) -> int:
        return self.model.counters.outcomes[OUTCOMES[index]].value

    def _sample_port(self, index: int, field: str) -> int:
        port = _PORTS[index]
        if field in ("tx_frames", "tx_octets"):
            return self.transmitted[port][field == "tx_octets"]
        name = _PORT_FIELDS.get(field)
        counter = name and getattr(self.model.counters.ports[port], name)
        return counter.value if counter else 0

    def _sample_port_state(self, index: int, field: str) -> int:
        up = self.model.guard.link_up[_PORTS[index]]
        return {"link": up, "full_duplex": 1, "speed": 2}.get(field, 0)

    def _sample_slot(self, index: int, field: str) -> int:
        if field == "sequence":
            return self.model.slots.sequence[index]
        return self.held["slot", index, field]

    def _sample_slot_state(self, index: int, field: str) -> int:
        return self.sent[index] if field == "sent" else 0

    def _sample_peer_sequence(self, index: int, field: str) -> int:
        return self.model.watch(index).last[field == "multicast"]

    def _sample_peer_state(self, index: int, field: str) -> int:
        watch = self.model.watch(index)
        return {
            "heard_us": watch.heard_us,
            "state": PeerState[watch.state.name],
            "stored_words": len(watch.kept or b"") // 8,
            "last_multicast": watch.last[True],
            "last_unicast": watch.last[False],
            "accepted": watch.accepted,
            "absorbed": watch.absorbed,
        }[field]

    def _sample_event_pending(self, index: int, field: str) -> int:
        events = self.model.pending()
        return sum(1 << e.index for e in events if e.kind == EVENT_KINDS[index].value)

    def _sample_event(self, index: int, field: str) -> int:
        kind, at = divmod(index, EVENT_STRIDE)
        for event in self.model.pending():
            if event.kind == EVENT_KINDS[kind].value and event.index == at:
                return event.first_us if field == "first_us" else event.count
        return 0

    # What the host writes

    def commit(self, name: str, index: int, fields: Mapping[str, int]) -> None:
        writer = getattr(self, f"_commit_{name}", None)
        if writer is not None:
            writer(index, fields)

    def _value(self, name: str, index: int, field: str) -> int:
        return self.held[name, index, field]

    def _commit_control(self, index: int, fields: Mapping[str, int]) -> None:
        held = {key: value for (name, _, key), value in self.held.items() if name == "control"}
        self.model.write(
            self.now,
            filter_enable=bool(held["filter_enable"]),
            peers_complete=bool(held["peers_complete"]),
            demand_hop_limit=bool(held["demand_hop_limit"]),
            link_mirror=bool(held["link_mirror"]),
            harp_type=held["harp_mh_type"],
            auth_subtype=held["auth_subtype"],
            pass_every=held["pass_every"],
            harp_types=held["harp_types"],
        )

    def _commit_guard(self, index: int, fields: Mapping[str, int]) -> None:
        armed, fence = self._value("guard", 0, "armed"), not self._value("guard", 0, "action")
        changes = {} if armed == self._armed else {"watchdog_armed": bool(armed)}
        self._armed = armed
        self.model.write(
            self.now,
            watchdog_action=WatchdogAction.RESIGN_FENCE if fence else WatchdogAction.EVENT,
            lease_ms=self._value("guard", 0, "lease_ms"),
            host_link_grace_us=self._value("guard", 0, "host_link_grace_us"),
            **changes,
        )
        if fields.get("unfence"):
            self.model.unfence(self.now)
        if fields.get("kick"):
            self.model.kick(self.now)

    def _commit_action(self, index: int, fields: Mapping[str, int]) -> None:
        rule = Rule(ACTIONS[fields["action"]], fields["bucket"])
        rules = dict(self.model.config.rules) | {OFFLOAD_REASONS[index]: rule}
        self.model.write(self.now, rules=rules)

    def _commit_mh_type(self, index: int, fields: Mapping[str, int]) -> None:
        types = {n: entry for n, entry in self.model.config.types.items() if n != index}
        if fields["known"]:
            bucket = fields["bucket"] if fields["limited"] else None
            types[index] = TypeEntry(fields["min_header_len"], bool(fields["allowed"]), bucket)
        self.model.write(self.now, types=types)

    def _commit_bucket(self, index: int, fields: Mapping[str, int]) -> None:
        period, tolerance = (self._value("bucket", index, f) for f in ("period_us", "tolerance_us"))
        buckets = list(self.model.config.buckets)
        buckets[index] = Bucket(period, tolerance)
        self.model.write(self.now, buckets=tuple(buckets))

    def _commit_local(self, index: int, fields: Mapping[str, int]) -> None:
        count = BY_NAME["local"].count
        held = (self._value("local", n, "address") for n in range(count))
        self.model.write(self.now, local=tuple(_address(value) for value in held if value))

    def _commit_fence(self, index: int, fields: Mapping[str, int]) -> None:
        entries = []
        for n in range(BY_NAME["fence"].count):
            names = ("address", "prefix_len", "own")
            address, length, own = (self._value("fence", n, name) for name in names)
            if address and 1 <= length <= 128:
                entries.append(Fenced(_address(address), length, bool(own)))
        self.model.write(self.now, fence=tuple(entries))

    def _commit_slot(self, index: int, fields: Mapping[str, int]) -> None:
        if "sequence" in fields:
            self.model.slots.sequence[index] = fields["sequence"]
        if "flags" in fields:
            slots = list(self.model.config.slots)
            slots[index] = self._slot(index)
            self.model.write(self.now, slots=tuple(slots))

    def _slot(self, index: int) -> Slot | None:
        held = {
            field.name: self._value("slot", index, field.name) for field in BY_NAME["slot"].fields
        }
        flags = SlotFlag(held["flags"])
        if SlotFlag.ENABLE not in flags or SlotFlag.AUTHENTICATE in flags:
            return None
        words = range(TEMPLATE_WORDS * index, TEMPLATE_WORDS * (index + 1))
        template = b"".join(
            self._value("slot_template", n, "octets").to_bytes(4, "little") for n in words
        )
        return Slot(
            template[: held["length"]],
            period_us=max(100, held["period_us"]),
            resign=SlotFlag.RESIGN in flags,
            mh_offset=held["mh_offset"] & ~0b11 | 0b10,
            patch_sequence=SlotFlag.SEQUENCE in flags,
            patch_checksum=SlotFlag.CHECKSUM in flags,
            jitter_percent=min(10, held["jitter"]),
            sequence_slot=held["sequence_from"],
        )

    def _commit_peer(self, index: int, fields: Mapping[str, int]) -> None:
        if "enable" in fields:
            self._write_peer(index)

    def _commit_peer_timing(self, index: int, fields: Mapping[str, int]) -> None:
        if self._value("peer", index, "enable"):
            self._write_peer(index)

    def _write_peer(self, index: int) -> None:
        key = {f.name: self._value("peer", index, f.name) for f in BY_NAME["peer"].fields}
        timing = BY_NAME["peer_timing"].fields
        times = {f.name: self._value("peer_timing", index, f.name) for f in timing}
        peers = list(self.model.config.peers)
        peers[index] = None
        if key["enable"]:
            peers[index] = Peer(
                _address(key["address"]),
                key["group"],
                vlan=None if key["any_vlan"] else key["vlan"],
                mode=Mode.SEEN if key["mode"] else Mode.VERIFIED,
                deadline_us=times["deadline_us"],
                late_us=times["late_us"] if times["late_us"] < times["deadline_us"] else 0,
                multiplier=times["multiplier"],
                authenticated=bool(key["authenticate"]),
            )
        self.model.write(self.now, peers=tuple(peers))

    def _commit_peer_sequence(self, index: int, fields: Mapping[str, int]) -> None:
        for name, value in fields.items():
            self.model.write_sequence(index, name == "multicast", value, self.now)

    def _commit_peer_command(self, index: int, fields: Mapping[str, int]) -> None:
        if fields["forget"]:
            self.model.forget(index, self.now)
        if fields["arm"] and self.model.config.peers[index] is not None:
            self.model.arm(index, self.now)

    def _commit_event_ack(self, index: int, fields: Mapping[str, int]) -> None:
        kind, at = divmod(fields["id"], EVENT_STRIDE)
        if kind < len(EVENT_KINDS):
            self.model.ack(EventKind(EVENT_KINDS[kind].value), at, fields["count"])


def _address(value: int) -> bytes:
    return value.to_bytes(16, "little")


class Board:
    """Everything between the ports and the pins of the serial link.

    Call `advance` at `deadline` and before anything else at a later time; `take` gives what leaves.
    """

    registers_of: type[BoardRegisters] = BoardRegisters

    def __init__(self, peers: int = PEERS, map_version: int = MAP_VERSION) -> None:
        self.registers = self.registers_of(peers, map_version)
        self.end = LinkEnd(self.registers)
        self._origin: int | None = None
        self._left: list[Departure] = []
        self._said = bytearray()
        self._pushed: dict[tuple[EventKind, int], tuple[int, int]] = {}

    @property
    def model(self) -> Model:
        """The reference model inside."""
        return self.registers.model

    @property
    def deadline(self) -> int | None:
        """When to call `advance` next, caller's µs."""
        times = [self.model.next_us()]
        times += [due.earliest_us for due in self.model.slots.due()]
        for event in self.model.pending():
            count, at = self._pushed.get((event.kind, event.index), (0, 0))
            times.append(at + EVENT_REPEAT_US if count == event.count else self.registers.now)
        known = [time for time in times if time is not None]
        return min(known) + self._origin if known and self._origin is not None else None

    def advance(self, now: int) -> None:
        """Time is `now`, caller's µs, whatever its origin."""
        if self._origin is None:
            self._origin = now
        self.registers.now = max(self.registers.now, now - self._origin)
        self.model.advance(self.registers.now)
        self._send_slots()
        self._push()

    def frame(self, port: Port, octets: bytes, now: int, fcs_ok: bool = True) -> None:
        """A whole frame without FCS came in by a port."""
        self.advance(now)
        padded = octets + bytes(max(0, 60 - len(octets)))
        judgement = self.model.frame(port, padded + fcs(padded), self.registers.now, fcs_ok)
        if judgement.egress is Egress.WHOLE:
            self._leave(Port.NETWORK if port is Port.HOST else Port.HOST, octets)
        self._push()

    def link(self, port: Port, up: bool, now: int) -> None:
        """A port's link came or went."""
        self.advance(now)
        self.model.link(port, up, self.registers.now)
        self._push()

    def host_says(self, octets: bytes, now: int) -> None:
        """Octets from the host on the serial link."""
        self.advance(now)
        self._said += self.end.receive(octets)
        self.registers.link = {"bad_frames": self.end.bad_frames, "repeats": self.end.repeats}
        self.advance(now)

    def take(self) -> tuple[list[Departure], bytes]:
        """Frames that left, and octets for the host, since the last call."""
        left, said = self._left, bytes(self._said)
        self._left, self._said = [], bytearray()
        return left, said

    def _leave(self, port: Port, octets: bytes) -> None:
        counted = self.registers.transmitted[port]
        counted[0] += 1
        counted[1] += len(octets) + 4
        self._left.append(Departure(port, octets))

    def _send_slots(self) -> None:
        now = self.registers.now
        while True:
            due = [one for one in self.model.slots.due() if one.earliest_us <= now]
            if not due:
                return
            self.model.slot_sent(due[0].octets, now, LATE_US)
            self.registers.sent[due[0].slot] += 1
            self._leave(Port.NETWORK, due[0].octets)

    def _push(self) -> None:
        now = self.registers.now
        for event in self.model.pending():
            key = event.kind, event.index
            count, at = self._pushed.get(key, (0, 0))
            if count == event.count and now < at + EVENT_REPEAT_US:
                continue
            self._pushed[key] = event.count, now
            number = EVENT_KINDS.index(event.kind.value) * EVENT_STRIDE + event.index
            self._said += self.end.push(Pushed(number, event.count, event.first_us))
