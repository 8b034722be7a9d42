"""The external backend: an existing home agent forwards; harpd tells it what, and is told.

Ref: harp.md §10 ("An existing home agent can be used instead through a small documented interface")

A Unix stream socket, `bindings.sock` in the run directory; one client, one JSON object a line.
Addresses are text, lifetimes seconds, flags the 16 bits of a Binding Update.

From harpd, first everything as it is, `serving` at last, beside it and then each change:

    {"event": "binding", "group": 7, "home_address": "…", "bid": 0, "care_of_address": "…",
     "prefixes": ["2001:db8:77::/64"]}
    {"event": "unbound", "group": 7, "home_address": "…", "bid": 0}
    {"event": "serving", "group": 7, "serving": true, "address": "2001:db8:1::1"}

To harpd, what the home agent accepted from a mobile node; lifetime 0 ends a binding:

    {"group": 7, "home_address": "…", "care_of_address": "…", "sequence": 4, "lifetime_s": 600,
     "flags": 16384, "bid": 0}

harpd gives it to the engine as a Binding Update that wants no acknowledgement: the group needs
`dad = false` and no MN-HA keys, for the home agent has judged already. It comes back as a `binding`
event when it is in the store. harpd adds and removes the virtual address itself.
"""

from __future__ import annotations

import json
import select
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address, IPv6Network
from typing import Any

import msgspec

from harp.cli.common import Failure
from harp.daemon.clock import Clock
from harp.daemon.dataplane.leftovers import Made, clean, forget, note
from harp.daemon.dataplane.plan import GroupPlan, Plan
from harp.daemon.dataplane.refill import Refill
from harp.daemon.dataplane.switch import Switch
from harp.daemon.netlink.connection import Netlink
from harp.daemon.parts import DataPlaneStatus, Deliver
from harp.daemon.unix import bound_for_owner
from harp.engine.effects import PrepareRoute, PrepareRoutes, RemoveRoute, SetServing
from harp.engine.events import PacketReceived
from harp.tables.mh import BuFlag
from harp.wire.bulk import BulkCodec
from harp.wire.codec import Codec
from harp.wire.messages import BindingIdentifier, BindingUpdate, Options

_SOCKET = "bindings.sock"
_READ_OCTETS = 1 << 16
_LINE_OCTETS = 4096
"""A longer line is no binding."""
_MOST_QUEUED = 64 << 20
"""A client that reads nothing for so long is dropped: it gets all anew."""
_LOOK_US = 1_000_000
_RETRY_US = 1_000


