"""The switch of a takeover: one address and one rule, whatever the number of bindings.

Ref: harp.md §9 (steps 1, 2 and 4); RFC 4861 §7.2.2, §7.2.5

Neighbors send to who withdrew until they hear of the new active. What reaches a member that does
not serve is handed on to the one that does: packets to the virtual address by the connected route,
those to mobile nodes by the detour, a rule behind the switch that leads to the virtual address.

A member that withdraws forgets where that address was before it served: an old entry could name
another member, that one's entry this one, and a packet would go to and fro until its hop limit is
used up. Without one the kernel keeps what comes until the new active's advertisement says where to
send it. No loop remains: what a member knows of another one it learned after its own withdrawal,
and that one, if it has withdrawn since, learned what it knows still later.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import TypeAlias

from harp.daemon.dataplane.plan import GroupPlan, Plan
from harp.daemon.neighbors.messages import solicited_node
from harp.daemon.netlink.addresses import add_address, remove_address
from harp.daemon.netlink.connection import Netlink
from harp.daemon.netlink.links import links
from harp.daemon.netlink.neighbors import forget_neighbor
from harp.daemon.netlink.routes import (
    MAIN_TABLE,
    add_default_via,
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

_Requests: TypeAlias = list[tuple[str, bytes]]
"""What is asked for, for people, and the message."""


class Switch:
    """Addresses and rules of all groups; requests are built before they are needed."""

    def __init__(self, plan: Plan, netlink: Netlink, complain: Callable[[str], None]) -> None:
        self.serving: set[int] = set()
        """Group IDs that are on."""
        self._plan = plan
        self._netlink = netlink
        self._complain = complain
        self._renew_at: dict[int, int] = {}
        self._on: dict[int, _Requests] = {}
        self._off: dict[int, _Requests] = {}
        self._groups = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.prepare()

    def prepare(self) -> None:
        """Builds the requests, and makes the detours: at the start, and when an interface came
        back: with a new number, or without the addresses that it had."""
        known = links(self._netlink)
        for group in self._plan.groups:
            link = known.get(group.interface)
            self._on[group.group] = _on(group, link.number if link else 0)
            self._off[group.group] = _off(group, link.number if link else 0)
            if link is None or not group.address:
                continue
            self._join(link.number, group.address)
            if group.group in self.serving:
                self._ask(group, self._on[group.group], _THERE, "serving again")
            else:
                self._ask(group, _detour(group, link.number), _THERE, "preparing the detour")

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

    def _ask(self, plan: GroupPlan, requests: _Requests, fine: frozenset[int], what: str) -> None:
        try:
            failures = self._netlink.send([message for _, message in requests])
        except OSError as error:
            self._complain(f"group {plan.group}: {what}: {error}")
            return
        for index, (code, words) in failures.items():
            if code not in fine:
                said = f" ({words})" if words else ""
                text = f"{what}: {requests[index][0]}: {os.strerror(code)}{said}"
                self._complain(f"group {plan.group}: {text}")


def _on(group: GroupPlan, index: int) -> _Requests:
    """Taking over, with the number of the home interface; 0: it is not there."""
    asked: _Requests = []
    if group.address and index:
        address = add_address(index, group.address, group.lifetime_s)
        asked.append((f"address on {group.interface}", address))
        asked.append(("local route", add_local(index, group.address)))
    asked.append(("rule", add_rule(group.preference, group.table, group.mark)))
    if index:
        halves = (add_route(MAIN_TABLE, *half, index) for half in group.advertised)
        asked += [("home-prefix route", half) for half in halves]
    return asked


def _off(group: GroupPlan, index: int) -> _Requests:
    """Withdrawing. The neighbor first: while the address is ours nobody looks for it."""
    asked: _Requests = []
    if group.address and index:
        asked.append(("neighbor", forget_neighbor(index, group.address)))
        asked.append((f"address on {group.interface}", remove_address(index, group.address)))
        asked.append(("local route", remove_local(index, group.address)))
    asked.append(("rule", remove_rule(group.preference, group.table)))
    halves = (remove_route(MAIN_TABLE, *half) for half in group.advertised)
    asked += [("home-prefix route", half) for half in halves]
    if group.address and index:  # it went if the interface was down meanwhile
        asked.append(_way_to_active(group, index))
    return asked


def _detour(group: GroupPlan, index: int) -> _Requests:
    """What is to be there before a group is served and afterwards."""
    rule = add_rule(group.detour_preference, group.detour_table, group.mark)
    return [_way_to_active(group, index), ("rule", rule)]


def _way_to_active(group: GroupPlan, index: int) -> tuple[str, bytes]:
    return "detour", add_default_via(group.detour_table, index, group.address)
