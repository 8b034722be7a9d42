"""Network namespaces for tests: made with names of their own, gone afterwards."""

from __future__ import annotations

import itertools
import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from harp.lab.netns.namespaces import entered, ip

_numbers = itertools.count()
_LOOK_MS = 1
_MS_PER_S = 1000

__all__ = ["entered", "home_network", "ip", "namespace", "until"]


@contextmanager
def namespace(label: str) -> Iterator[str]:
    """A namespace with `lo` up; its name."""
    name = f"harptest{os.getpid()}-{next(_numbers)}-{label}"
    ip("netns", "add", name)
    try:
        # Link-local addresses are usable at once, not after a second.
        for which in ("all", "default"):
            ip("netns", "exec", name, "sysctl", "-qw", f"net.ipv6.conf.{which}.accept_dad=0")
        ip("-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        ip("netns", "del", name)


def wire(here: str, here_link: str, there: str, there_link: str) -> None:
    """A veth pair between two namespaces, both ends up."""
    end = ("name", there_link, "netns", there)
    ip("-n", here, "link", "add", here_link, "type", "veth", "peer", *end)
    for name, link in ((here, here_link), (there, there_link)):
        ip("-n", name, "link", "set", link, "up")


@contextmanager
def home_network() -> Iterator[tuple[str, str, str]]:
    """A home agent between a correspondent on the home link and a mobile node away.

    (ha, cn, mn). Home link `home`: 2001:db8:1::/64, ha ::a1, cn ::c1; beyond `away`:
    2001:db8:2::/64, ha ::a1, mn ::9. The correspondent asks its neighbors for home addresses.
    """
    with ExitStack() as stack:
        ha, cn, mn = (stack.enter_context(namespace(label)) for label in ("ha", "cn", "mn"))
        wire(ha, "home", cn, "eth0")
        wire(ha, "away", mn, "eth0")
        for name, link, address in (
            (ha, "home", "2001:db8:1::a1/64"),
            (ha, "away", "2001:db8:2::a1/64"),
            (cn, "eth0", "2001:db8:1::c1/64"),
            (mn, "eth0", "2001:db8:2::9/64"),
        ):
            ip("-n", name, "addr", "add", address, "dev", link, "nodad")
        ip("netns", "exec", ha, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        ip("-n", mn, "route", "add", "default", "via", "2001:db8:2::a1")
        yield ha, cn, mn


def until(
    ready: Callable[[], object], what: str, within_s: float = 20.0, news: int | None = None
) -> None:
    """Waits for a condition. `news`: a descriptor that is readable whenever it may have come true;
    without one, what other processes and namespaces do is looked at a thousand times a second."""
    end = time.monotonic() + within_s
    waiting = select.poll()
    if news is not None:
        waiting.register(news, select.POLLIN)
    while not ready():
        left = end - time.monotonic()
        assert left > 0, f"not within {within_s} s: {what}"
        waiting.poll(_LOOK_MS if news is None else left * _MS_PER_S)
