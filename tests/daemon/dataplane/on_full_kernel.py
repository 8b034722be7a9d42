"""The kernel backend on a kernel that has tunnels: run inside a virtual machine, prints JSON.

A correspondent's datagram reaches a mobile node behind an ordinary `ip6tnl`, and the answer comes
back, only while the home agent serves; who is not bound is dropped.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.daemon.dataplane.filling import PATIENCE_S, PLAN, many
from tests.daemon.network import entered, home_network, ip, until
from tests.daemon.site import CARE_OF, GROUP, HOME, VIRTUAL

from harp.daemon.clock import SystemClock
from harp.daemon.dataplane.kernel import KernelBackend, kernel_has_tunnels
from harp.daemon.dataplane.leftovers import made_by
from harp.engine.effects import PrepareRoute, RemoveRoute, SetServing

ON, OFF = SetServing(GROUP, True, VIRTUAL), SetServing(GROUP, False, VIRTUAL)
SWITCHES = 25
IPV6_RECVERR, IPV6_DONTFRAG = 25, 62
MN, CN = "2001:db8:1::beef", "2001:db8:1::c1"


def settle(plane: KernelBackend) -> float:
    """Seconds until all is in the kernel."""
    child = plane._child
    assert child is not None
    child.flush()
    begin = time.monotonic()

    def flushed() -> bool:
        plane.renew(SystemClock().now_us())
        return child.report.flushed == child.asked

    until(flushed, "in the kernel", PATIENCE_S)
    return time.monotonic() - begin


def udp(name: str, address: str) -> socket.socket:
    with entered(name):
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.bind((address, 9))
    sock.settimeout(3)
    return sock


def heard(sender: socket.socket, to: str, receiver: socket.socket, text: bytes) -> bool:
    """Whether a datagram arrives."""
    try:
        sender.sendto(text, (to, 9))
        return receiver.recv(2048) == text
    except OSError:
        return False


def told(sock: socket.socket) -> int:
    """The MTU that a socket was told of by ICMPv6; 0: none."""
    try:
        _, ancillary, _, _ = sock.recvmsg(2048, 512, socket.MSG_ERRQUEUE)
    except OSError:
        return 0
    found = dict((kind, data) for _, kind, data in ancillary)
    return int.from_bytes(found[IPV6_RECVERR][8:12], sys.byteorder)  # struct sock_extended_err


def mobile(name: str) -> None:
    """A mobile node as the kernel has it."""
    tunnel = ("mode", "ip6ip6", "local", "2001:db8:2::9", "remote", "2001:db8:1::1")
    ip("-n", name, "link", "add", "tun0", "type", "ip6tnl", *tunnel, "encaplimit", sys.argv[1])
    ip("-n", name, "link", "set", "tun0", "up")
    for address in (MN, "2001:db8:1::bad"):
        ip("-n", name, "addr", "add", f"{address}/128", "dev", "tun0", "nodad")
    ip("-n", name, "route", "add", "2001:db8:1::c1", "dev", "tun0")


def switch_ms(plane: KernelBackend) -> dict[str, float]:
    """Taking over and withdrawing: medians, and the quickest, which nobody held up."""
    took: dict[str, list[float]] = {"on": [], "off": []}
    for _ in range(SWITCHES):
        for name, serving in (("on", ON), ("off", OFF)):
            begin = time.perf_counter()
            plane.serve(serving)
            took[name].append((time.perf_counter() - begin) * 1000)
    medians = {name: statistics.median(each) for name, each in took.items()}
    return medians | {f"{name}_best": min(each) for name, each in took.items()}


def main() -> None:
    figures: dict[str, object] = {"kernel": os.uname().release}
    said: list[str] = []
    with home_network() as (ha, cn, mn):
        mobile(mn)
        ip("-n", cn, "route", "add", MN, "via", "2001:db8:1::a1")
        with entered(ha):
            figures["tunnels"] = kernel_has_tunnels()
            made = made_by(PLAN, Path(tempfile.mkdtemp()))
            plane = KernelBackend(PLAN, ("home", "away"), made, SystemClock(), said.append, list)
            plane.open()
        there, away = udp(cn, CN), udp(mn, MN)
        stranger = udp(mn, "2001:db8:1::bad")
        plane.prepare(PrepareRoute(GROUP, HOME, 0, CARE_OF))
        settle(plane)
        figures["standby"] = heard(there, MN, away, b"standby")
        plane.serve(ON)
        figures["to_mobile"] = heard(there, MN, away, b"to the mobile node")
        figures["from_mobile"] = heard(away, CN, there, b"from the mobile node")
        figures["stranger"] = heard(stranger, CN, there, b"from a stranger")
        figures["large"] = heard(there, MN, away, bytes(1412))
        with entered(ha):
            own = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        figures["own"] = heard(own, MN, away, b"from the home agent itself")
        # Somewhere behind the home agent the way becomes narrow; the correspondent is told.
        ip("-n", ha, "route", "add", "2001:db8:2::9", "dev", "away", "mtu", "1400")
        there.setsockopt(socket.IPPROTO_IPV6, IPV6_DONTFRAG, 1)
        there.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        figures["too_big_told"] = not heard(there, MN, away, bytes(1400)) and told(there) == 1360
        figures["narrow"] = heard(there, MN, away, bytes(1312))
        ip("-n", ha, "route", "del", "2001:db8:2::9", "dev", "away")
        plane.serve(OFF)
        figures["withdrawn"] = heard(there, MN, away, b"withdrawn")
        plane.serve(ON)
        plane.remove(RemoveRoute(GROUP, HOME, 0))
        settle(plane)
        figures["unbound"] = heard(away, CN, there, b"from one no longer bound")
        figures["to_unbound"] = heard(there, MN, away, b"to one no longer bound")
        plane.serve(OFF)
        for count in map(int, sys.argv[2:]):
            plane.prepare_many(many(count))
            seconds = settle(plane)
            report = plane.status()
            assert report.routes == count and not report.counters["failed"], report
            figures[f"switch_ms_{count}"] = switch_ms(plane)
            figures[f"prepare_s_{count}"] = round(seconds, 3)
        with entered(ha):
            plane.close()
        left = subprocess.check_output(("ip", "-n", ha, "-6", "rule"), text=True)
        figures["rule_left"] = "11407" in left
        for sock in (there, away, stranger, own):
            sock.close()
    figures["said"] = said
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