class Accepted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A binding that the home agent accepted."""

    group: int
    home_address: str
    care_of_address: str
    sequence: int
    lifetime_s: int
    flags: int = int(BuFlag.HOME_REGISTRATION)
    bid: int = 0


class ExternalBackend:
    """A `parts.DataPlane` that is a socket, and a `parts.Source`."""

    name = "external"

    def __init__(
        self,
        plan: Plan,
        made: Made,
        codec: Codec,
        clock: Clock,
        complain: Callable[[str], None],
        refill: Callable[[], Iterable[PrepareRoute]],
        deliver: Deliver,
    ) -> None:
        self._plan = plan
        self._made = made
        self._codec = codec
        self._bulk = BulkCodec(codec)
        self._clock = clock
        self._complain = complain
        self._refill = Refill(refill, clock)
        self._deliver = deliver
        self._path = made.run_dir / _SOCKET
        self._counters: Counter[str] = Counter()
        self._out = bytearray()
        self._heard = bytearray()
        self._look_at = 0
        self._told_bad_line = False
        self._poll = select.epoll()
        self._listener: socket.socket | None = None
        self._client: socket.socket | None = None
        self._netlink: Netlink | None = None
        self._switch: Switch | None = None

    @property
    def deadline(self) -> int | None:
        """When to call `renew`, µs."""
        assert self._switch is not None
        renewal = self._switch.deadline
        return self._look_at if renewal is None else min(renewal, self._look_at)

    def open(self) -> None:
        """Cleans up, listens. Raises Failure."""
        self._netlink = Netlink()
        try:
            clean(self._netlink, self._made)
            note(self._made)
            self._switch = Switch(self._plan, self._netlink, self._complain)
            self._path.unlink(missing_ok=True)
            self._listener = bound_for_owner(self._path)
            self._listener.setblocking(False)
            self._listener.listen(1)
        except OSError as error:
            raise Failure(f"{self._path}: {error.strerror or error}") from None
        self._poll.register(self._listener.fileno(), select.EPOLLIN)

    def fileno(self) -> int:
        """Readable when the home agent connects or speaks."""
        return self._poll.fileno()

    def drain(self, limit: int) -> int:
        """Takes what the home agent said, at most `limit` lines' worth of reads."""
        for taken in range(limit):
            if not self._poll.poll(0):
                return taken
            if self._client is None:
                self._accept()
            else:
                self._read(self._client)
        return limit

    def prepare(self, route: PrepareRoute) -> None:
        """A `binding` event."""
        prefixes = [str(IPv6Network((p.address, p.length))) for p in route.prefixes]
        self._tell(
            event="binding",
            group=route.group,
            home_address=str(IPv6Address(route.home_address)),
            bid=route.bid,
            care_of_address=str(IPv6Address(route.care_of)),
            prefixes=prefixes,
        )

    def prepare_many(self, routes: PrepareRoutes) -> None:
        """Such an event for each."""
        for record in self._bulk.unpack(routes.block):
            home = record.home_address
            if record.lifetime_units:
                self.prepare(PrepareRoute(routes.group, home, 0, record.care_of_address))
            else:
                self.remove(RemoveRoute(routes.group, home, 0))

    def remove(self, route: RemoveRoute) -> None:
        """An `unbound` event."""
        home = str(IPv6Address(route.home_address))
        self._tell(event="unbound", group=route.group, home_address=home, bid=route.bid)

    def serve(self, serving: SetServing) -> None:
        """The address at once, then a `serving` event."""
        plan = self._plan.group(serving.group)
        if plan is not None and self._switch is not None:
            self._switch.set(plan, serving.serving, self._clock.now_us())
            self._tell_serving(plan)
            self._flush()

    def renew(self, now_us: int) -> None:
        """Renews addresses, sends what is queued."""
        assert self._switch is not None
        self._switch.renew(now_us)
        self._flush()
        self._fill()
        busy = self._out or self._refill.waiting
        self._look_at = now_us + (_RETRY_US if busy else _LOOK_US)

    def link_changed(self) -> None:
        """An interface came back."""
        if self._switch is not None:
            self._switch.prepare()

    def close(self) -> None:
        """Undoes all."""
        if self._switch is not None:
            for plan in self._plan.groups:
                self.serve(SetServing(plan.group, False, plan.address))
            self._switch.close()
        self._drop()
        if self._listener is not None:
            self._listener.close()
            self._path.unlink(missing_ok=True)
        if self._netlink is not None:
            clean(self._netlink, self._made)
            forget(self._made)
            self._netlink.close()
        self._poll.close()
        self._netlink = self._switch = self._listener = None

    def status(self) -> DataPlaneStatus:
        """As of now."""
        serving = tuple(sorted(self._switch.serving)) if self._switch else ()
        there = "connected" if self._client else "not connected"
        return DataPlaneStatus(
            self.name,
            serving,
            counters=dict(self._counters),
            detail=f"a home agent forwards, told through {self._path}: {there}",
        )

    def _tell(self, **event: Any) -> None:
        if self._client is None:
            return
        if len(self._out) > _MOST_QUEUED:
            self._complain("the home agent does not read: connection closed")
            self._drop()
            return
        self._out += json.dumps(event).encode() + b"\n"
        self._look_at = 0

    def _tell_serving(self, plan: GroupPlan) -> None:
        assert self._switch is not None
        on = plan.group in self._switch.serving
        address = str(IPv6Address(plan.address)) if plan.address else ""
        self._tell(event="serving", group=plan.group, serving=on, address=address)

    def _flush(self) -> None:
        if self._client is None or not self._out:
            return
        try:
            sent = self._client.send(self._out)
        except BlockingIOError:
            return
        except OSError:
            self._drop()
            return
        del self._out[:sent]

    def _accept(self) -> None:
        """A client gets everything as it is, by `renew`."""
        assert self._listener is not None
        try:
            self._client, _ = self._listener.accept()
        except OSError:
            return
        self._client.setblocking(False)
        self._poll.unregister(self._listener.fileno())  # one at a time: another one waits
        self._poll.register(self._client.fileno(), select.EPOLLIN)
        self._told_bad_line = False
        self._refill.begin()
        self._look_at = 0

    def _fill(self) -> None:
        """A slice of everything, once the one before has left."""
        if self._out or not self._refill.waiting:
            return
        for route in self._refill.slice():
            self.prepare(route)
        if not self._refill.waiting:
            for plan in self._plan.groups:
                self._tell_serving(plan)
        self._flush()

    def _read(self, client: socket.socket) -> None:
        try:
            data = client.recv(_READ_OCTETS)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._heard += data
        *lines, rest = bytes(self._heard).split(b"\n")
        for line in lines:
            self._take(line)
        self._heard[:] = rest
        if not data or len(rest) > _LINE_OCTETS:
            self._drop()

    def _take(self, line: bytes) -> None:
        """One binding, or a line that is counted and told once a connection."""
        try:
            accepted = msgspec.json.decode(line, type=Accepted)
            packet = self._update_of(accepted)
        except (ValueError, msgspec.MsgspecError) as error:
            self._counters["bad_lines"] += 1
            if not self._told_bad_line:
                self._told_bad_line = True
                self._complain(f"{self._path}: not a binding: {error}")
            return
        self._counters["bindings_heard"] += 1
        self._deliver(packet)

    def _update_of(self, accepted: Accepted) -> PacketReceived:
        """Raises ValueError: no such group, or a value that no Binding Update has."""
        plan = self._plan.group(accepted.group)
        if plan is None:
            raise ValueError(f"no group {accepted.group}")
        home = IPv6Address(accepted.home_address).packed
        care_of = IPv6Address(accepted.care_of_address).packed
        options: Options = (BindingIdentifier(accepted.bid),) if accepted.bid else ()
        flags = accepted.flags & ~BuFlag.ACKNOWLEDGE
        update = BindingUpdate(accepted.sequence, flags, accepted.lifetime_s, options)
        payload = self._codec.build(home, plan.source, update)
        return PacketReceived(home, plan.source, payload, care_of=care_of)

    def _drop(self) -> None:
        """The client is gone; the next one may come."""
        if self._client is None:
            return
        self._client.close()  # epoll forgets it by itself
        self._client = None
        self._out.clear()
        self._heard.clear()
        self._refill.stop()
        if self._listener is not None:
            self._poll.register(self._listener.fileno(), select.EPOLLIN)
