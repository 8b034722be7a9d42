"""The process that keeps routes where the kernel forwards, and who may send through its tunnels.

Ref: harp.md §9, §10; RFC 6275 §10.4.2, §10.4.5
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from harp.daemon.dataplane.bindings import HOST_BITS, Network
from harp.daemon.dataplane.sets import SENDER_NETWORKS, senders_set
from harp.daemon.dataplane.worker import Group, Worker, WorkerGroup, begin
from harp.daemon.netlink.connection import Netlink
from harp.daemon.netlink.nft import Nft, add_elements, delete_elements, key, span
from harp.daemon.netlink.routes import remove_route, tunnel_routes

_Pair: TypeAlias = tuple[Network, bytes]
"""Inner prefix, outer source."""
_FAMILY_LIMIT = 64
"""Care-of addresses of one home address that may send; more is no mobile node."""


class RouteGroup(Group):
    """One group whose packets the kernel encapsulates by a route each."""

    def __init__(
        self, told: WorkerGroup, table: str, nft: Nft, netlink: Netlink, device: int
    ) -> None:
        super().__init__(told, table, nft)
        self._netlink = netlink
        self._route_table = told.table
        self._encode = tunnel_routes(told.table, device, told.source)
        self._senders: dict[Network, set[bytes]] = {}
        """Whom the kernel lets send, by inner prefix."""

    def put(self, changes: Mapping[Network, bytes | None]) -> None:
        """Routes first: what is marked must find one."""
        requests = [
            self._encode(*prefix, care_of) if care_of else remove_route(self._route_table, *prefix)
            for prefix, care_of in changes.items()
        ]
        failures = self._netlink.send(requests)
        prefixes = list(changes)
        self.failed += sum(changes[prefixes[index]] is not None for index in failures)
        super().put(changes)
        self._check(prefixes)

    def _check(self, prefixes: list[Network]) -> None:
        """The senders of these prefixes as the bindings have them now."""
        gone: list[_Pair] = []
        fresh: list[_Pair] = []
        for prefix in prefixes:
            before, after = self._senders.get(prefix, set()), self._allowed(prefix)
            gone += [(prefix, outer) for outer in before - after]
            fresh += [(prefix, outer) for outer in after - before]
        self._change(gone, fresh)

    def _change(self, gone: list[_Pair], fresh: list[_Pair]) -> None:
        """Those who may send no more, and those who may from now on."""
        messages = [
            make(self._table, name, elements)
            for make, pairs in ((delete_elements, gone), (add_elements, fresh))
            for name, elements in _elements(self.group, pairs)
            if elements
        ]
        if not messages:
            return
        try:
            self._nft.commit(messages, "senders")
        except OSError:
            if len(gone) + len(fresh) == 1:
                self.failed += 1
                return
            for pair in gone:  # one that the kernel refuses spoils no other
                self._change([pair], [])
            for pair in fresh:
                self._change([], [pair])
            return
        for prefix, outer in gone:
            self._senders[prefix].discard(outer)
            if not self._senders[prefix]:
                del self._senders[prefix]
        for prefix, outer in fresh:
            self._senders.setdefault(prefix, set()).add(outer)

    def _allowed(self, prefix: Network) -> set[bytes]:
        if prefix[1] == HOST_BITS:
            return set(sorted(self.bindings.senders(prefix[0]))[:_FAMILY_LIMIT])
        found = self.bindings.networks.get(prefix)
        return self.bindings.senders(found[0]) if found else set()


def _elements(group: int, pairs: list[_Pair]) -> list[tuple[str, list[bytes]]]:
    """Elements of the two sets: outer source, inner source."""
    hosts = [key(outer + prefix) for (prefix, length), outer in pairs if length == HOST_BITS]
    networks = [
        span(outer + prefix, outer + _last(prefix, length))
        for (prefix, length), outer in pairs
        if length != HOST_BITS
    ]
    return [(senders_set(group), hosts), (SENDER_NETWORKS.format(group), networks)]


def _last(prefix: bytes, length: int) -> bytes:
    value = int.from_bytes(prefix) | (1 << HOST_BITS - length) - 1
    return value.to_bytes(len(prefix))


def main() -> None:
    """The process."""
    plan, feed, others = begin("harpd-routes")
    nft, netlink = Nft(), Netlink()
    groups = [RouteGroup(each, plan.table, nft, netlink, others["device"]) for each in plan.groups]
    Worker(groups, feed).run()


if __name__ == "__main__":
    main()
