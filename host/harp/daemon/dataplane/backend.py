"""What the kernel and the TUN backend share: the switch, the worker and its feed.

Ref: harp.md §9, §10
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

from harp.cli.common import Failure
from harp.daemon.clock import Clock
from harp.daemon.dataplane.child import Child
from harp.daemon.dataplane.feed import (
    block_frame,
    complete_frame,
    prepare_frame,
    remove_frame,
)
from harp.daemon.dataplane.leftovers import Made, clean, forget, note
from harp.daemon.dataplane.plan import GroupPlan, Plan
from harp.daemon.dataplane.refill import Refill
from harp.daemon.dataplane.sets import marking_table
from harp.daemon.dataplane.switch import Switch
from harp.daemon.dataplane.worker import WorkerGroup, WorkerPlan
from harp.daemon.netlink.connection import Netlink
from harp.daemon.netlink.links import links
from harp.daemon.netlink.nft import load
from harp.daemon.netlink.routes import add_default
from harp.daemon.parts import DataPlaneStatus
from harp.engine.effects import PrepareRoute, PrepareRoutes, RemoveRoute, SetServing

_LOOK_US = 1_000_000
"""How often the worker's reports are read, and its death is noticed; its least time between two
starts, which doubles while it dies within it."""
_MOST_PAUSE_US = 8_000_000
_RETRY_US = 1_000
"""When the worker had no room for what is queued."""
MOST_OCTETS = 256 << 20
"""Of frames that the worker has not taken: some millions. The next worker is told everything
anew, a slice at a time."""


class Backend(ABC):
    """A `parts.DataPlane` whose bindings a worker keeps in the kernel."""

    def __init__(
        self,
        plan: Plan,
        interfaces: tuple[str, ...],
        made: Made,
        clock: Clock,
        complain: Callable[[str], None],
        refill: Callable[[], Iterable[PrepareRoute]],
    ) -> None:
        self._plan = plan
        self._interfaces = interfaces
        self._made = made
        self._clock = clock
        self._complain = complain
        self._refill = Refill(refill, clock)
        self._look_at = 0
        self._revive_at = 0
        """A worker that dies at once is not started again at once."""
        self._pause_us = _LOOK_US
        self._dead = False
        self._restarts = 0
        self._detail = ""
        self._netlink: Netlink | None = None
        self._switch: Switch | None = None
        self._child: Child | None = None

    @property
    @abstractmethod
    def name(self) -> str:
        """`kernel` or `tun`."""

    @property
    def deadline(self) -> int | None:
        """When to call `renew`, µs."""
        assert self._switch is not None
        renewal = self._switch.deadline
        return self._look_at if renewal is None else min(renewal, self._look_at)

    def open(self) -> None:
        """Cleans up, makes the device, starts the worker. Raises Failure."""
        self._netlink = netlink = Netlink()
        try:
            self._check_interfaces(netlink)
            clean(netlink, self._made)
            note(self._made)
            load(self._tables(), f"making nftables table {self._plan.device}")
            index = self._make_device(netlink)
            for group in self._plan.groups:
                self._make_route(netlink, group, index)
            self._switch = Switch(self._plan, netlink, self._complain)
            self._child = self._make_child(self._worker_plan())
        except OSError as error:
            self.close()
            raise Failure(_advice(error)) from None
        except Failure:
            self.close()
            raise

    @abstractmethod
    def _make_device(self, netlink: Netlink) -> int:
        """The tunnel device; its interface index. Raises Failure or NetlinkError."""

    @abstractmethod
    def _make_child(self, plan: WorkerPlan) -> Child:
        """The worker."""

    def _tables(self) -> str:
        """The script for nft."""
        return marking_table(self._plan)

    def _make_route(self, netlink: Netlink, group: GroupPlan, index: int) -> None:
        """What is marked goes into the device."""
        netlink.ask(add_default(group.table, index), f"adding a route to table {group.table}")

    def _worker_plan(self) -> WorkerPlan:
        groups = tuple(WorkerGroup(g.group, g.table, g.source) for g in self._plan.groups)
        return WorkerPlan(groups, self._plan.device)

    def _check_interfaces(self, netlink: Netlink) -> None:
        known = links(netlink)
        for group in self._plan.groups:
            if group.interface not in known:
                there = ", ".join(sorted(set(known) - {"lo"})) or "none"
                raise Failure(
                    f"group {group.group}: no interface {group.interface} for the home link; "
                    f"there are {there}"
                )

    def prepare(self, route: PrepareRoute) -> None:
        """Queued."""
        self._put(prepare_frame(route))

    def prepare_many(self, routes: PrepareRoutes) -> None:
        """Queued as it is."""
        self._put(block_frame(routes))

    def remove(self, route: RemoveRoute) -> None:
        """Queued behind what is prepared."""
        self._put(remove_frame(route))

    def serve(self, serving: SetServing) -> None:
        """One system call: address and rule."""
        plan = self._plan.group(serving.group)
        if plan is not None and self._switch is not None:
            self._switch.set(plan, serving.serving, self._clock.now_us())

    def renew(self, now_us: int) -> None:
        """Renews addresses, feeds the worker, looks after it."""
        assert self._switch is not None and self._child is not None
        self._switch.renew(now_us)
        self._dead = not self._child.pump()
        if now_us >= self._revive_at:
            if self._dead:
                self._revive(self._child, now_us)
            else:
                self._pause_us = _LOOK_US
        self._look_at = now_us + (_RETRY_US if self._fill(self._child) else _LOOK_US)

    def link_changed(self) -> None:
        """An interface came back."""
        if self._switch is not None:
            self._switch.prepare()

    def close(self) -> None:
        """Undoes all."""
        if self._switch is not None:
            self._switch.withdraw_all()
            self._switch.close()
        if self._child is not None:
            self._child.stop()
        if self._netlink is not None:
            clean(self._netlink, self._made)
            forget(self._made)
            self._netlink.close()
        self._netlink = self._switch = self._child = None

    def status(self) -> DataPlaneStatus:
        """As last reported by the worker."""
        report = self._child.report if self._child else None
        counters = {} if report is None else report._asdict()
        for name in ("flushed", "routes", "queued"):
            counters.pop(name, None)
        counters["worker_restarts"] = self._restarts
        return DataPlaneStatus(
            self.name,
            tuple(sorted(self._switch.serving)) if self._switch else (),
            report.routes if report else 0,
            report.queued if report else 0,
            counters,
            self._detail,
        )

    def _put(self, frame: bytes) -> None:
        if self._child is not None and not self._dead:  # the next worker is told everything
            self._child.put(frame)
            self._look_at = 0
            if self._child.octets > MOST_OCTETS:
                self._complain("data plane: its worker takes nothing any more, and is ended")
                self._child.kill()
                self._dead = True

    def _fill(self, child: Child) -> bool:
        """A slice of everything, once the one before has left; False: nothing more is to be
        sent."""
        if self._dead:
            return False
        if not child.waiting and self._refill.waiting:
            for route in self._refill.slice():
                child.put(prepare_frame(route))
            if not self._refill.waiting:
                child.put(complete_frame())
        return child.waiting or self._refill.waiting

    def _revive(self, child: Child, now_us: int) -> None:
        """A worker that died is replaced and told everything again."""
        self._revive_at = now_us + self._pause_us
        self._pause_us = min(2 * self._pause_us, _MOST_PAUSE_US)
        self._refill.stop()
        try:
            status = child.restart()
        except OSError as error:
            self._complain(f"data plane: its worker ended and does not start: {error}")
            return
        self._dead = False
        self._restarts += 1
        self._complain(f"data plane: its worker ended with status {status}; started again")
        self._refill.begin()


def _advice(error: OSError) -> str:
    if isinstance(error, PermissionError) or error.errno in (errno.EPERM, errno.EACCES):
        return f"{error}; harpd needs CAP_NET_ADMIN and CAP_NET_RAW, or root"
    return str(error)
