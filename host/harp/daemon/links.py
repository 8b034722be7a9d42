"""Our interfaces: present or not, up or down, with our address or without; told as they change.

Ref: rtnetlink(7), netdevice(7), RFC 4862 §5.4 (a tentative address is not to be used)
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from struct import Struct
from typing import Any

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from harp.cli.common import Failure
from harp.daemon.netlink.message import DUMP, HEADER, request, split
from harp.daemon.parts import Deliver
from harp.daemon.sockets.options import roomy
from harp.engine.effects import Level
from harp.engine.events import LinkChanged

_GROUPS = 0x1 | 0x100
"""RTMGRP_LINK, RTMGRP_IPV6_IFADDR."""
_NEW_LINK, _GET_LINK, _DEL_LINK = 16, 18, 17
_NEW_ADDRESS, _DEL_ADDRESS, _GET_ADDRESS = 20, 21, 22
_ERROR, _DONE = 2, 3
_MULTI = 0x2
"""NLM_F_MULTI: a part of a dump."""
_REQUEST = Struct("=B15x")
"""`struct ifinfomsg` of a dump request: the family alone, as `struct ifaddrmsg` begins too."""
_SEQUENCE = Struct("=I")
_SEQUENCE_AT = 8
"""In `struct nlmsghdr`."""
_ERRNO = Struct("=i")
"""At the begin of `struct nlmsgerr`, negative."""
_RECEIVE_OCTETS = 1 << 18
_PATIENCE = Struct("@ll").pack(0, 200_000)
"""`struct timeval`: the kernel has a dump ready when it is asked; the loop waits no longer."""
_TRIES = 4
"""Dumps in a row, while news is lost during each."""
_LOSSES = 64
"""Times that news is lost during one dump, at most."""
_UP, _LOWER_UP = 0x1, 0x10000
_TENTATIVE, _DUPLICATE, _OPTIMISTIC = 0x40, 0x08, 0x04
"""IFA_F_*; optimistic addresses may be used (RFC 4429)."""

Tell = Callable[[Level, str], None]
"""A line for people."""


@dataclass(slots=True)
class Link:
    """What is known of one of our interfaces."""

    name: str
    wanted: frozenset[bytes]
    """Our own addresses there."""
    index: int = 0
    """Of the kernel; 0: there is no such interface now."""
    carrier: bool = False
    """Administratively up, and with carrier."""
    addresses: dict[bytes, int] = field(default_factory=dict)
    """Flags of those wanted addresses that it has."""

    @property
    def usable(self) -> bool:
        """Carrier, and every address of ours there and not tentative."""
        return self.carrier and not self.waiting and not self.missing

    @property
    def missing(self) -> list[str]:
        """Addresses that it does not have, or that somebody else has too."""
        bad = [a for a in self.wanted if self.addresses.get(a, _DUPLICATE) & _DUPLICATE]
        return [str(IPv6Address(a)) for a in sorted(bad)]

    @property
    def waiting(self) -> bool:
        """Duplicate address detection still runs for an address."""
        flags = self.addresses.values()
        return any(each & _TENTATIVE and not each & (_OPTIMISTIC | _DUPLICATE) for each in flags)

    def trouble(self) -> str:
        """Why it is not usable, for people."""
        if not self.index:
            return "there is no such interface"
        if not self.carrier:
            return "down or without carrier"
        if self.missing:
            twice = any(flags & _DUPLICATE for flags in self.addresses.values())
            why = "is used by another node too" if twice else "is not there"
            return f"{', '.join(self.missing)} {why}"
        return "duplicate address detection still runs" if self.waiting else ""


class Links:
    """All our interfaces; a `parts.Source` that delivers `LinkChanged`."""

    def __init__(
        self, wanted: Mapping[str, frozenset[bytes]], deliver: Deliver, tell: Tell
    ) -> None:
        self.links = {name: Link(name, addresses) for name, addresses in wanted.items()}
        """By name."""
        self.names: dict[int, str] = {}
        """By index of the kernel; interfaces of ours only."""
        self.up = dict.fromkeys(wanted, False)
        """Whether packets with our addresses may leave there, as last told."""
        self.on_found: list[Callable[[Link], None]] = []
        """Called when an interface appears, or appears again: its multicast groups are to join."""
        self.on_usable: list[Callable[[str, bool], None]] = []
        """Called behind each `LinkChanged`: the name, and whether it is usable."""
        self._deliver = deliver
        self._tell = tell
        self._settled = False
        self._stale = False
        """News was lost, and how things are could not be read."""
        self._sequence = 0
        self._present: set[str] = set()
        """Those that the last dump had."""
        self._trouble = dict.fromkeys(wanted, "")
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        roomy(self._socket)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)

    def open(self) -> None:
        """Reads how things are. `Failure`: an interface is not there."""
        self._socket.bind((0, _GROUPS))
        if why := self._read_all():
            raise Failure(f"the kernel does not tell of its interfaces: {why}")
        for link in self.links.values():
            if not link.index:
                raise Failure(
                    f"interface {link.name}: there is none; `ip -brief link` lists those there are"
                )

    def check(self) -> None:
        """`Failure` if an interface with carrier lacks an address of ours."""
        for link in self.links.values():
            if link.carrier and link.missing:
                raise Failure(
                    f"interface {link.name}: {link.trouble()}; add it with "
                    f"`ip address add {link.missing[0]}/64 dev {link.name}` or correct the member's"
                    " addresses"
                )

    @property
    def waiting(self) -> bool:
        """Duplicate address detection still runs somewhere."""
        return any(link.carrier and link.waiting for link in self.links.values())

    def index(self, name: str) -> int:
        """Of the kernel; 0: it is not there."""
        link = self.links.get(name)
        return link.index if link else 0

    def settle(self) -> None:
        """From now on changes are told; what is usable now, the engine may use from its start."""
        self._settled = True
        self.up = {link.name: link.usable for link in self.links.values()}

    def tell_down(self) -> None:
        """Delivers the links that are down at the start: the engine believes all to be up."""
        for link in self.links.values():
            if not self.up[link.name]:
                self._told(link)
                self._changed(link.name, False)

    def fileno(self) -> int:
        """For the loop."""
        return self._socket.fileno()

    def drain(self, limit: int) -> int:
        """Takes notifications in, as many as one read brings; then tells what is new."""
        try:
            data = self._socket.recv(_RECEIVE_OCTETS)
        except BlockingIOError:
            return 0
        except OSError:  # ENOBUFS: some were lost
            self._made_up_for()
        else:
            self._take_all(data)
            if self._stale:
                self._made_up_for()
        for link in self.links.values():
            self._say(link)
        return 0

    def close(self) -> None:
        """Gives the descriptor back."""
        self._socket.close()

    def _say(self, link: Link) -> None:
        """Why a link is of no use is told whenever it is another reason."""
        if not self._settled:
            return
        if link.trouble() != self._trouble[link.name]:
            self._told(link)
        if self.up[link.name] != link.usable:
            self.up[link.name] = link.usable
            self._changed(link.name, link.usable)

    def _changed(self, name: str, usable: bool) -> None:
        self._deliver(LinkChanged(name, usable))
        for call in self.on_usable:
            call(name, usable)

    def _told(self, link: Link) -> None:
        trouble = self._trouble[link.name] = link.trouble()
        level = Level.WARNING if trouble else Level.INFO
        self._tell(level, f"interface {link.name}: {trouble or 'usable'}")

    def _made_up_for(self) -> None:
        """News was lost: how things are is read anew; if that fails, with the next news again."""
        why = self._read_all()
        if why and not self._stale:
            self._tell(Level.ERROR, f"news of interfaces was lost and is not made up for: {why}")
        self._stale = bool(why)

    def _read_all(self) -> str:
        """Empty; or why it is not known how things are."""
        self._socket.setblocking(True)  # as long as `_PATIENCE`
        try:
            for _ in range(_TRIES):
                if self._dumped():
                    return ""
        except OSError as error:
            return error.strerror or str(error)
        finally:
            self._socket.setblocking(False)
        return "they change faster than they are read"

    def _dumped(self) -> bool:
        """Links, then addresses; what neither dump has is gone. Whether no news was lost meanwhile.
        Raises OSError."""
        self._present.clear()
        lost = self._dump(_GET_LINK, socket.AF_UNSPEC)
        for link in self.links.values():
            if link.name not in self._present:
                self._forget(link)
            link.addresses.clear()
        return not lost + self._dump(_GET_ADDRESS, socket.AF_INET6)

    def _dump(self, kind: int, family: int) -> int:
        """One dump, read to its end even if news is lost meanwhile: the kernel begins no other one
        before. How often news was lost. Raises OSError."""
        self._sequence += 1
        message = bytearray(request(kind, DUMP, _REQUEST.pack(family)))
        _SEQUENCE.pack_into(message, _SEQUENCE_AT, self._sequence)
        self._socket.send(message)
        done, lost = False, 0
        while not done:
            try:
                done = self._take_all(self._socket.recv(_RECEIVE_OCTETS))
            except OSError as error:
                lost += 1
                if error.errno != errno.ENOBUFS or lost > _LOSSES:
                    raise
        return lost

    def _take_all(self, data: bytes) -> bool:
        """The messages of one read; whether our dump ends with them. Raises OSError: it is refused.
        pyroute2 knows their fields; its sockets, which bring an event loop along, are not used."""
        done, at = False, 0
        for answer in split(data):
            message = data[at : at + len(answer.body) + HEADER.size]
            at += len(message) + -len(message) % 4
            dumped = answer.sequence == self._sequence
            if dumped and answer.kind == _ERROR:
                code = -_ERRNO.unpack_from(answer.body)[0]
                raise OSError(code, os.strerror(code))
            done |= dumped and answer.kind == _DONE
            if answer.kind in (_NEW_LINK, _DEL_LINK):
                found = _decoded(ifinfmsg, message)
                if dumped and answer.flags & _MULTI:  # no news, whose number is of who made it
                    self._present.add(found.get_attr("IFLA_IFNAME"))
                self._take_link(answer.kind == _NEW_LINK, found)
            elif answer.kind in (_NEW_ADDRESS, _DEL_ADDRESS):
                self._take_address(answer.kind == _NEW_ADDRESS, _decoded(ifaddrmsg, message))
        return done

    def _take_link(self, there: bool, found: Any) -> None:
        if found["family"] != socket.AF_UNSPEC:  # a bridge tells of its ports in the same words
            return
        link = self.links.get(found.get_attr("IFLA_IFNAME"))
        known = self.names.get(found["index"])
        if known and (not there or link is None or link.name != known):
            self._forget(self.links[known])
        if there and link is not None:
            new = link.index != found["index"]
            link.index = found["index"]
            self.names[link.index] = link.name
            link.carrier = found["flags"] & (_UP | _LOWER_UP) == _UP | _LOWER_UP
            if new:
                for call in self.on_found:
                    with contextlib.suppress(OSError):  # gone again: its removal comes next
                        call(link)

    def _forget(self, link: Link) -> None:
        """Removed, or renamed."""
        self._present.discard(link.name)
        self.names.pop(link.index, None)
        link.index, link.carrier = 0, False
        link.addresses.clear()

    def _take_address(self, there: bool, found: Any) -> None:
        name = self.names.get(found["index"])
        if name is None or found["family"] != socket.AF_INET6:
            return
        text = found.get_attr("IFA_LOCAL") or found.get_attr("IFA_ADDRESS")
        address, link = IPv6Address(text).packed, self.links[name]
        if address in link.wanted:
            link.addresses.pop(address, None)
            if there:
                flags = found.get_attr("IFA_FLAGS")
                link.addresses[address] = found["flags"] if flags is None else flags


def _decoded(kind: type[Any], message: bytes) -> Any:
    found = kind(message)
    found.decode()
    return found
