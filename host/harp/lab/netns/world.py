"""The laboratory's network: built from `plan`, broken by faults, taken down whole.

Ref: ip-link(8), nft(8) family bridge; harp.md §5 (partition), §9

Faults act at the switch of the home link: `cut` takes a port down (the member loses its carrier, as
from a switch that lost power), `partition` and `lose` drop between two ports, so that nobody's
interface notices.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable
from ipaddress import IPv6Address
from itertools import permutations
from pathlib import Path
from types import TracebackType

from harp.cli.common import Failure
from harp.lab.netns import plan
from harp.lab.netns.namespaces import Namespaces, entered, ip, remove_leftovers

SWITCH, CORE, MN, CN = "switch", "core", "mn", "cn"
NODES = (SWITCH, CORE, MN, CN, *plan.MEMBERS)
BRIDGE = "br0"
BOARD_NETWORK, BOARD_HOST = "net", "host"
"""Interfaces of a member's board: toward the switch, toward the member."""
PROGRAMS = {"ip": "iproute2", "nft": "nftables", "setpriv": "util-linux", "unshare": "util-linux"}
"""What is run → Debian package that brings it."""
SYSCTLS = Path("/proc/sys")
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_QUIET = (
    "net.ipv6.conf.{}.accept_dad=0",  # addresses of a laboratory are unique: usable at once
    "net.ipv6.conf.{}.accept_ra=0",
    "net.ipv6.conf.{}.router_solicitations=0",
)
_RULES = """
table bridge lab {
  set blocked { type ifname . ifname; }
  chain forward {
    type filter hook forward priority 0;
    iifname . oifname @blocked drop
  }
}
"""


def _require_programs() -> None:
    """Failure names the packages to install."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        raise Failure(f"the laboratory needs more: sudo apt-get install {' '.join(missing)}")


def port_name(node: str) -> str:
    """The switch's port that leads to a node."""
    return f"p-{node}"


def board_of(member: str) -> str:
    """The node that is a member's board."""
    return f"{member}-board"


