"""The laboratory on a kernel that has tunnels, ESP and MIP6: run inside a virtual machine.

Prints JSON.

Three home agents with the kernel data plane, HARP between them in ESP whose states strongSwan makes
with what `harpctl ipsec-config` printed, a mobile node that registers with the Home Address option:
a correspondent reaches it through the tunnel before the active is killed, and through the other
member's tunnel after it. A goodbye that somebody on the link says for the active in plaintext is
refused by the kernels.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from click.testing import CliRunner
from tests.lab.netns.strongswan import Charon

from harp.cli.common import Failure
from harp.cli.ipsec import ipsec_config
from harp.lab.netns import control, lab, member, packets, plan
from harp.lab.netns.lab import Lab, home_of
from harp.lab.netns.namespaces import entered
from harp.lab.netns.pause import pause
from harp.lab.netns.timeline import Timeline
from harp.lab.netns.world import CN, SWITCH, port_name
from harp.tables.harp_types import HarpType
from harp.tables.ipv6 import ETHERTYPE_IPV6
from harp.tables.mh import NEXT_HEADER
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import Harp

PATIENCE_S = 600.0
"""Three interpreters on an emulated processor."""
SETTINGS = member.Settings(hello_ms=1000, multiplier=5, data_plane="kernel", ipsec=True)
"""A start of one holds the others up for seconds."""
HELLO_HOPS = 255
ALL_PROTOCOLS = 3
"""ETH_P_ALL (packet(7)): who asks for one alone sees nothing of what a bridge hands on."""
SEQUENCES = range(1, 1 << 16, 1 << 14)
"""Of forged messages: one is newer than whatever came last (harp.md §3)."""


def until(ready: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not ready():
        if time.monotonic() > end:
            raise Failure(f"not within {PATIENCE_S:.0f} s: {what}")
        pause(0.2)


def printed(there: Lab, name: str) -> str:
    """The strongSwan configuration of a member, as `harpctl ipsec-config` prints it."""
    one = there.members[name]
    one.configure(one.settings)
    return CliRunner().invoke(ipsec_config, ["-c", str(one._file)]).output


def protect(there: Lab, stack: ExitStack) -> dict[str, Charon]:
    """Starts strongSwan on all members, with its policies in the kernel."""
    found = {}
    for name in plan.MEMBERS:
        charon = Charon(there.world, name, there.members[name].directory)
        found[name] = stack.enter_context(charon)
        charon.load(printed(there, name))
    return found


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
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ALL_PROTOCOLS))
    with tap:
        tap.settimeout(1)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                packet, sender = tap.recvfrom(2048)
            except TimeoutError:
                continue
            if sender[1] != ETHERTYPE_IPV6:
                continue
            multicast = packet[24] == 0xFF
            if packet[8:24] in members and (packet[24:40] in members or multicast):
                kind = {50: "esp", 135: "plaintext"}.get(packet[6], "other")
                found[kind] = found.get(kind, 0) + 1
    return found


def forge_goodbyes(there: Lab, active: str) -> int:
    """Says goodbye for the active to the others, in plaintext, at their cables; how many."""
    source = plan.HOME_PORTS[active].address.packed
    others = [name for name in there.running() if name != active]
    for name in others:
        port = plan.HOME_PORTS[name]
        with entered(there.world.inside(SWITCH)):
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
        to = (port_name(name), ETHERTYPE_IPV6, 0, 0, plan.mac_octets(port))
        with sock:
            for sequence in SEQUENCES:
                message = Harp(HarpType.HELLO, plan.GROUP, sequence)
                mh = DEFAULT_CODEC.build(source, port.address.packed, message)
                packet = packets.ipv6(source, port.address.packed, NEXT_HEADER, mh, HELLO_HOPS)
                sock.sendto(packet, to)
    return len(others) * len(SEQUENCES)


def refused_by_kernels(there: Lab) -> int:
    """Packets that no kernel took because they were not in the ESP that its policy wants."""
    stats = (there.world.run(name, "cat", "/proc/net/xfrm_stat") for name in there.running())
    fields = (line.split() for one in stats for line in one.stdout.splitlines())
    return sum(int(value) for name, value in fields if name == "XfrmInTmplMismatch")


def main() -> None:
    """The scene."""
    # Bytecode is there already; to compile all modules anew takes an emulated processor minutes.
    member._environment = lambda _: os.environ | {"PYTHONUNBUFFERED": "1"}
    # The nft that one harpd waits for must not wait for the imports of another.
    member.may_be_real_time = lambda: False
    lab.SETTLE_S = member.START_S = member.STOP_S = control.PATIENCE_S = PATIENCE_S
    figures: dict[str, Any] = {}
    timeline = Timeline(lambda line: print(line, file=sys.stderr))
    with Lab(SETTINGS, timeline) as there, ExitStack() as stack:
        said = refused(there)
        figures["refused"] = [
            "no inbound policy for protocol 135 from" in said,
            printed(there, "ha1") in said + "\n",
            "Traceback" not in said,
        ]
        if not all(figures["refused"]):
            raise Failure(f"plaintext: {figures['refused']}: {said}")
        there.members["ha1"].end()
        earlier = {name: len(one.said()) for name, one in there.members.items()}
        charons = protect(there, stack)
        for name in plan.MEMBERS:  # one after the other: it is one processor
            there.start(name)
        active = settled(there)
        figures["associations"] = [each.associations() for each in charons.values()]
        before = refused_by_kernels(there)
        forged = forge_goodbyes(there, active)
        until(lambda: refused_by_kernels(there) >= before + forged, "the kernels count plaintext")
        figures["wire"] = on_the_wire(there)
        figures["unmoved"] = settled(there) == active
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
        figures["wire_after"] = on_the_wire(there)
        until(lambda: reaches(there), "the mobile node after the takeover")
        figures["after_s"] = round(time.monotonic() - begin, 1)
        figures["faults"] = [
            line
            for name in plan.MEMBERS
            for line in there.members[name].said()[earlier[name] :]
            if "Traceback" in line or " ERROR " in line
        ]
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
