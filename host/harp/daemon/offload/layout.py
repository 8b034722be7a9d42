"""What a configuration means for a board: its settings, its peers, its slots.

Ref: offload.md (the lease), §2 (`not_a_peer`), §3, §4 (fence); harp.md §7 (liveness)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harp.daemon.config.model import DaemonConfig, Liveness, OffloadSettings, WatchdogAction
from harp.engine.config import GroupConfig, LinkConfig, Security
from harp.offload.device import Fence, PeerKey, Settings
from harp.tables import offload as table
from harp.tables.constants import US_PER_MS
from harp.tables.offload import (
    FENCE_ADDRESSES,
    LOCAL_ADDRESSES,
    MAX_LEASE_MS,
    PEERS,
    PeerMode,
)


@dataclass(frozen=True, slots=True)
class Lane:
    """One group's link that runs through the board."""

    group: GroupConfig
    link: LinkConfig
    index: int
    """Of the link in its group."""
    mode: PeerMode | None
    """How the board may watch here; None: its HELLOs are nothing that it could read."""
    slots: bool
    """The board may send our multicast HELLO here."""

    @property
    def peers(self) -> tuple[PeerKey, ...]:
        """The other members there."""
        return tuple(PeerKey(self.group.group, m.addresses[self.index]) for m in self.group.peers)


def lanes(config: DaemonConfig) -> tuple[Lane, ...]:
    """Links through the board: those with `slots`, or the only one that there is."""
    marked = {link.name for g in config.engine.groups for link in g.links if link.slots}
    names = {link.name for g in config.engine.groups for link in g.links}
    carried = marked or (names if len(names) == 1 else set())
    return tuple(
        Lane(
            group,
            link,
            index,
            _mode(group, index, config.offload.liveness),
            link.slots and group.multicast_on(index) and not _signed(group),
        )
        for group in config.engine.groups
        for index, link in enumerate(group.links)
        if link.name in carried
    )


def _signed(group: GroupConfig) -> bool:
    """Multicast HELLOs carry the HA-HA option (harp.md §7)."""
    protection = group.protection
    if protection.security is Security.IPSEC:
        return bool(protection.keys)
    return protection.security is Security.PSK


def _mode(group: GroupConfig, index: int, liveness: Liveness) -> PeerMode | None:
    """offload.md §3: "hardware detection then covers unauthenticated HELLO only"; `seen` counts
    HELLOs without a check of their MAC. What goes in ESP the board cannot read at all."""
    if group.protection.security is Security.IPSEC and not (
        group.protection.keys and group.multicast_on(index)
    ):
        return None
    if liveness is Liveness.SEEN:
        return PeerMode.SEEN
    return None if _signed(group) else PeerMode.VERIFIED


def settings(config: DaemonConfig, through: Sequence[Lane]) -> Settings:
    """What holds for the board as a whole."""
    groups, board = config.engine.groups, config.offload
    known = {key.address for lane in through for key in lane.peers}
    members = {a for group in groups for m in group.peers for a in m.addresses}
    rows = sum(len(lane.peers) for lane in through)
    open_ = any(group.discover for group in groups)
    points = groups[0].code_points
    own = {a for group in groups for a in (*group.me.addresses, group.virtual_address) if a}
    action = table.WatchdogAction.RESIGN_FENCE
    if board.watchdog is WatchdogAction.EVENT:
        action = table.WatchdogAction.EVENT
    return Settings(
        filter=board.filter,
        strangers_pass=open_ or rows > PEERS,
        peers_complete=board.peers_complete and not open_ and members <= known and rows <= PEERS,
        demand_hop_limit=all(group.require_hop_limit for group in groups),
        link_mirror=board.link_mirror,
        pass_every=board.pass_every,
        harp_mh_type=points.mh_type_harp,
        auth_subtype=points.auth_subtype,
        lease_ms=lease_ms(board, through),
        watchdog=action,
        host_link_grace_us=board.host_link_grace_us,
        local=tuple(sorted(own)) if len(own) <= LOCAL_ADDRESSES else (),
        fence=tuple(_fences(groups))[:FENCE_ADDRESSES],
    )


def lease_ms(board: OffloadSettings, through: Sequence[Lane]) -> int:
    """offload.md: "default the shortest detection time of the groups with HELLO slots, at most
    200"."""
    times = [lane.group.detection_us for lane in through if lane.slots]
    lease_us = board.lease_us or min(times, default=MAX_LEASE_MS * US_PER_MS)
    return max(1, min(MAX_LEASE_MS, lease_us // US_PER_MS))


def _fences(groups: Sequence[GroupConfig]) -> Iterator[Fence]:
    """Virtual addresses first: home prefixes that find no room matter less. What a member has
    itself is not fenced with the prefix: without its advertisements neighbors cannot send to it,
    and keep what they would have sent for seconds."""
    prefixes = dict.fromkeys(p for group in groups for p in group.home_prefixes if p.length)
    for group in groups:
        if group.virtual_address:
            yield Fence(group.virtual_address)
    for address in dict.fromkeys(a for group in groups for a in group.me.addresses):
        if any(prefix.contains(address) for prefix in prefixes):
            yield Fence(address, own=True)
    for prefix in prefixes:
        yield Fence(prefix.address, prefix.length)
