"""Faults that an operator meets, with harpd as the process that a router runs.

Each: one clear message, no traceback, and it goes on where that makes sense. Others stand in
`test_harpd.py`: a full disk, a missing interface, one that is removed and comes back.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.daemon.network import ip, namespace, until
from tests.daemon.test_harpd import VIRTUAL, Member, Site, _assert_nothing_left, _up

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
OWN = "2001:db8:1::a1"
STEP_S = 8
"""More than the ±5 s within which a timestamp is believed (harp.md §7)."""

STEPS = """
import os, signal, time
from harp.cli.harpd import main
from harp.daemon import main as daemon

real, offset, pipe = time.time_ns, [0], os.pipe()
time.time_ns = lambda: real() + offset[0]

class Watch:
    def fileno(self): return pipe[0]
    def acknowledge(self): os.read(pipe[0], 1)
    def close(self): pass

def step(number, _):
    offset[0] += (1 if number == signal.SIGUSR1 else -1) * STEP_NS
    os.write(pipe[1], b"!")

daemon.StepWatch = Watch
for number in (signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, step)
main()
""".replace("STEP_NS", str(STEP_S * 10**9))
"""harpd whose wall clock SIGUSR1 sets forward and SIGUSR2 back: a step of the machine's own would
be everybody's."""


INTERRUPTED = """
import os, signal, sys
from importlib.abc import MetaPathFinder
from harp.cli.harpd import main

class Count(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        global MODULES
        MODULES -= 1
        if not MODULES:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Count())
main()
"""
"""harpd that is interrupted when it loads its n-th module."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(stack, tmp_path)


def host(stack: ExitStack, site: Site, label: str) -> str:
    """Another host on the home link, which detects duplicates as hosts do."""
    name = stack.enter_context(namespace(label))
    end = ("name", "eth0", "netns", name)
    ip("-n", site.bridge, "link", "add", label, "type", "veth", "peer", *end)
    ip("-n", site.bridge, "link", "set", label, "master", "br0", "up")
    for setting in ("all.accept_dad=1", "eth0.accept_dad=1", "eth0.ndisc_notify=1"):
        ip("netns", "exec", name, "sysctl", "-qw", f"net.ipv6.conf.{setting}")
    ip("-n", name, "link", "set", "eth0", "up")
    return name


def shown(netns: str, address: str) -> str:
    command = ("ip", "-n", netns, "-6", "-o", "addr", "show", "to", address)
    return subprocess.check_output(command, text=True)


def without(member: Member, capability: str) -> str:
    """The one line that harpd says without a capability."""
    command = ("setpriv", f"--bounding-set=-{capability}", *member.command())
    done = subprocess.run(
        ("ip", "netns", "exec", member.netns, *command),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    said = [line for line in lines if line.startswith("harpd: ")]
    assert len(said) == 1, lines
    return said[0]


def test_ctrl_c_at_a_terminal(site: Site) -> None:
    """It goes to all of harpd's processes at once: none of them ends before its work."""
    member, other = site.members[:2]
    member.start()
    until(member.has_virtual, "it serves")
    other.start()
    until(lambda: _up(other) == ["ha1"], "the other hears it")
    assert member.process is not None
    os.killpg(member.process.pid, signal.SIGINT)
    assert member.ended() == 0
    assert member.log.count("stopping") == 1 and "Traceback" not in member.log
    assert "Keyboard" not in member.log
    other.until_said("ha1 left: it said so")
    assert not member.has_virtual() and site.active(other) is other
    _assert_nothing_left(member)


def test_ctrl_c_before_it_has_begun(site: Site) -> None:
    """While modules are loaded, or just after: nothing is said, nothing is left."""
    member = site.members[0]
    for modules in (60, 200, 400):
        member.program = ["-c", f"MODULES = {modules}\n{INTERRUPTED}"]
        member.launch()
        assert member.ended() == -signal.SIGINT
        assert member.log == ""
        _assert_nothing_left(member)


def test_a_missing_permission_is_one_line(site: Site) -> None:
    member = site.members[0]
    for capability in ("net_admin", "net_raw"):
        said = without(member, capability)
        assert f"not permitted: CAP_{capability.upper()} missing; harpd runs as root, or by" in said
        _assert_nothing_left(member)


