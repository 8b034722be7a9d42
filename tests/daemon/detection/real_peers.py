"""Runs in a network and mount namespace of its own: real bfdd or keepalived, a peer behind a veth.

`python real_peers.py bfd|vrrp`: the peer is up, its daemon is killed, then our own ends. Prints one
JSON line per engine event or line for people, with the time since the kill.
"""

from __future__ import annotations

import asyncio
import json
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harp.daemon.detection.inputs import BfdInput, VrrpInput
from harp.daemon.detection.listen import Listeners
from harp.engine.events import Event

US, PEER = "2001:db8::1", "2001:db8::2"
PEER_OCTETS = bytes.fromhex("20010db8000000000000000000000002")
FRR = "/usr/lib/frr"
DEADLINE_S = 20.0
NEGOTIATION_S = 1.5
"""RFC 5880 §6.8.3: a session comes up at one packet a second; the shorter interval counts when a
Poll Sequence has ended, which takes a packet each way. A VRRP router settles in that time."""


def run(command: str) -> None:
    subprocess.run(command.split(), check=True)


@contextmanager
def started(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block; its output is an open question only when it fails."""
    with Path(f"{Path(command[-1]).name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(5)


def wait_until(happened: Callable[[], bool]) -> None:
    """Another process has no event to wait for here; bounded by the alarm of the whole run."""
    while not happened():
        select.select([], [], [], 0.01)


def prepare(stack: ExitStack) -> list[str]:
    """A veth to a second namespace; gives the words that run a command there."""
    run("mount -t tmpfs none /run")
    Path("/run/frr").mkdir()
    run("ip link set lo up")
    run("ip link add home type veth peer name far")
    holder = stack.enter_context(started("unshare", "-n", "sleep", "60"))
    theirs = Path(f"/proc/{holder.pid}/ns/net")
    wait_until(lambda: theirs.readlink() != Path("/proc/self/ns/net").readlink())
    there = ["nsenter", "-t", str(holder.pid), "-n"]
    run(f"ip link set far netns {holder.pid}")
    run(f"{' '.join(there)} ip link set lo up")
    for words, address, interface in (("", US, "home"), (" ".join(there), PEER, "far")):
        run(f"{words} ip address add {address}/64 dev {interface} nodad")
        run(f"{words} ip link set {interface} up")
    return there


Daemons = list[subprocess.Popen[bytes]]


def start_bfd(stack: ExitStack, here: Path, there: list[str]) -> tuple[BfdInput, Daemons]:
    """Zebra and bfdd on both sides, 50 ms x 3."""
    daemons: Daemons = []
    for words, name, local, remote, interface in (
        ([], "us", US, PEER, "home"),
        (there, "peer", PEER, US, "far"),
    ):
        place = here / name
        place.mkdir()
        (place / "zebra.conf").touch()
        (place / "bfdd.conf").write_text(
            f"bfd\n peer {remote} local-address {local} interface {interface}\n"
            "  receive-interval 50\n  transmit-interval 50\n exit\nexit\n"
        )
        run(f"chown -R frr {place}")
        common = ["-z", f"{place}/zserv.api", "--vty_socket", f"{place}", "-P", "0"]
        for daemon, extra in (("zebra", []), ("bfdd", ["--bfdctl", f"{place}/bfdd.sock"])):
            files = ["-i", f"{place}/{daemon}.pid", "-f", f"{place}/{daemon}.conf"]
            command = [*words, f"{FRR}/{daemon}", *common, *extra, *files]
            daemons.append(stack.enter_context(started(*command)))
            wait_until((place / "zserv.api").exists)
    source = BfdInput(7, "home", frozenset((PEER_OCTETS,)), here / "us" / "bfdd.sock")
    return source, [daemons[1], daemons[3]]


def start_vrrp(stack: ExitStack, here: Path, there: list[str]) -> tuple[VrrpInput, Daemons]:
    """Keepalived on both sides, 50 ms; the peer has the higher priority."""
    daemons: Daemons = []
    for words, name, interface, priority, local, remote in (
        ([], "us", "home", 100, US, PEER),
        (there, "peer", "far", 200, PEER, US),
    ):
        file = here / f"{name}.conf"
        notify = f"vrrp_notify_fifo {here}/vrrp.fifo" if name == "us" else ""
        file.write_text(
            f"global_defs {{\n {notify}\n vrrp_version 3\n}}\n"
            f"vrrp_instance to-peer {{\n state BACKUP\n interface {interface}\n"
            f" virtual_router_id 7\n priority {priority}\n advert_int 0.05\n"
            f" unicast_src_ip {local}\n unicast_peer {{\n  {remote}\n }}\n"
            " virtual_ipaddress {\n  fe80::7\n }\n}\n"
        )
        pids = ["-p", f"{here}/{name}.pid", "-r", f"{here}/{name}.vrrp.pid"]
        command = [*words, "keepalived", "-n", "-l", "-P", *pids, "-f", f"{file}"]
        daemons.append(stack.enter_context(started(*command)))
    return VrrpInput(7, "home", PEER_OCTETS, "to-peer", here / "vrrp.fifo"), daemons


def print_line(since: float | None, **what: object) -> None:
    after_ms = None if since is None else round(1000 * (time.monotonic() - since), 1)
    print(json.dumps({"after_ms": after_ms, **what}), flush=True)


async def watch(source: BfdInput | VrrpInput, daemons: Daemons) -> None:
    """Up; the peer's daemon is killed; our own ends."""
    killed: float | None = None
    heard: asyncio.Queue[str] = asyncio.Queue()

    def deliver(event: Event) -> None:
        name = getattr(getattr(event, "state", None), "value", type(event).__name__)
        print_line(killed, event=name)
        heard.put_nowait(name)

    async def until(name: str) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while await heard.get() != name:
                pass

    ours, theirs = daemons
    listeners = Listeners(
        [source], deliver, lambda line: print_line(killed, line=line), retry_s=0.1
    )
    listeners.open()
    await until("up")
    await asyncio.sleep(NEGOTIATION_S)
    while not heard.empty():
        heard.get_nowait()
    theirs.kill()
    killed = time.monotonic()
    await until("down")
    ours.terminate()
    await until("DetectorLost")
    await listeners.close()


def main(kind: str) -> None:
    here = Path.cwd()
    with ExitStack() as stack:
        start = start_bfd if kind == "bfd" else start_vrrp
        asyncio.run(watch(*start(stack, here, prepare(stack))))


if __name__ == "__main__":
    signal.alarm(60)
    main(sys.argv[1])
