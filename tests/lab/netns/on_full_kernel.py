"""The laboratory on a kernel that has tunnels, ESP and MIP6: run inside a virtual machine.

Prints JSON.

Three home agents with the kernel data plane, HARP between them in ESP with static keys, a mobile
node that registers with the Home Address option: a correspondent reaches it through the tunnel
before the active is killed, and through the other member's tunnel after it.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import sys
import time
from collections.abc import Callable

from harp.cli.common import Failure
from harp.lab.netns import control, lab, member, plan
from harp.lab.netns.lab import Lab, home_of
from harp.lab.netns.namespaces import entered
from harp.lab.netns.pause import pause
from harp.lab.netns.timeline import Timeline
from harp.lab.netns.world import CN, SWITCH
from harp.tables.ipv6 import ETHERTYPE_IPV6

PATIENCE_S = 600.0
"""Three interpreters on an emulated processor."""
SETTINGS = member.Settings(hello_ms=500, multiplier=4, data_plane="kernel", ipsec=True)
PAIRS = list(itertools.permutations(plan.MEMBERS, 2))
KEY = 'auth-trunc "hmac(sha256)" 0x{:064x} 128 enc "ecb(cipher_null)" ""'


def until(ready: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not ready():
        if time.monotonic() > end:
            raise Failure(f"not within {PATIENCE_S:.0f} s: {what}")
        pause(0.2)


def protect(there: Lab) -> None:
    """States and required policies for all pairs."""
    for name in plan.MEMBERS:
        lines = []
        for number, (source, destination) in enumerate(PAIRS, 0x1000):
            way = f"src {_address(source)} dst {_address(destination)}"
            if name in (source, destination):
                lines.append(
                    f"xfrm state add {way} proto esp spi {number:#x} mode transport "
                    f"{KEY.format(number)}"
                )
                lines.append(
                    f"xfrm policy add {way} proto 135 dir {'out' if name == source else 'in'} "
                    "tmpl proto esp mode transport level required"
                )
        there.world.batch(name, *lines)


def _address(name: str) -> str:
    return str(plan.HOME_PORTS[name].address)


def refused(there: Lab) -> str:
    """What harpd says where the kernel would take HARP in plaintext."""
    first = there.members["ha1"]
    first.start()
    try:
        first.wait_ready()
    except Failure:
        return "\n".join(first.said())
    return "it started"


def roles(there: Lab) -> dict[str, str]:
    """Of those that run; `+`: synchronised."""
    found = {}
    for name in there.running():
        with there.control(name) as asked:
            status = asked.status()
        found[name] = status["role"] + ("+" if status["synchronised"] else "")
    return found


def settled(there: Lab) -> str:
    """Waits for one active and synchronised standbys; who is active."""

    def ready() -> bool:
        seen = list(roles(there).values())
        return seen.count("ACTIVE+") == 1 and seen.count("STANDBY+") == len(seen) - 1

    until(ready, "one active, the others synchronised")
    return next(name for name, role in roles(there).items() if role == "ACTIVE+")


def reaches(there: Lab) -> bool:
    """The correspondent the mobile node, at its home address."""
    ping = ("ping", "-c", "1", "-W", "2", str(home_of()))
    return there.world.run(CN, *ping).returncode == 0


def on_the_wire(there: Lab, seconds: float = 5.0) -> dict[str, int]:
    """Packets between members on the home link, by next header."""
    members = {port.address.packed for port in plan.HOME_PORTS.values()}
    found: dict[str, int] = {}
    with entered(there.world.inside(SWITCH)):
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETHERTYPE_IPV6))
    with tap:
        tap.settimeout(1)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                packet = tap.recv(2048)
            except TimeoutError:
                continue
            multicast = packet[24] == 0xFF
            if packet[8:24] in members and (packet[24:40] in members or multicast):
                kind = {50: "esp", 135: "plaintext"}.get(packet[6], "other")
                found[kind] = found.get(kind, 0) + 1
    return found


def main() -> None:
    """The scene."""
    # Bytecode is there already; to compile all modules anew takes an emulated processor minutes.
    member._environment = lambda _: os.environ | {"PYTHONUNBUFFERED": "1"}
    # The nft that one harpd waits for must not wait for the imports of another.
    member.may_be_real_time = lambda: False
    lab.SETTLE_S = member.START_S = member.STOP_S = control.PATIENCE_S = PATIENCE_S
    figures: dict[str, object] = {}
    with Lab(SETTINGS, Timeline(lambda line: print(line, file=sys.stderr))) as there:
        said = refused(there)
        figures["refused"] = [
            "no inbound policy for protocol 135 from" in said,
            "connections {" in said and "mode = transport" in said,
            "Traceback" not in said,
        ]
        there.members["ha1"].end()
        protect(there)
        for name in plan.MEMBERS:  # one after the other: it is one processor
            there.start(name)
        active = settled(there)
        figures["wire"] = on_the_wire(there)
        figures["plane"] = "the kernel forwards" in "\n".join(there.members[active].said())
        figures["unbound"] = reaches(there)
        station = there.walk()
        until(lambda: station.node.bound, "a binding")
        until(lambda: reaches(there), "the mobile node before the takeover")
        figures["before"] = True
        there.kill(active)
        begin = time.monotonic()
        there.members[active].ended()
        new = settled(there)
        figures["another"] = new != active
        until(lambda: reaches(there), "the mobile node after the takeover")
        figures["after_s"] = round(time.monotonic() - begin, 1)
        figures["faults"] = [
            line
            for name in plan.MEMBERS
            for line in there.members[name].said()
            if "Traceback" in line or "refused" in line
        ]
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
