"""The kernel backend: one metadata `ip6tnl` device, a route with `encap ip6` for each binding.

Ref: harp.md §9, §10; ip-link(8) (`ip6tnl external`), ip-route(8) (`encap ip6`)

Limit: Linux walks every route of the namespace when a rule changes or an address goes
(`rt_genid_bump_ipv6`), so with routes as many as bindings a switch grows with them: by about 0.4 µs
a binding on, 1 µs off. Packets follow the change at once, before the walk; harpd waits for its end.
The TUN backend has no such routes.
"""

from __future__ import annotations

import errno
import os

from harp.daemon.dataplane.backend import Backend
from harp.daemon.dataplane.child import Child
from harp.daemon.dataplane.plan import inner_mtu
from harp.daemon.dataplane.sets import checking_table
from harp.daemon.dataplane.worker import WorkerPlan
from harp.daemon.netlink.connection import Netlink, NetlinkError
from harp.daemon.netlink.links import add_tunnel, links, remove_link

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
    """The kernel forwards; the worker keeps its routes and the list of who may send."""

    _device = 0

    @property
    def name(self) -> str:
        """`kernel`."""
        return "kernel"

    def _make_device(self, netlink: Netlink) -> int:
        device = self._plan.device
        mtu = inner_mtu(links(netlink), self._interfaces)
        netlink.ask(add_tunnel(device, mtu), f"making {device} (ip6tnl external)")
        self._detail = f"the kernel forwards through {device}, inner MTU {mtu}"
        self._device = links(netlink)[device].number
        return self._device

    def _tables(self) -> str:
        return super()._tables() + checking_table(self._plan)

    def _make_routes(self, netlink: Netlink, index: int) -> None:
        """One a binding, by the worker."""

    def _make_child(self, plan: WorkerPlan) -> Child:
        numbers = {"device": self._device}
        return Child("harp.daemon.dataplane.kernel_worker", plan, {}, numbers)
