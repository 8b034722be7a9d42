"""The process that keeps care-of addresses where the kernel forwards, and who may send through its
tunnels.

Ref: harp.md §9, §10; RFC 6275 §10.4.2, §10.4.5
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from harp.daemon.dataplane.bindings import ADDRESS_OCTETS, HOST_BITS, Network
from harp.daemon.dataplane.sets import (
    SENDER_NETWORKS,
    care_of_map,
    network_care_of_map,
    senders_set,
)
from harp.daemon.dataplane.worker import Group, Worker, WorkerGroup, begin
from harp.daemon.netlink.nft import (
    Nft,
    add_elements,
    delete_elements,
    key,
    network,
    prefixes,
    span,
)

_Make: TypeAlias = Callable[[str, str, Sequence[bytes]], bytes]
"""`add_elements` or `delete_elements`."""
_Pair: TypeAlias = tuple[Network, bytes]
"""Inner prefix, outer source."""
_FAMILY_LIMIT = 64
"""Care-of addresses of one home address that may send; more is no mobile node."""


class TunnelGroup(Group):
    """One group whose packets the kernel encapsulates."""

    def __init__(self, told: WorkerGroup, table: str, nft: Nft) -> None:
        super().__init__(told, table, nft)
        self._senders = self._found_senders()
        """Whom the kernel lets send, by inner prefix."""

    def _messages(self, changes: Mapping[Network, bytes | None]) -> list[bytes]:
        """The maps, whose elements do not change: one goes, another comes; the sets; who may
        send."""
        old = [p for p, care_of in changes.items() if self.installed.get(p, care_of) != care_of]
        fresh = [(*p, c) for p, c in changes.items() if c and self.installed.get(p) != c]
        return [
            *self._mapped(delete_elements, [(*prefix, None) for prefix in old]),
            *super()._messages(changes),
            *self._mapped(add_elements, fresh),
            *self._checked(changes),
        ]

    def _done(self, changes: Mapping[Network, bytes | None]) -> None:
        super()._done(changes)
        for prefix in changes:
            self._senders.pop(prefix, None)
            if allowed := self._allowed(prefix):
                self._senders[prefix] = allowed

    def _mapped(
        self, make: _Make, elements: Sequence[tuple[bytes, int, bytes | None]]
    ) -> list[bytes]:
        """Messages about elements of the two maps."""
        hosts = [key(home, care_of) for home, length, care_of in elements if length == HOST_BITS]
        networks = [network(*each) for each in elements if each[1] != HOST_BITS]
        named = ((care_of_map(self.group), hosts), (network_care_of_map(self.group), networks))
        return [make(self._table, name, each) for name, each in named if each]

    def _found(self) -> dict[Network, bytes]:
        hosts = self._nft.elements(self._table, care_of_map(self.group))
        networks = self._nft.elements(self._table, network_care_of_map(self.group))
        return {(each.key, HOST_BITS): each.data for each in hosts} | {
            (prefix, length): care_of for prefix, length, care_of in prefixes(networks)
        }

    def _found_senders(self) -> dict[Network, set[bytes]]:
        found: dict[Network, set[bytes]] = {}
        for name in (senders_set(self.group), SENDER_NETWORKS.format(self.group)):
            for each in self._nft.elements(self._table, name):
                outer, first = each.key[:ADDRESS_OCTETS], each.key[ADDRESS_OCTETS:]
                last = each.last[ADDRESS_OCTETS:] or first
                host_bits = (int.from_bytes(first) ^ int.from_bytes(last)).bit_length()
                found.setdefault((first, HOST_BITS - host_bits), set()).add(outer)
        return found

    def _held(self) -> Iterable[Network]:
        return self.installed.keys() | self._senders.keys()

    def _checked(self, changed: Iterable[Network]) -> list[bytes]:
        """Who may send no more, and who may from now on, as the bindings have it."""
        gone: list[_Pair] = []
        fresh: list[_Pair] = []
        for prefix in changed:
            before, after = self._senders.get(prefix, set()), self._allowed(prefix)
            gone += [(prefix, outer) for outer in before - after]
            fresh += [(prefix, outer) for outer in after - before]
        return [
            make(self._table, name, elements)
            for make, pairs in ((delete_elements, gone), (add_elements, fresh))
            for name, elements in _elements(self.group, pairs)
            if elements
        ]

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
    plan, feed, _ = begin("harpd-tunnels")
    nft = Nft()
    groups = [TunnelGroup(each, plan.table, nft) for each in plan.groups]
    Worker(groups, feed).run()


if __name__ == "__main__":
    main()
