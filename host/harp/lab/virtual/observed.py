"""What the members of a running scenario are seen to do: the facts that invariants judge.

Everything here comes from outside the engines: packets delivered and sent, effects carried out, and
what the machines go through. A member *hears* another when a HELLO of it is delivered (lost or
blocked ones are not), whatever its engine makes of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from harp.engine.effects import Role
from harp.lab.virtual.network import MULTICAST, Network
from harp.tables.codepoints import DEFAULT_CODE_POINTS
from harp.tables.harp_types import HarpFlag, HarpType
from harp.tables.mh import MhType
from harp.tables.options import AUTHENTICATION, HA_HA_AUTH_LENGTH, REPLAY_PROTECTION
from harp.wire.sequence import newer16

if TYPE_CHECKING:
    from harp.lab.virtual.mobile import Registration
    from harp.lab.virtual.network import Packet
    from harp.lab.virtual.nodes import Node
    from harp.lab.virtual.settings import Settings
    from harp.wire.messages import SyncPosition

NEVER = -(10**12)
"""Before every scenario, µs."""
US_PER_S = 1_000_000
TYPE_OCTET = 6
"""Octet of a HARP message that holds its Type (harp.md §2.1)."""


_HA_HA = bytes((AUTHENTICATION.type_under(DEFAULT_CODE_POINTS), HA_HA_AUTH_LENGTH))
_STAMP = bytes((REPLAY_PROTECTION.type_under(DEFAULT_CODE_POINTS), *REPLAY_PROTECTION.lengths))
"""How the two options of a signed message begin. harp.md §2 (Padding) leaves one place for each:
the HA-HA option's 23 octets end the message, Replay Protection begins 15 octets before it."""


def timestamp_of(payload: bytes) -> int:
    """NTP timestamp of a signed HARP message; 0: it is not signed."""
    if payload[-23:-21] != _HA_HA or payload[-38:-36] != _STAMP:
        return 0
    return int.from_bytes(payload[-36:-28])


_HEAD = Struct("!BxHBBxxHxxH")
"""What `Head` takes of the fixed part, from the Type on."""
_FLAG_A = int(HarpFlag.A)
_BINDING_UPDATE = bytes([MhType.BINDING_UPDATE])


class Head(NamedTuple):
    """The fixed part of a HARP message (harp.md §2.1), read without judging the rest."""

    type: int
    sequence: int
    status: int
    flags: int
    lifetime_s: int
    number: int
    """Index; a tuple has a method of that name."""

    @classmethod
    def of(cls, payload: bytes) -> Head:
        """Of a HARP message's octets."""
        return cls._make(_HEAD.unpack_from(payload, TYPE_OCTET))


@dataclass(slots=True)
class Member:
    """One member as seen from outside."""

    node: Node
    role: Role = Role.INIT
    role_since: int = 0
    """µs, as all times here."""
    ready_since: int = NEVER
    """Since when nothing outside keeps it from being or finding an active."""
    active_heard: int = NEVER
    """Last HELLO with A, or when it was last ACTIVE itself."""
    heard_at: dict[str, int] = field(default_factory=dict)
    """Last HELLO by sender's name; goodbyes take it back."""
    heard_since: dict[str, int] = field(default_factory=dict)
    """Since when without a gap."""
    last_hello: dict[tuple[str, str, bool], int] = field(default_factory=dict)
    """Last Sequence # heard by sender's name, link and multicast."""
    acks_heard: dict[bytes, int] = field(default_factory=dict)
    """Last SS-ACK by source address."""
    commands: dict[int, int] = field(default_factory=dict)
    """Tokens not answered yet, and when they were given."""
    updates: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    """By home address: Sequence # and time of a Binding Update delivered and not answered."""
    was_synchronised: bool = False
    """The S flag when it last was one that could take over."""
    synchronised_since: int = NEVER
    """Since when that flag is as it is."""
    barred_us: int = NEVER
    """When something last kept it from taking over."""
    is_doubtful: bool = False
    """Its lifetimes are those of a journal and of a wall clock that was set, nobody else's."""
    differs: tuple[SyncPosition, tuple[int, int], tuple[int, int]] | None = None
    """Position, own digest and the active's, as `digests_agree` found them last."""
    differs_since: int = NEVER
    """Since when it finds the same."""
    resumed_us: int = NEVER
    """When it last got CPU again, or started."""

    def fresh(self, now: int) -> None:
        """A new engine starts: nothing of the old one counts."""
        self.role, self.role_since = Role.INIT, now
        self.ready_since = self.resumed_us = now
        self.barred_us = self.synchronised_since = now
        self.active_heard = NEVER
        self.was_synchronised = False
        self.is_doubtful = self.node.clocks.was_set
        for facts in (self.heard_at, self.heard_since, self.acks_heard, self.commands):
            facts.clear()
        self.updates.clear()
        self.last_hello.clear()

    @property
    def active(self) -> bool:
        """Whether it runs and is ACTIVE."""
        return self.role is Role.ACTIVE and self.node.running


