"""The metrics: names, types and labels as Prometheus' conventions want them.

Ref: prometheus.io, "Metric and label naming" and "Writing exporters"

One 0/1 series for each value of a state, `_total` on counters, seconds and octets as units. No
label holds a home address: there may be a million.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)

from harp.daemon.filter.nft import FilterStatus
from harp.daemon.metrics.tally import Tally
from harp.daemon.parts import DataPlaneStatus, GuardStatus, OffloadStatus
from harp.engine.effects import Role
from harp.engine.home_agent import Service
from harp.engine.status import GroupStatus, PeerStatus
from harp.offload.polls import PORT_NAMES
from harp.tables.constants import US_PER_S

Labels = tuple[str, ...]
Value = float | None
"""None: no sample."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that one scrape shows, taken at one moment of the loop."""

    version: str
    """Of harpd."""
    groups: tuple[GroupStatus, ...]
    """As `harpctl status` shows them."""
    data_plane: DataPlaneStatus
    """Its own words."""
    guard: GuardStatus
    """Its own words."""
    offload: OffloadStatus
    """Its own words."""
    filter: FilterStatus | None
    """None: there is none, or it did not answer."""
    tally: Tally
    """Counts since the start."""
    lost: Mapping[str, int]
    """Datagrams that found no room, by what they were for."""
    rested_us: int
    """Rests of a loop that had more to do than it may."""
    unsent: Mapping[str, int]
    """Packets that did not leave, by name of the error."""
    neighbors: Mapping[str, int]
    """What neighbor discovery did."""


def families(shot: Snapshot) -> Iterator[Metric]:
    """All metrics, always in the same order."""
    yield InfoMetricFamily("harp", "What runs.", value={"version": shot.version})
    yield from _states(shot.groups)
    yield from _gauges(shot.groups)
    yield from _peers(shot.groups)
    yield from _links(shot.groups)
    yield from _counters(shot)
    yield from _parts(shot)