class World:
    """Namespaces, links, routes; a context manager that leaves nothing behind.

    `boards`: members with a board in their home link. The wire is cut until one runs there.
    """

    def __init__(self, boards: Iterable[str] = ()) -> None:
        self.boards = tuple(boards)
        """Members that have one."""
        self.namespaces = Namespaces((*NODES, *map(board_of, self.boards)))
        self._switch: socket.socket | None = None
        self._load: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> World:
        _require_programs()
        remove_leftovers()
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Removes all."""
        self.unload()
        if self._switch is not None:
            self._switch.close()
        self.namespaces.remove()

    def run(self, node: str, *command: str) -> subprocess.CompletedProcess[str]:
        """A command in a node, its output captured."""
        return subprocess.run(
            self.command(node, *command), capture_output=True, text=True, check=False
        )

    def command(self, node: str, *command: str) -> tuple[str, ...]:
        """What runs a command in a node; it dies with the laboratory (prctl(2) PDEATHSIG)."""
        name = self.namespaces.name(node)
        return ("ip", "netns", "exec", name, "setpriv", "--pdeathsig", "KILL", *command)

    def inside(self, node: str) -> str:
        """A node's namespace, for `namespaces.entered`."""
        return self.namespaces.name(node)

    # Building

    def _build(self) -> None:
        self.namespaces.make()
        self.batch(
            SWITCH,
            f"link add {BRIDGE} type bridge mcast_snooping 0 stp_state 0 forward_delay 0",
            f"link set {BRIDGE} up",
        )
        for member, port in plan.HOME_PORTS.items():
            if member in self.boards:
                self._through_board(member, port)
            else:
                self._to_switch(member, port)
        self._to_switch(CORE, plan.CORE_HOME)
        self._cable(CORE, plan.CORE_VISITED, MN, plan.MN_VISITED)
        self._cable(CORE, plan.CORE_CORRESPONDENT, CN, plan.CN_CORRESPONDENT)
        self._routes()
        self._nft(_RULES)
        with entered(self.inside(SWITCH)):
            self._switch = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def _to_switch(self, node: str, port: plan.Port) -> None:
        self._at_switch(node, node, f"{port.name} address {port.mac}")
        self._up(node, port, plan.HOME_PREFIX.prefixlen)

    def _at_switch(self, node: str, cable: str, interface: str) -> None:
        """A port of the switch, `cable` its name, and at its other end an interface of a node."""
        there, name = port_name(cable), self.inside(SWITCH)
        self.batch(node, f"link add {interface} type veth peer name {there} netns {name}")
        self.batch(SWITCH, f"link set {there} master {BRIDGE}", f"link set {there} up")

    def _through_board(self, member: str, port: plan.Port) -> None:
        """Two cables with the board between them; its own kernel says nothing on either."""
        board, name = board_of(member), self.inside(member)
        self._at_switch(board, member, BOARD_NETWORK)
        self.batch(
            board,
            f"link add {BOARD_HOST} type veth "
            f"peer name {port.name} address {port.mac} netns {name}",
        )
        for interface in (BOARD_NETWORK, BOARD_HOST):
            self._sysctl(board, f"net.ipv6.conf.{interface}.disable_ipv6=1")
            self.batch(board, f"link set {interface} up")
        self._up(member, port, plan.HOME_PREFIX.prefixlen)

    def _cable(self, near: str, near_port: plan.Port, far: str, far_port: plan.Port) -> None:
        self.batch(
            near,
            f"link add {near_port.name} address {near_port.mac} type veth "
            f"peer name {far_port.name} address {far_port.mac} netns {self.inside(far)}",
        )
        self._up(near, near_port, 64)
        self._up(far, far_port, 64)

    def _up(self, node: str, port: plan.Port, length: int) -> None:
        settings = [line.format(port.name) for line in _QUIET]
        self._sysctl(node, *settings, "net.ipv6.icmp.ratelimit=0")
        self.batch(
            node,
            "link set lo up",
            f"addr add {port.address}/{length} dev {port.name} nodad",
            f"link set {port.name} up",
        )

    def _routes(self) -> None:
        for member in plan.MEMBERS:
            self._sysctl(member, "net.ipv6.conf.all.forwarding=1")
            self.batch(member, f"route add default via {plan.CORE_HOME.address}")
        self._sysctl(CORE, "net.ipv6.conf.all.forwarding=1")
        self.batch(
            CORE,
            f"route add {plan.CARE_OF_POOL} via {plan.MN_VISITED.address}",
            f"neigh add {plan.MN_VISITED.address} lladdr {plan.MN_VISITED.mac} dev {plan.VISITED}",
        )
        self.batch(CN, f"route add default via {plan.CORE_CORRESPONDENT.address}")
        self.batch(MN, f"route add default via {plan.CORE_VISITED.address} metric 2048")

    def batch(self, node: str, *lines: str) -> None:
        """Commands of ip(8) in a node, in one go."""
        ip("-n", self.inside(node), "-batch", "-", stdin="\n".join(lines) + "\n")

    def _sysctl(self, node: str, *settings: str) -> None:
        """Each `name=value`, as sysctl(8) takes them."""
        with entered(self.inside(node)):
            for setting in settings:
                name, _, value = setting.partition("=")
                SYSCTLS.joinpath(*name.split(".")).write_text(value, "utf-8")

    def _nft(self, text: str) -> None:
        done = subprocess.run(
            self.command(SWITCH, "nft", "-f", "-"),
            input=text, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise Failure(f"nft: {' '.join(done.stderr.split())}; the laboratory needs nftables")

    # Faults

    def cut(self, member: str) -> None:
        """A member's cable is pulled at the switch; takes effect in microseconds."""
        self._set_port(member, up=False)

    def mend(self, member: str) -> None:
        """The cable is back."""
        self._set_port(member, up=True)

    def _set_port(self, node: str, *, up: bool) -> None:
        assert self._switch is not None
        name = port_name(node).encode()
        request = fcntl.ioctl(self._switch, _SIOCGIFFLAGS, struct.pack("16sH14x", name, 0))
        flags = struct.unpack("16sH14x", request)[1]
        wanted = flags | _IFF_UP if up else flags & ~_IFF_UP
        fcntl.ioctl(self._switch, _SIOCSIFFLAGS, struct.pack("16sH14x", name, wanted))

    def partition(self, *sides: Iterable[str]) -> None:
        """Nodes of different sides of the home link do not hear each other any more."""
        ports = [[port_name(node) for node in side] for side in sides]
        pairs = [
            f'"{a}" . "{b}"' for one, other in permutations(ports, 2) for a in one for b in other
        ]
        self._nft(f"add element bridge lab blocked {{ {', '.join(pairs)} }}\n")

    def heal(self) -> None:
        """No partition and no loss any more."""
        self._nft("delete table bridge lab\n" + _RULES)

    def lose(self, source: str, destination: str, percent: int) -> None:
        """Loses packets one way between two nodes of the home link: at random, or (100) all."""
        some = f"numgen random mod 100 < {percent}" if percent < 100 else ""
        self._nft(
            f'add rule bridge lab forward iifname "{port_name(source)}" '
            f'oifname "{port_name(destination)}" {some} drop\n'
        )

    def load(self) -> None:
        """One busy process a core, at ordinary priority, until `unload`."""
        for _ in range(os.cpu_count() or 1):
            command = ("setpriv", "--pdeathsig", "KILL", sys.executable, "-c", "while True: pass")
            self._load.append(subprocess.Popen(command))

    def unload(self) -> None:
        """Ends the busy processes."""
        for process in self._load:
            process.kill()
            process.wait()
        self._load.clear()

    def has_address(self, node: str, address: IPv6Address) -> bool:
        """Whether a node's kernel has an address."""
        shown = self.run(node, "ip", "-6", "-o", "addr", "show", "to", f"{address}/128")
        return bool(shown.stdout.strip())