@dataclass(slots=True)
class Promise:
    """A Binding Acknowledgement with Success that was not counted `unprotected` (harp.md §6)."""

    home_address: bytes
    sequence: int
    registration: Registration
    given_us: int
    ends_us: int
    """From here on the binding may have expired."""
    holders: dict[str, int]
    """Members that had it when it was acknowledged, and which engine of theirs (`boots`)."""

    def alive(self, nodes: dict[str, Node]) -> list[Node]:
        """Holders that have lived ever since."""
        return [
            nodes[name]
            for name, boots in self.holders.items()
            if nodes[name].alive and nodes[name].boots == boots
        ]


class Bounds:
    """The times by which things must have happened, from the settings (µs)."""

    def __init__(self, settings: Settings) -> None:
        config = settings.group(0)
        members = settings.scenario.members
        way = 4 * (settings["delay_us"] + settings["jitter_us"]) + settings["late_us"]
        self.slack = 60_000 + way
        """Ways through the network and late timers, with a 2 % drift of clocks."""
        self.interval = config.hello_interval_us
        self.next_call = self.interval * 11 // 10
        """A member that runs has a HELLO due."""
        self.detection = config.detection_us * 102 // 100
        self.skew = config.skew_us * 102 // 100
        self.one_active = self.detection + self.skew + settings.us("sync_timeout_ms") + self.slack
        """Two actives that hear each other become one."""
        self.some_active = (
            config.initial_wait_us + self.detection + members * self.skew + self.interval
        ) + self.slack
        """A member that could be active is, or hears one."""
        self.reliability = config.reliability_timeout_us
        self.claiming = self.reliability + self.slack
        self.resigning = config.switch_drain_us + self.slack
        self.passing = {
            Role.INIT: self.some_active,
            Role.CLAIMING: self.claiming,
            Role.RESIGNING: self.resigning,
        }
        """Roles that end by themselves."""
        self.command = 2 * self.reliability + config.switch_drain_us + self.slack
        self.answer = settings.us("durability_timeout_ms") + config.home_agent.dad_timeout_us
        self.answer += 10 * settings["disk_us"] + self.slack
        sync = settings.us("sync_timeout_ms") + settings.us("ss_req_timer_ms")
        digests = 3 * settings.us("digest_interval_ms") + settings.us("resync_min_ms")
        self.digests = 2 * settings.us("digest_interval_ms") + 3 * self.interval + self.slack
        """A standby whose digest differs twice finds out."""
        reconcile = settings.us("reconcile_timeout_ms")
        self.converged = 3 * self.interval + sync + digests + reconcile + self.slack
        """Connected members hold the same."""
        self.quiet = self.some_active + self.converged + self.reliability + US_PER_S
        """How long the end of a scenario must be without faults for all bounds to pass."""


