"""The switch of a takeover: one address and one rule, whatever the number of bindings.

Ref: harp.md §9 (steps 1, 2 and 4)
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable

from harp.daemon.dataplane.plan import GroupPlan, Plan
from harp.daemon.neighbors.messages import solicited_node
from harp.daemon.netlink.addresses import add_address, remove_address
from harp.daemon.netlink.connection import Netlink
from harp.daemon.netlink.links import links
from harp.daemon.netlink.routes import (
    MAIN_TABLE,
    add_local,
    add_route,
    remove_local,
    remove_route,
)
from harp.daemon.netlink.rules import add_rule, remove_rule
from harp.tables.constants import US_PER_S

_THERE = frozenset((errno.EEXIST,))
_GONE = frozenset(
    (errno.ENOENT, errno.EADDRNOTAVAIL, errno.ENODEV, errno.ESRCH, errno.EAFNOSUPPORT)
)
_RENEWALS = 3


class Switch:
    """Addresses and rules of all groups; requests are built before they are needed."""

    def __init__(self, plan: Plan, netlink: Netlink, complain: Callable[[str], None]) -> None:
        self.serving: set[int] = set()
        """Group IDs that are on."""
        self._plan = plan
        self._netlink = netlink
        self._complain = complain
        self._renew_at: dict[int, int] = {}
        self._on: dict[int, list[bytes]] = {}
        self._off: dict[int, list[bytes]] = {}
        self._groups = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.prepare()

    def prepare(self) -> None:
        """Builds the requests: at the start, and when an interface came back with a new number."""
        known = links(self._netlink)
        for group in self._plan.groups:
            on = [add_rule(group.preference, group.table, group.mark)]
            off = [remove_rule(group.preference, group.table)]
            if group.address and group.interface in known:
                index = known[group.interface].number
                address = add_address(index, group.address, group.lifetime_s)
                on = [address, add_local(index, group.address), *on]
                gone = remove_address(index, group.address)
                off = [gone, remove_local(index, group.address), *off]
                self._join(index, group.address)
            if group.interface in known:
                number = known[group.interface].number
                on += [add_route(MAIN_TABLE, *half, number) for half in group.advertised]
            off += [remove_route(MAIN_TABLE, *half) for half in group.advertised]
            self._on[group.group], self._off[group.group] = on, off

    def _join(self, index: int, address: bytes) -> None:
        """Neighbors ask for the address from the moment it is there; the kernel joins its
        solicited-node group from a worker thread, whenever that runs."""
        member = struct.pack("=16sI", solicited_node(address), index)
        with contextlib.suppress(OSError):  # joined before
            self._groups.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)

    def close(self) -> None:
        """Leaves the multicast groups."""
        self._groups.close()

    @property
    def deadline(self) -> int | None:
        """When an address is to be renewed, µs."""
        return min(self._renew_at.values(), default=None)

    def set(self, plan: GroupPlan, serving: bool, now_us: int) -> None:
        """On or off, before this returns."""
        if serving:
            self._ask(plan, self._on[plan.group], _THERE, "taking over")
            self.serving.add(plan.group)
            self._schedule(plan, now_us)
        else:
            self._ask(plan, self._off[plan.group], _GONE, "withdrawing")
            self.serving.discard(plan.group)
            self._renew_at.pop(plan.group, None)

    def renew(self, now_us: int) -> None:
        """Addresses whose lifetime is a third over get it anew."""
        for plan in self._plan.groups:
            if self._renew_at.get(plan.group, now_us + 1) <= now_us:
                self._ask(plan, self._on[plan.group], _THERE, "renewing")
                self._schedule(plan, now_us)

    def withdraw_all(self) -> None:
        """Everything off, whether it was on or not."""
        for plan in self._plan.groups:
            self.set(plan, False, 0)

    def _schedule(self, plan: GroupPlan, now_us: int) -> None:
        if plan.address:
            self._renew_at[plan.group] = now_us + plan.lifetime_s * US_PER_S // _RENEWALS

    def _ask(self, plan: GroupPlan, requests: list[bytes], fine: frozenset[int], what: str) -> None:
        try:
            failures = self._netlink.send(requests)
        except OSError as error:
            self._complain(f"group {plan.group}: {what}: {error}")
            return
        names = ["rule", *("home-prefix route" for _ in plan.advertised)]
        if plan.address:
            names = [f"address on {plan.interface}", "local route", *names]
        for index, (code, words) in failures.items():
            if code not in fine:
                said = f" ({words})" if words else ""
                text = f"{what}: {names[index]}: {os.strerror(code)}{said}"
                self._complain(f"group {plan.group}: {text}")