def test_another_host_has_the_virtual_address(site: Site) -> None:
    """One that detects duplicates gives it up; one that does not is told of, loudly and once."""
    member = site.members[0].start()
    until(member.has_virtual, "it serves")
    with ExitStack() as stack:
        polite = host(stack, site, "polite")
        ip("-n", polite, "addr", "add", f"{VIRTUAL}/64", "dev", "eth0")
        until(lambda: "dadfailed" in shown(polite, VIRTUAL), "it gives the address up")
        rude = host(stack, site, "rude")
        ip("-n", rude, "addr", "add", f"{VIRTUAL}/64", "dev", "eth0", "nodad")
        for last in ("01", "02"):  # another link-layer address is advertised (ndisc_notify)
            ip("-n", rude, "link", "set", "eth0", "address", f"02:00:00:00:77:{last}")
        member.until_said(f"answers for the virtual address {VIRTUAL} too")
        assert member.status()["role"] == "ACTIVE" and member.has_virtual()
    assert member.log.count("answers for the virtual address") == 1
    assert "Traceback" not in member.log


def test_another_host_has_our_own_address(site: Site) -> None:
    """At the start one line; once it is gone harpd starts."""
    member = site.members[0]
    ip("netns", "exec", member.netns, "sysctl", "-qw", "net.ipv6.conf.home.accept_dad=1")
    ip("netns", "exec", member.netns, "sysctl", "-qw", "net.ipv6.conf.all.accept_dad=1")
    ip("-n", member.netns, "addr", "del", f"{OWN}/64", "dev", "home")
    with ExitStack() as stack:
        rude = host(stack, site, "rude")
        ip("-n", rude, "addr", "add", f"{OWN}/64", "dev", "eth0", "nodad")
        ip("-n", member.netns, "addr", "add", f"{OWN}/64", "dev", "home")
        until(lambda: "dadfailed" in shown(member.netns, OWN), "the kernel finds out")
        assert f"{OWN} is used by another node too" in member.fails()
        _assert_nothing_left(member)
    ip("-n", member.netns, "addr", "del", f"{OWN}/64", "dev", "home")
    ip("-n", member.netns, "addr", "add", f"{OWN}/64", "dev", "home")
    member.start()
    until(member.has_virtual, "it serves")


def test_a_clock_that_is_set(site: Site, tmp_path: Path) -> None:
    """A standby's, forward, then back: it is told, nobody changes roles, and it heals."""
    key = tmp_path / "key"
    key.write_text("00" * 32)
    key.chmod(0o600)
    for member in site.members:
        member.program = ["-c", STEPS]
        member.write(security='"psk"')
        text = member.file.read_text().replace("insecure = true\n", "")
        member.file.write_text(f'{text}[[group.key]]\nspi = 256\nfile = "{key}"\n')
        member.launch()
    for member in site.members:
        member.told("READY=1")
    active = site.active()
    for member in site.members:
        until(lambda m=member: len(_up(m)) == 2, "all hear each other")
        until(lambda m=member: m.status()["synchronised"], "synchronised")
    standby = next(member for member in site.members if member is not active)
    before = {member.number: member.log.count("ACTIVE") for member in site.members}
    standby.send(signal.SIGUSR1)
    standby.until_said("the clock of this machine was set")
    until(lambda: refused(active) > 0, "its messages are refused by name")
    active.until_said("clock")
    standby.send(signal.SIGUSR2)
    until(lambda: standby.log.count("the clock of this machine was set") == 2, "and back")
    # Its timestamps do not go back: they wait until the time has come that it was set to.
    until(lambda: settled(active), "nothing is refused any more", 4 * STEP_S)
    assert site.active() is active and _up(active) and len(_up(standby)) == 2
    assert before == {member.number: member.log.count("ACTIVE") for member in site.members}
    assert all("Traceback" not in member.log for member in site.members)


def refused(member: Member) -> int:
    """Messages that it refused because of the clock."""
    counters = member.status()["counters"]
    assert isinstance(counters, dict)
    return int(counters.get("received.clock", 0))


def settled(member: Member) -> bool:
    """None in half a second: 25 HELLOs."""
    before = refused(member)
    signal.sigtimedwait((), 0.5)
    return refused(member) == before