class Observed:
    """All facts of one run, kept up to date by `judge.Judge`."""

    def __init__(self, settings: Settings, network: Network) -> None:
        self.settings, self.network = settings, network
        self.bounds = Bounds(settings)
        self.signed = settings["security"] == "psk"
        """Whether members sign."""
        self.mh_type = settings.group(0).code_points.mh_type_harp
        self.members: dict[str, Member] = {}
        self.nodes: dict[str, Node] = {}
        self.promises: dict[bytes, Promise] = {}
        """The latest by home address."""
        self.gone: dict[bytes, Promise] = {}
        """De-registrations acknowledged, likewise."""
        self.disturbed = 0
        """When a member last started, ended or stalled."""
        self._names: dict[bytes, str] = {}

    def watch(self, nodes: list[Node]) -> None:
        """The members are these."""
        for node in nodes:
            self.nodes[node.name] = node
            self.members[node.name] = Member(node)
            for address in node.config.me.addresses:
                self._names[address] = node.name

    def name_of(self, address: bytes) -> str | None:
        """The member that an address belongs to."""
        return self._names.get(address)

    def actives(self) -> list[Member]:
        """Members that run and are ACTIVE."""
        members = self.members.values()
        return [m for m in members if m.role is Role.ACTIVE and m.node.running]

    def is_harp(self, payload: bytes) -> bool:
        """Whether the octets are a HARP message with its fixed part."""
        return len(payload) >= 24 and payload[2] == self.mh_type

    def heard(self, member: Member, packet: Packet) -> None:
        """A packet is delivered to a running member."""
        now, payload = self.network.now, packet.payload
        if self.is_harp(payload):
            sender = self._names.get(packet.source)
            kind = payload[TYPE_OCTET]
            if kind == HarpType.HELLO and sender is not None:
                self._hello(member, sender, packet, now)
            elif kind == HarpType.SS_ACK:
                member.acks_heard[packet.source] = now
        elif payload[2:3] == _BINDING_UPDATE and not packet.forged:
            self._update(member, packet, now)

    def _hello(self, member: Member, sender: str, packet: Packet, now: int) -> None:
        if packet.forged and not packet.again:
            return  # damaged
        head = Head.of(packet.payload)
        if head.flags & _FLAG_A and head.lifetime_s:
            member.active_heard = now
        cast = (sender, packet.link, packet.destination[0] == MULTICAST)
        last = member.last_hello.get(cast)
        if packet.forged and last is not None and not newer16(head.sequence, last):
            return
        member.last_hello[cast] = head.sequence
        if head.lifetime_s == 0:
            member.heard_at[sender] = NEVER
            return
        # A gap of one missing HELLO and a bit starts the hearing anew.
        if now - member.heard_at.get(sender, NEVER) > self.bounds.interval * 3 // 2:
            member.heard_since[sender] = now
        member.heard_at[sender] = now

    def _update(self, member: Member, packet: Packet, now: int) -> None:
        sequence = int.from_bytes(packet.payload[6:8])
        pending = member.updates.get(packet.source)
        if member.active and (pending is None or newer16(sequence, pending[0])):
            member.updates[packet.source] = (sequence, now)

    def hears(self, member: Member, other: str) -> bool:
        """Whether a HELLO of `other` came within its detection time."""
        recent = self.network.now - self.bounds.detection - self.bounds.slack
        heard_at = member.heard_at.get(other, NEVER)
        # After a pause all deadlines start anew (harp.md §5, Pause).
        return heard_at >= recent or (heard_at != NEVER and member.resumed_us >= recent)

    def mutual_since(self, one: Member, other: Member) -> int | None:
        """Since when both hear each other without a gap; None: they do not."""
        a, b = one.node.name, other.node.name
        latest = self.network.now - self.bounds.interval * 3 // 2 - self.bounds.slack
        if one.heard_at.get(b, NEVER) < latest or other.heard_at.get(a, NEVER) < latest:
            return None
        return max(one.heard_since[b], other.heard_since[a])

    def settled(self) -> bool:
        """Whether nothing is under way: one active, which all that run hear and follow."""
        actives = self.actives()
        if len(actives) != 1:
            return False
        active = actives[0]
        for member in self.members.values():
            node, probe = member.node, member.node.probe
            if member is active or probe is None:
                continue
            following = member.role is Role.STANDBY and probe.following == active.node.identity
            if not node.running or not following or member.commands:
                return False
            if not probe.synchronised and not node.config.me.witness:
                return False
        return not active.commands

    def together(self, active: Member) -> list[Member]:
        """An active, and all that it heard, and that heard it, long enough to hold the same."""
        found = [active]
        for member in self.members.values():
            since = self.mutual_since(active, member) if member is not active else None
            if since is None or not member.node.running or member.node.probe is None:
                continue
            since = max(since, active.role_since, member.role_since, member.resumed_us)
            if self.network.now - since >= self.bounds.converged:
                found.append(member)
        return found

    def quorum_heard(self, member: Member) -> bool:
        """Whether it hears as many others as its quorum wants."""
        wanted = member.node.config.quorum - 1
        if wanted < 0:
            return True
        heard = sum(self.hears(member, name) for name in self.members if name != member.node.name)
        return heard >= wanted

    def eligible(self, member: Member) -> bool:
        """Whether a member is up and nothing keeps it from taking over (harp.md §5)."""
        node, probe = member.node, member.node.probe
        if not node.running or probe is None or probe.held or node.config.me.witness:
            return False
        if len(node.unplugged) == len(node.ports):
            return False
        return not node.config.quorum or self.quorum_heard(member)

    def holds(self, node: Node, promise: Promise) -> bool:
        """Whether a member's store has what was promised, or something newer."""
        held = node.probe.holds(promise.home_address) if node.probe is not None else None
        if held is None:
            return False
        if held.sequence == promise.sequence:
            return held.care_of == promise.registration.care_of
        return newer16(held.sequence, promise.sequence)

    def knows_deletion(self, node: Node, promise: Promise) -> bool:
        """Whether a member has the deletion that was acknowledged, or a later one."""
        buried = node.probe.buried(promise.home_address) if node.probe is not None else None
        return buried is not None and not newer16(promise.sequence, buried)


def is_multicast(address: bytes) -> bool:
    """Whether an address is multicast."""
    return address[0] == MULTICAST
