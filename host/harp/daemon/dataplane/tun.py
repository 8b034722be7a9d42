"""The TUN backend: where the kernel has no `ip6_tunnel`, a process of harpd encapsulates.

Ref: harp.md §10
"""

from __future__ import annotations

import os

from harp.cli.common import Failure
from harp.daemon.dataplane.backend import Backend
from harp.daemon.dataplane.child import Child
from harp.daemon.dataplane.plan import inner_mtu
from harp.daemon.dataplane.rate import measured_rate
from harp.daemon.dataplane.tun_device import open_tun
from harp.daemon.dataplane.worker import WorkerPlan
from harp.daemon.netlink.connection import Netlink
from harp.daemon.netlink.links import links, set_up


class TunBackend(Backend):
    """harpd keeps the TUN device open, the forwarder reads and writes it."""

    _tun = -1

    @property
    def name(self) -> str:
        """`tun`."""
        return "tun"

    def _make_device(self, netlink: Netlink) -> int:
        device = self._plan.device
        try:
            self._tun = open_tun(device)
        except OSError as error:
            raise Failure(
                f"/dev/net/tun: making {device}: {error.strerror}; the TUN data plane needs "
                "CAP_NET_ADMIN and the tun module"
            ) from None
        known = links(netlink)
        mtu = inner_mtu(known, self._interfaces)
        index = known[device].number
        netlink.ask(set_up(index, mtu), f"bringing {device} up")
        try:
            rate = f"at most about {measured_rate():,} packets/s here"
        except OSError as error:
            rate = f"how fast is not known ({error.strerror}; is `lo` up?)"
        self._detail = f"user space forwards through {device}: {rate}, inner MTU {mtu}"
        return index

    def _make_child(self, plan: WorkerPlan) -> Child:
        return Child("harp.daemon.dataplane.forwarder", plan, {"tun": self._tun})

    def close(self) -> None:
        """Undoes all; the device goes with its last descriptor."""
        super().close()
        if self._tun >= 0:
            os.close(self._tun)
            self._tun = -1