def _gauge(name: str, text: str, labels: Labels, samples: Iterable[tuple[Labels, Value]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        if value is not None:
            family.add_metric(values, float(value))
    return family


def _counter(
    name: str, text: str, labels: Labels, samples: Iterable[tuple[Labels, Value]]
) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, value in samples:
        if value is not None:
            family.add_metric(values, float(value))
    return family


def _states(groups: Iterable[GroupStatus]) -> Iterator[Metric]:
    """One series for each value, 1 where it holds: alerts need no table of numbers."""
    groups = tuple(groups)
    yield _gauge(
        "harp_group_role",
        "Role of this member in the group: 1 for the one it has.",
        ("group", "role"),
        (
            ((str(group.group), role.value), float(group.role == role.value))
            for group in groups
            for role in Role
        ),
    )
    yield _gauge(
        "harp_group_service",
        "What becomes of Binding Updates: 1 for what holds.",
        ("group", "service"),
        (
            ((str(group.group), service.value), float(group.service == service.value))
            for group in groups
            for service in Service
        ),
    )


_GROUP: Mapping[str, tuple[str, Callable[[GroupStatus], float]]] = {
    "harp_group_role_duration_seconds": (
        "How long it has this role.",
        lambda group: group.for_us / US_PER_S,
    ),
    "harp_group_preference": (
        "HA Preference as announced; 0: it may not take over now.",
        lambda group: group.preference,
    ),
    "harp_group_held": ("An operator keeps it from taking over.", lambda group: group.held),
    "harp_group_fenced": ("The board or the guard fenced it.", lambda group: group.fenced),
    "harp_group_quorum_met": ("It hears as many as its quorum wants.", lambda g: g.quorum_met),
    "harp_group_synchronised": ("It has all bindings.", lambda group: group.synchronised),
    "harp_group_syncing": ("A full sync is under way.", lambda group: group.syncing),
    "harp_group_reconciling": (
        "Active, and still taking the state of others.",
        lambda group: group.reconciling,
    ),
    "harp_group_term": ("Term of its position in the log.", lambda g: g.position.term),
    "harp_group_position": ("Position in the log of its term.", lambda g: g.position.position),
    "harp_group_bindings": ("Live bindings.", lambda group: group.bindings),
    "harp_group_tombstones": ("Ended bindings still remembered.", lambda g: g.tombstones),
    "harp_group_insecure": (
        "Nothing protects HARP messages: anybody on the link can take over.",
        lambda group: group.security == "none",
    ),
}


def _gauges(groups: Iterable[GroupStatus]) -> Iterator[Metric]:
    groups = tuple(groups)
    for name, (text, value) in _GROUP.items():
        samples = (((str(group.group),), float(value(group))) for group in groups)
        yield _gauge(name, text, ("group",), samples)


_PEER: Mapping[str, tuple[str, Callable[[GroupStatus, PeerStatus], Value]]] = {
    "harp_peer_up": ("It is heard on one link at least.", lambda _, peer: peer.up),
    "harp_peer_active": ("It says that it is active.", lambda _, peer: peer.active),
    "harp_peer_synchronised": ("It says that it has all bindings.", lambda _, p: p.synchronised),
    "harp_peer_durable": (
        "Its acknowledgements make a binding durable now.",
        lambda _, peer: peer.durable,
    ),
    "harp_peer_preference": ("HA Preference as announced.", lambda _, peer: peer.preference),
    "harp_peer_same_configuration": (
        "Its settings are ours, as far as members must share them.",
        lambda _, peer: peer.agrees,
    ),
    "harp_peer_detection_seconds": (
        "It is down after so long a silence.",
        lambda _, peer: peer.silence_us / US_PER_S if peer.silence_us else None,
    ),
    "harp_peer_log_lag_messages": (
        "Log messages that it is behind this member, in the same term.",
        lambda group, peer: _lag(group, peer),
    ),
}


def _lag(group: GroupStatus, peer: PeerStatus) -> Value:
    if peer.position is None or peer.position.term != group.position.term:
        return None
    return max(0, group.position.position - peer.position.position)


def _peers(groups: Iterable[GroupStatus]) -> Iterator[Metric]:
    pairs = [(group, peer) for group in groups for peer in group.peers]
    for name, (text, value) in _PEER.items():
        samples = (((str(g.group), peer.name), value(g, peer)) for g, peer in pairs)
        yield _gauge(name, text, ("group", "peer"), samples)


def _links(groups: Iterable[GroupStatus]) -> Iterator[Metric]:
    groups = tuple(groups)
    yield _gauge(
        "harp_link_up",
        "HELLOs leave on this interface.",
        ("group", "link"),
        (((str(g.group), link.name), float(link.up)) for g in groups for link in g.links),
    )
    yield _gauge(
        "harp_link_slot",
        "A board sends the HELLOs of this interface.",
        ("group", "link"),
        (((str(g.group), link.name), float(link.slot)) for g in groups for link in g.links),
    )
    yield _gauge(
        "harp_peer_link_up",
        "The peer is heard on this interface.",
        ("group", "peer", "link"),
        (
            ((str(group.group), peer.name, link.link), float(link.state == "up"))
            for group in groups
            for peer in group.peers
            for link in peer.links
        ),
    )


def _counters(shot: Snapshot) -> Iterator[Metric]:
    tally = shot.tally
    yield _counter(
        "harp_group_role_changes",
        "Changes to a role, by reason.",
        ("group", "role", "reason"),
        (((str(g), role, reason), n) for (g, role, reason), n in tally.roles.items()),
    )
    yield _counter(
        "harp_peer_changes",
        "What became of a peer: up, down, left, restarted, changed, link_up, link_down.",
        ("group", "peer", "change"),
        (((str(g), peer, change), n) for (g, peer, change), n in tally.peers.items()),
    )
    yield _counter(
        "harp_commands",
        "Operators' commands, done or refused.",
        ("group", "result"),
        (((str(group), result), n) for (group, result), n in tally.commands.items()),
    )
    yield _counter(
        "harp_group_unprotected",
        "Bindings acknowledged before a standby had them.",
        ("group",),
        (((str(group.group),), group.unprotected) for group in shot.groups),
    )
    yield _counter(
        "harp_received_dropped",
        "Messages dropped, by reason (harp.md §3).",
        ("group", "reason"),
        (*_of_part(shot.groups, "received"), *((("", r), n) for r, n in tally.drops.items())),
    )
    for part in ("detection", "protection", "sync", "home_agent", "switch"):
        yield _counter(
            f"harp_{part}_events",
            f"What the engine's {part.replace('_', ' ')} counts.",
            ("group", "event"),
            _of_part(shot.groups, part),
        )


def _of_part(groups: Iterable[GroupStatus], part: str) -> Iterator[tuple[Labels, Value]]:
    """The engine's counters of one part: `part.name` in a status."""
    for group in groups:
        for name, count in group.counters.items():
            if name.startswith(f"{part}."):
                yield (str(group.group), name.removeprefix(f"{part}.")), count


def _parts(shot: Snapshot) -> Iterator[Metric]:
    plane, guard, offload = shot.data_plane, shot.guard, shot.offload
    yield _counter(
        "harp_socket_lost",
        "Datagrams that found no room because harpd was busy.",
        ("socket",),
        (((name,), count) for name, count in shot.lost.items()),
    )
    yield _counter(
        "harp_unsent_packets",
        "Packets that did not leave, by name of the error; link_down: kept back.",
        ("reason",),
        (((name,), count) for name, count in shot.unsent.items()),
    )
    yield _counter(
        "harp_neighbor_events",
        "Advertisements of home addresses, answers, conflicts, and what could not be sent.",
        ("event",),
        (((name,), count) for name, count in shot.neighbors.items()),
    )
    yield _counter(
        "harp_rested_seconds",
        "Left to others although there was work: a processor is not enough.",
        (),
        [((), shot.rested_us / US_PER_S)],
    )
    yield InfoMetricFamily("harp_data_plane", "Who forwards.", value={"name": plane.name})
    serving = (((str(g.group),), float(g.group in plane.serving)) for g in shot.groups)
    yield _gauge("harp_data_plane_serving", "Address and forwarding are on.", ("group",), serving)
    yield _gauge("harp_data_plane_routes", "Prepared.", (), [((), plane.routes)])
    yield _gauge("harp_data_plane_queued_changes", "Wait for the kernel.", (), [((), plane.queued)])
    yield _counter(
        "harp_data_plane_events",
        "Packets and failures of the data plane.",
        ("event",),
        (((name,), count) for name, count in plane.counters.items()),
    )
    yield _gauge("harp_guard_running", "The guard lives.", (), [((), float(guard.running))])
    armed = (((str(g.group),), float(g.group in guard.armed)) for g in shot.groups)
    yield _gauge("harp_guard_armed", "The guard would withdraw this group.", ("group",), armed)
    yield _counter("harp_guard_withdrawals", "It withdrew so often.", (), [((), guard.fired)])
    yield _gauge(
        "harp_offload_attached",
        "The board is there, and its lease is held.",
        ("device",),
        [((offload.device,), float(offload.attached))] if offload.device != "none" else (),
    )
    round_trip_us = offload.round_trip_us
    yield _gauge(
        "harp_offload_round_trip_seconds",
        "Smoothed, of a short request over the link to the board.",
        (),
        [] if round_trip_us is None else [((), round_trip_us / US_PER_S)],
    )
    yield from _board(offload.counters)
    yield from _filter(shot.filter)


_BOARD = (
    ("reason_frames_", "harp_offload_verdict_frames", "Frames judged by the board.", "reason"),
    ("outcome_frames_", "harp_offload_outcome_frames", "What became of them.", "outcome"),
    ("event_", "harp_offload_events", "Events that the board told.", "event"),
    ("link_", "harp_offload_link_events", "What went wrong on the link to it.", "event"),
)
"""What a counter of the board begins with, metric, text, label of the rest."""
_OCTETS = "_octets"


def _board(counters: Mapping[str, int]) -> Iterator[Metric]:
    """Each unit a metric of its own."""
    for prefix, metric, text, label in _BOARD:
        found = [(n.removeprefix(prefix), v) for n, v in counters.items() if n.startswith(prefix)]
        yield _counter(metric, text, (label,), (((name,), count) for name, count in found))
    ports = [
        (port, name.removeprefix(f"{port}_"), count)
        for port in PORT_NAMES
        for name, count in counters.items()
        if name.startswith(f"{port}_")
    ]
    yield _counter(
        "harp_offload_port_frames",
        "Frames at the board's ports, and those with errors.",
        ("port", "kind"),
        (((port, name), count) for port, name, count in ports if not name.endswith(_OCTETS)),
    )
    yield _counter(
        "harp_offload_port_octets",
        "Octets at the board's ports.",
        ("port", "kind"),
        (
            ((port, name.removesuffix(_OCTETS)), count)
            for port, name, count in ports
            if name.endswith(_OCTETS)
        ),
    )


def _filter(status: FilterStatus | None) -> Iterator[Metric]:
    frames = status.frames if status else {}
    dropped = status.dropped if status else {}
    yield _counter(
        "harp_filter_packets",
        "Mobility Headers that the software filter judged, by reason.",
        ("reason",),
        (((reason,), count) for reason, count in frames.items()),
    )
    yield _counter(
        "harp_filter_dropped",
        "Those of them that it dropped.",
        ("reason",),
        (((reason,), count) for reason, count in dropped.items()),
    )
