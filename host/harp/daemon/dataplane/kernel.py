"""The kernel backend: one metadata `ip6tnl` device, one route with `encap ip6` for each group, and
an nftables map with the care-of addresses.

Ref: harp.md §9, §10; ip-link(8) (`ip6tnl external`), ip-route(8) (`encap ip6`); RFC 6666

Not one route a binding: Linux walks every route of the namespace, with softirqs off, whenever a
rule is changed or an address goes (`rt_genid_bump_ipv6`), or a path's MTU grows old
(`fib6_run_gc`). 100,000 took 98 ms of a takeover and 249 of a withdrawal, on a kernel in emulation
that needs under one now.
"""

from __future__ import annotations

import errno
import os

from harp.daemon.dataplane.backend import Backend
from harp.daemon.dataplane.child import Child
from harp.daemon.dataplane.plan import GroupPlan, inner_mtu
from harp.daemon.dataplane.sets import checking_table, tunnelling_table
from harp.daemon.dataplane.worker import WorkerPlan
from harp.daemon.netlink.connection import Netlink, NetlinkError
from harp.daemon.netlink.links import add_tunnel, links, remove_link
from harp.daemon.netlink.routes import MAIN_TABLE, add_encapsulation, add_route

_PROBE = "harp-probe"


def kernel_has_tunnels() -> bool:
    """Whether this kernel makes metadata `ip6tnl` devices: by making one."""
    netlink = Netlink()
    try:
        netlink.ask(add_tunnel(f"{_PROBE}{os.getpid() % 10_000}", 1452), "making a tunnel")
        netlink.ask(remove_link(f"{_PROBE}{os.getpid() % 10_000}"), "removing it")
    except NetlinkError as error:
        # Only one such device is possible: another one is proof enough.
        return error.errno == errno.EEXIST
    finally:
        netlink.close()
    return True


class KernelBackend(Backend):
    """The kernel forwards; the worker keeps its maps and the list of who may send."""

    @property
    def name(self) -> str:
        """`kernel`."""
        return "kernel"

    def _make_device(self, netlink: Netlink) -> int:
        device = self._plan.device
        mtu = inner_mtu(links(netlink), self._interfaces)
        netlink.ask(add_tunnel(device, mtu), f"making {device} (ip6tnl external)")
        self._detail = f"the kernel forwards through {device}, inner MTU {mtu}"
        return links(netlink)[device].number

    def _tables(self) -> str:
        return super()._tables() + tunnelling_table(self._plan) + checking_table(self._plan)

    def _make_route(self, netlink: Netlink, group: GroupPlan, index: int) -> None:
        route = add_encapsulation(group.table, index, group.source, group.stand_in)
        netlink.ask(route, f"adding a route to table {group.table}")
        # The tunnel asks for a way to the stand-in, though no packet ever takes it.
        way = add_route(MAIN_TABLE, group.stand_in, 128, links(netlink)["lo"].number)
        netlink.ask(way, "adding the route of the tunnel's stand-in")

    def _make_child(self, plan: WorkerPlan) -> Child:
        return Child("harp.daemon.dataplane.kernel_worker", plan, {})
