"""All sockets of one daemon, made for its configuration, and the sender that uses the links.

Ref: harp.md §2 (multicast group), §10
"""

from __future__ import annotations

from collections.abc import Sequence

from harp.daemon.config.model import DaemonConfig
from harp.daemon.links import Link, Links, Tell
from harp.daemon.parts import Source
from harp.daemon.runtime import Runtime
from harp.daemon.sockets.home_address import HomeAddressSocket
from harp.daemon.sockets.icmp import DiscoverySocket
from harp.daemon.sockets.mip6 import HomeAddressOption
from harp.daemon.sockets.mobility import MobilitySocket, Sorting
from harp.daemon.sockets.sender import PacketSender
from harp.engine.effects import Level, SetServing


def own_addresses(config: DaemonConfig) -> dict[str, frozenset[bytes]]:
    """The addresses of this member on each interface, none on some."""
    found: dict[str, set[bytes]] = {name: set() for name in config.interfaces}
    for group in config.engine.groups:
        for link, address in zip(group.links, group.me.addresses, strict=True):
            found[link.name].add(address)
    return {name: frozenset(addresses) for name, addresses in found.items()}


class Endpoints:
    """Where packets come in and leave."""

    def __init__(self, config: DaemonConfig, runtime: Runtime, links: Links, tell: Tell) -> None:
        self._config = config
        self._links = links
        self._option = HomeAddressOption()
        self.mip6 = self._option.open()
        """The kernel handles the Home Address option."""
        sorting = Sorting.of(config.engine)
        self._members = MobilitySocket(sorting, links.names, runtime.deliver_first, others=False)
        self._rest = MobilitySocket(sorting, links.names, runtime.deliver, others=True)
        self._discovery = DiscoverySocket(config.engine, runtime.deliver)
        own = {a for group in config.engine.groups for a in group.me.addresses}
        self._updates = None
        if not self.mip6:
            self._updates = HomeAddressSocket(own, links.names, runtime.deliver)
            tell(
                Level.INFO,
                "the kernel has no mip6: Binding Updates come through a packet socket, and "
                "mobile nodes cannot use ESP with this home agent",
            )
        self.sender = PacketSender(links, tell, mip6=self.mip6)
        """For `Parts`."""
        self._groups = {g.code_points.multicast_group.packed for g in config.engine.groups}
        links.on_found.append(self._join)
        for link in links.links.values():
            self._join(link)

    @property
    def members(self) -> Sequence[Source]:
        """What members say."""
        return (self._members,)

    @property
    def others(self) -> Sequence[Source]:
        """All else."""
        first = (self._links, self._rest, self._discovery)
        return first if self._updates is None else (*first, self._updates)

    def serving(self, serving: SetServing) -> None:
        """The virtual and anycast addresses are ours now, or no more."""
        if self._updates is not None and serving.address:
            self._updates.serving(serving)
        home = self._config.group(serving.group).home_interface
        self._discovery.serving(serving, self._links.index(home))

    def lost(self) -> dict[str, int]:
        """By what they were for."""
        mobility = self._rest.lost + (self._updates.lost if self._updates else 0)
        return {
            "members": self._members.lost,
            "mobility": mobility,
            "discovery": self._discovery.lost,
        }

    def close(self) -> None:
        """Gives all back."""
        self.sender.close()
        for source in (self._members, self._rest, self._discovery, self._updates):
            if source is not None:
                source.close()
        self._option.close()

    def _join(self, link: Link) -> None:
        if link.wanted and link.index:
            self._members.join(self._groups, link.index)
