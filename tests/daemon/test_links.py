"""Interfaces that come, go and change while somebody watches."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from tests.daemon.network import entered, ip, namespace, until
from tests.daemon.site import OWN

from harp.cli.common import Failure
from harp.daemon.links import Link, Links
from harp.engine.events import Event, LinkChanged

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


class Site:
    """A namespace with an interface `d0`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.events: list[Event] = []
        self.said: list[str] = []
        self.found: list[int] = []
        with entered(name):
            self.links = Links(
                {"d0": frozenset((OWN,))},
                self.events.append,
                lambda _, text: self.said.append(text),
            )
        self.links.on_found.append(self._on_found)
        self.usable: list[tuple[str, bool]] = []
        self.links.on_usable.append(lambda name, up: self.usable.append((name, up)))

    def _on_found(self, link: Link) -> None:
        self.found.append(link.index)

    def ip(self, *words: str) -> None:
        """In the namespace."""
        ip("-n", self.name, *words)

    def drained_until(self, said: str) -> None:
        """Until it is told of the interface."""

        def told() -> bool:
            self.links.drain(1)
            return self.said[-1:] == [f"interface d0: {said}"]

        until(told, said, news=self.links.fileno())


@pytest.fixture
def site() -> Iterator[Site]:
    with namespace("links") as name:
        found = Site(name)
        found.ip("link", "add", "d0", "type", "veth", "peer", "name", "e0")
        found.ip("link", "set", "e0", "up")
        try:
            yield found
        finally:
            found.links.close()


def _add_address(site: Site) -> None:
    site.ip("addr", "add", "2001:db8:1::a1/64", "dev", "d0", "nodad")


def test_a_missing_interface_is_one_line(site: Site) -> None:
    site.ip("link", "del", "d0")
    with pytest.raises(Failure, match=r"^interface d0: there is none; "):
        site.links.open()


def test_a_missing_address_is_one_line(site: Site) -> None:
    site.ip("link", "set", "d0", "up")
    site.links.open()
    with pytest.raises(Failure, match=r"ip address add 2001:db8:1::a1/64 dev d0"):
        site.links.check()


def test_down_at_the_start_is_told_and_no_failure(site: Site) -> None:
    site.links.open()
    site.links.check()
    site.links.settle()
    site.links.tell_down()
    assert site.events == [LinkChanged("d0", False)]
    assert site.usable == [("d0", False)]
    assert site.said == ["interface d0: down or without carrier"]


def test_changes_are_told_once_each_and_with_their_reason(site: Site) -> None:
    site.ip("link", "set", "d0", "up")
    _add_address(site)
    site.links.open()
    site.links.settle()
    site.links.tell_down()
    assert site.links.up == {"d0": True}
    site.ip("link", "set", "d0", "down")
    site.drained_until("down or without carrier")
    site.ip("link", "set", "d0", "up")
    _add_address(site)  # a link that goes down loses its addresses (without keep_addr_on_down)
    site.drained_until("usable")
    site.ip("addr", "del", "2001:db8:1::a1/64", "dev", "d0")
    site.drained_until("2001:db8:1::a1 is not there")
    assert site.events == [LinkChanged("d0", up) for up in (False, True, False)]
    assert site.usable == [("d0", up) for up in (False, True, False)]


def test_an_interface_that_comes_back_has_another_number(site: Site) -> None:
    site.ip("link", "set", "d0", "up")
    _add_address(site)
    site.links.open()
    site.links.settle()
    before = site.links.index("d0")
    site.ip("link", "del", "d0")
    site.drained_until("there is no such interface")
    assert (site.links.index("d0"), site.links.names) == (0, {})
    site.ip(
        *("link", "add", "d0", "index", str(before + 100)),
        *("type", "veth", "peer", "name", "e0"),
    )
    site.ip("link", "set", "e0", "up")
    site.ip("link", "set", "d0", "up")
    _add_address(site)
    site.drained_until("usable")
    assert site.links.names == {before + 100: "d0"}
    assert site.found == [before, before + 100]


def test_a_renamed_interface_is_gone(site: Site) -> None:
    site.ip("link", "set", "d0", "up")
    _add_address(site)
    site.links.open()
    site.links.settle()
    site.ip("link", "set", "d0", "down")
    site.ip("link", "set", "d0", "name", "d1")
    site.drained_until("there is no such interface")
    assert site.links.index("d0") == 0


def test_an_address_that_another_node_has_is_not_used(site: Site) -> None:
    site.links.open()
    link = site.links.links["d0"]
    link.carrier, link.addresses = True, {OWN: 0x08 | 0x40}  # dadfailed, tentative
    assert not link.usable
    assert link.trouble() == "2001:db8:1::a1 is used by another node too"
    link.addresses = {OWN: 0x40}
    assert link.waiting and link.trouble() == "duplicate address detection still runs"
    link.addresses = {OWN: 0x40 | 0x04}  # optimistic (RFC 4429)
    assert link.usable


def _overflown(site: Site) -> None:
    """Usable, then more news than the least buffer holds: what comes after it is lost."""
    site.ip("link", "set", "d0", "up")
    _add_address(site)
    site.links.open()
    site.links.settle()
    with socket.socket(fileno=os.dup(site.links.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    for number in range(20):
        site.ip("link", "set", "d0", "alias", f"name {number}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("link", "set", "d0", "down"), "down or without carrier"),
        (("link", "del", "d0"), "there is no such interface"),
        (("addr", "del", "2001:db8:1::a1/64", "dev", "d0"), "2001:db8:1::a1 is not there"),
    ],
)
def test_lost_notifications_are_made_up_for(site: Site, words: tuple[str, ...], said: str) -> None:
    _overflown(site)
    found = list(site.found)
    site.ip(*words)
    site.drained_until(said)
    assert site.found == found  # none of them is another one than before


class Losing:
    """A socket whose reads fail as often as written."""

    def __init__(self, real: socket.socket, failures: list[int]) -> None:
        self.real, self.failures = real, failures

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def recv(self, octets: int) -> bytes:
        """A failure, or what is there."""
        if self.failures:
            code = self.failures.pop(0)
            raise OSError(code, os.strerror(code))
        return self.real.recv(octets)


def test_more_that_is_lost_meanwhile_ends_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.ip("link", "set", "d0", "up")
    _add_address(site)
    site.links.open()
    site.links.settle()
    losing = Losing(site.links._socket, [errno.ENOBUFS] * 3)
    monkeypatch.setattr(site.links, "_socket", losing)
    site.ip("link", "del", "d0")
    site.links.drain(1)
    assert losing.failures == []
    assert site.said == ["interface d0: there is no such interface"]


def test_a_kernel_that_does_not_answer_is_asked_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.ip("link", "set", "d0", "up")
    _add_address(site)
    site.links.open()
    site.links.settle()
    losing = Losing(site.links._socket, [errno.ENOBUFS, errno.EAGAIN])
    monkeypatch.setattr(site.links, "_socket", losing)
    site.links.drain(1)
    assert site.said[0].startswith("news of interfaces was lost and is not made up for: ")
    assert site.events == []
    site.ip("link", "del", "d0")
    site.drained_until("there is no such interface")
    assert len(site.said) == 2
