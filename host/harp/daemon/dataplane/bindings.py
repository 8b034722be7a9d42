"""Which tunnel a packet goes into, and which source may come out of one; no I/O.

Ref: RFC 6275 §10.4.2 (interception), §10.4.5 (reverse tunnelling); RFC 3963 §6.4, §6.5 (NEMO);
     RFC 5648 §5.5 (several care-of addresses)

Of several care-of addresses of one home address the one with the lowest BID is sent to; all may
send.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

ADDRESS_OCTETS = 16
HOST_BITS = 128
_NO_BID = 0

Network: TypeAlias = tuple[bytes, int]
"""Prefix (16 octets) and its length in bits."""


class Tunnel(NamedTuple):
    """One binding."""

    care_of: bytes
    """Its other end."""
    networks: tuple[Network, ...] = ()
    """Prefixes behind it."""


class Bindings:
    """The tunnels of one group.

    `changed` collects what a route must become or stay (None: none) until the caller takes it: of
    many changes to a prefix only the last counts.
    """

    def __init__(self) -> None:
        self.hosts: dict[bytes, bytes] = {}
        """Home address → the care-of address that is sent to."""
        self.networks: dict[Network, tuple[bytes, bytes]] = {}
        """Mobile network prefix → home address of its router, care-of address."""
        self.changed: dict[Network, bytes | None] = {}
        """Prefix → care-of address of the route it should have."""
        self._families: dict[bytes, dict[int, Tunnel]] = {}
        """Home addresses with a BID or prefixes, by BID; every other is in `hosts` alone."""
        self._behind: dict[bytes, dict[Network, bytes]] = {}
        """Home address → prefixes behind it → care-of address."""
        self._claims: dict[Network, dict[bytes, bytes]] = {}
        """Prefix → home addresses that it is behind → care-of address; the latest one counts."""

    def __len__(self) -> int:
        return len(self.hosts) + len(self.networks)

    def __contains__(self, prefix: Network) -> bool:
        return prefix[0] in self.hosts if prefix[1] == HOST_BITS else prefix in self.networks

    def prepare(
        self, home: bytes, bid: int, care_of: bytes, networks: tuple[Network, ...] = ()
    ) -> None:
        """A binding is new or has changed."""
        family = self._families.get(home)
        if family is None and bid == _NO_BID and not networks:
            if self.hosts.get(home) != care_of:
                self.hosts[home] = care_of
                self.changed[home, HOST_BITS] = care_of
            return
        if family is None:
            family = self._families[home] = {}
            if home in self.hosts:
                family[_NO_BID] = Tunnel(self.hosts[home])
        tunnel = Tunnel(care_of, networks)
        if family.get(bid) != tunnel:
            family[bid] = tunnel
            self._settle(home, family)

    def remove(self, home: bytes, bid: int) -> None:
        """A binding is gone; one that was not there is no error."""
        family = self._families.get(home)
        if family is None:
            if bid == _NO_BID and self.hosts.pop(home, None) is not None:
                self.changed[home, HOST_BITS] = None
            return
        if family.pop(bid, None) is not None:
            self._settle(home, family)

    def may_send(self, inner: bytes, outer: bytes) -> bool:
        """RFC 6275 §10.4.5: the home agent "MUST verify that the Source Address in the tunnel IP
        header is the mobile node's primary care-of address"; or that of a mobile router whose
        prefix holds the inner source (RFC 3963 §6.5)."""
        if self.hosts.get(inner) == outer:
            return True
        family = self._families.get(inner)
        if family and any(tunnel.care_of == outer for tunnel in family.values()):
            return True
        found = self.network_of(inner) if self.networks else None
        if found is None:
            return False
        router = self._families[found[0]]
        return any(tunnel.care_of == outer for tunnel in router.values())

    def network_of(self, address: bytes) -> tuple[bytes, bytes] | None:
        """Home address and care-of address of the mobile router with the longest prefix that
        holds an address."""
        value = int.from_bytes(address)
        for length in sorted({length for _, length in self.networks}, reverse=True):
            host_bits = HOST_BITS - length
            prefix = (value >> host_bits << host_bits).to_bytes(ADDRESS_OCTETS)
            found = self.networks.get((prefix, length))
            if found:
                return found
        return None

    def senders(self, home: bytes) -> set[bytes]:
        """Every care-of address that may send for a home address."""
        family = self._families.get(home)
        if family is not None:
            return {tunnel.care_of for tunnel in family.values()}
        return {self.hosts[home]} if home in self.hosts else set()

    def clear(self) -> None:
        """Every binding goes."""
        for home in list(self.hosts):
            for bid in list(self._families.get(home, (_NO_BID,))):
                self.remove(home, bid)

    def _settle(self, home: bytes, family: dict[int, Tunnel]) -> None:
        """Route and prefixes of a home address after its family changed. All are named in
        `changed`: where the routes are the same, who may send is not."""
        wanted: dict[Network, bytes] = {}
        for bid in sorted(family, reverse=True):  # the lowest BID is written last and stays
            for network in family[bid].networks:
                wanted[network] = family[bid].care_of
        before = self._behind.pop(home, {})
        if wanted:
            self._behind[home] = wanted
        for network in before:
            if network not in wanted:
                self._claim(network, home, None)
        for network, care_of in wanted.items():
            if before.get(network) != care_of:
                self._claim(network, home, care_of)
            elif self.networks[network][0] == home:
                self.changed[network] = care_of
        first = family[min(family)].care_of if family else None
        if first is None:
            del self._families[home]
            self.hosts.pop(home, None)
            self.changed[home, HOST_BITS] = None
        else:
            self.hosts[home] = first
            self.changed[home, HOST_BITS] = first

    def _claim(self, network: Network, home: bytes, care_of: bytes | None) -> None:
        """A prefix is behind a home address, or no more (None): then behind who else has it."""
        claims = self._claims.setdefault(network, {})
        if care_of is None:
            claims.pop(home, None)
        else:
            claims[home] = care_of
        if not claims:
            del self._claims[network], self.networks[network]
            self.changed[network] = None
            return
        latest = next(reversed(claims.items()))
        if self.networks.get(network) != latest:
            self.networks[network] = latest
            self.changed[network] = latest[1]
