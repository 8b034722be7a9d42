"""Lease, watchdog and fence: what happens when the host falls silent.

**Lease.** A kick at t makes it live up to, not including, t + min(lease_ms, 200) x 1000. At its end
`lease_lost`.

**Watchdog.** While armed it fires when the lease ends, or when the host port has been down for
`host_link_grace_us`; armed when that time is over already, at once. Arming without a live lease
fires nothing: no lease ends. Once fired it is spent until the host has disarmed it. With action
`event` nothing else follows. With resign and fence the slots stop and the resigns are sent; the
fence closes with the last resign, 2 ms later, or at once if there is none, until the host unfences;
then the slots run again. Unfenced before that, no further resign follows. A monitor with one port
has action `event` only.

**Fence.** Host to network it drops HARP messages with the A flag, whatever their Type, and Neighbor
Advertisements (ICMPv6 136) whose target is listed, both also behind tags and any number of
extension headers. It does not look at Payload Length or version: what a frame holds counts. What it
cannot read (ESP, fragments, an AH that is no multiple of 8) it lets pass.

Ref: offload.md introduction and §4; RFC 4861 §4.4
"""

from harp_sim.model import golden
from harp_sim.model.config import Config, Port, WatchdogAction
from harp_sim.model.events import EventKind, Events
from harp_sim.model.frame import parse_link
from harp_sim.model.slots import Slots
from harp_sim.model.walk import follow_chain

PORT_INDEX = {Port.NETWORK: 0, Port.HOST: 1}


class Guard:
    """Watches the host and acts for it."""

    def __init__(self, config: Config, events: Events, slots: Slots) -> None:
        self._config = config
        self._events = events
        self._slots = slots
        self._spent = False
        self._armed_us = 0
        self.fired = False
        """The watchdog fired and the host has not unfenced since."""
        self.link_up = {Port.NETWORK: True, Port.HOST: True}
        self._lease_end_us: int | None = None
        self._host_down_us: int | None = None
        self._rounds_us: list[int] = []  # of resigns; with the last the fence closes
        self.fenced = False

    @property
    def lease_live(self) -> bool:
        """Whether the lease has not ended yet."""
        return self._lease_end_us is not None

    @property
    def armed(self) -> bool:
        """Whether the watchdog may fire."""
        return self._config.watchdog_armed and not self._spent

    @property
    def host_link_shown(self) -> bool:
        """Link that the host port shows: the network's, if it is mirrored."""
        return self.link_up[Port.NETWORK] or not self._config.link_mirror

    def configure(self, config: Config, now_us: int) -> None:
        """Take new settings; `watchdog_armed` arms or disarms."""
        if config.watchdog_armed and not self._config.watchdog_armed:
            self._armed_us = now_us
        self._config = config
        self._spent = self._spent and config.watchdog_armed

    def kick(self, at_us: int) -> None:
        """Renew the lease."""
        length_us = min(self._config.lease_ms, golden.LEASE_MS_MAX) * 1000
        was_live = self.lease_live
        self._lease_end_us = at_us + length_us
        if not was_live:
            self._slots.run(at_us, True)

    def link(self, port: Port, up: bool, at_us: int) -> None:
        """A port's link came or went."""
        if self.link_up[port] == up:
            return
        self.link_up[port] = up
        self._events.occur(EventKind.LINK, PORT_INDEX[port], at_us)
        if port is Port.HOST:
            self._host_down_us = None if up else at_us

    def unfence(self, at_us: int) -> None:
        """End the fence; slots run again while the lease lives. Arms nothing."""
        self.fired = self.fenced = False
        self._rounds_us.clear()
        self._slots.unfence(at_us, self.lease_live)

    def next_us(self) -> int | None:
        """The earliest time that is still to come due."""
        times = (self._lease_end_us, self._grace_end_us(), *self._rounds_us[:1])
        return min((time for time in times if time is not None), default=None)

    def expire(self, now_us: int) -> None:
        """Let everything happen that is due by now, in the order of its time."""
        while (at_us := self.next_us()) is not None and at_us <= now_us:
            if self._lease_end_us == at_us:
                self._lease_end_us = None
                self._slots.run(at_us, False)
                self._events.occur(EventKind.LEASE_LOST, 0, at_us)
                self._fire(at_us)
            elif self._rounds_us[:1] == [at_us]:
                self._resign(at_us)
            else:
                self._fire(at_us)

    def blocks(self, octets: bytes) -> bool:
        """Whether the fence drops this frame from the host."""
        link = parse_link(octets)
        packet = octets[link.offset : -golden.FCS_OCTETS]
        if link.ethertype != golden.ETHERTYPE_IPV6 or len(packet) < golden.IPV6_HEADER_OCTETS:
            return False
        kind, rest = follow_chain(packet[6], packet[golden.IPV6_HEADER_OCTETS :])
        if kind == golden.NEXT_MOBILITY and len(rest) >= 12:
            return rest[2] == self._config.harp_type and bool(rest[11] & golden.FLAG_ACTIVE)
        if kind == golden.NEXT_ICMPV6 and len(rest) >= 24:
            return rest[0] == golden.ICMPV6_NEIGHBOR_ADVERTISEMENT and self._listed(rest[8:24])
        return False

    def _listed(self, target: bytes) -> bool:
        first = next((entry for entry in self._config.fence if entry.covers(target)), None)
        return first is not None and not first.own

    def _grace_end_us(self) -> int | None:
        """When the host port's absence fires the watchdog; None: it will not."""
        if self._host_down_us is None or not self.armed:
            return None
        grace_end = self._host_down_us + self._config.host_link_grace_us
        return max(grace_end, self._armed_us)

    def _fire(self, at_us: int) -> None:
        if not self.armed:
            return
        self._spent = True
        self.fired = True
        self._events.occur(EventKind.WATCHDOG_FIRED, 0, at_us)
        if self._config.watchdog_action is WatchdogAction.EVENT:
            return
        self._slots.stop()
        rounds = golden.RESIGN_TIMES if self._slots.has_resigns else 1
        self._rounds_us = [at_us + n * golden.RESIGN_SPACING_US for n in range(rounds)]

    def _resign(self, at_us: int) -> None:
        """A round of resigns; with the last the fence closes."""
        del self._rounds_us[0]
        self._slots.resign(at_us)
        if not self._rounds_us and not self.fenced:
            self.fenced = True
            self._events.occur(EventKind.FENCED, 0, at_us)
