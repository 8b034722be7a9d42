"""The network: it is built, broken, and gone afterwards, even if nobody says goodbye."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harp.cli.common import Failure
from harp.lab.netns import namespaces, plan, privilege
from harp.lab.netns.namespaces import NAMESPACES, Namespaces, entered, remove_leftovers, start_time
from harp.lab.netns.world import CN, CORE, MN, World

pytestmark = [pytest.mark.xdist_group("netns"), pytest.mark.usefixtures("netns")]
ROOT = Path(__file__).parents[3]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "host")}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World() as made:
        yield made


def reaches(world: World, source: str, member: str) -> bool:
    address = str(plan.HOME_PORTS[member].address)
    return world.run(source, "ping", "-c1", "-W1", address).returncode == 0


def test_everybody_reaches_the_home_agents(world: World) -> None:
    for source in (CN, CORE, MN, "ha2"):
        assert reaches(world, source, "ha1"), source


def test_cut_and_mend(world: World) -> None:
    world.cut("ha1")
    assert "NO-CARRIER" in world.run("ha1", "ip", "link", "show", plan.HOME).stdout
    assert not reaches(world, "ha2", "ha1")
    world.mend("ha1")
    assert reaches(world, "ha2", "ha1")


def test_partition_and_heal(world: World) -> None:
    world.partition(["ha1", CORE], ["ha2", "ha3"])
    assert not reaches(world, "ha2", "ha1")
    assert reaches(world, "ha2", "ha3")
    assert reaches(world, CN, "ha1")
    assert "NO-CARRIER" not in world.run("ha1", "ip", "link", "show", plan.HOME).stdout
    world.heal()
    assert reaches(world, "ha2", "ha1")


def test_one_way_loss(world: World) -> None:
    world.lose("ha2", "ha3", 100)
    assert not reaches(world, "ha2", "ha3")
    world.heal()
    assert reaches(world, "ha2", "ha3")


def test_address(world: World) -> None:
    assert world.has_address("ha1", plan.HOME_PORTS["ha1"].address)
    assert not world.has_address("ha1", plan.VIRTUAL)


def test_load_is_bounded_and_ends() -> None:
    world = World()
    world.load()
    pids = [process.pid for process in world._load]
    assert len(pids) == os.cpu_count()
    world.unload()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_failing_command_is_one_line(world: World) -> None:
    with pytest.raises(Failure, match=r"^ip -n .*: "):
        world.batch(CN, "addr add nonsense dev nothing")


def test_nothing_is_left(tmp_path: Path) -> None:
    with World() as world:
        names = [world.inside(node) for node in plan.MEMBERS]
        directory = world.namespaces.directory
        assert all((NAMESPACES / name).exists() for name in names)
        sleeper = subprocess.Popen(world.command("ha1", "sleep", "60"))
    assert sleeper.wait(10) == -signal.SIGKILL
    assert not any((NAMESPACES / name).exists() for name in names)
    assert not directory.exists()


def test_leftovers_of_a_dead_laboratory_are_removed_and_nothing_else(tmp_path: Path) -> None:
    text = (
        "import sys; from pathlib import Path; from harp.lab.netns.namespaces import Namespaces\n"
        "n = Namespaces(('x',), Path(sys.argv[1])); n.make(); print(n.name('x'), flush=True)\n"
        "sys.stdin.read()"
    )
    maker = subprocess.Popen(
        (sys.executable, "-c", text, str(tmp_path)),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    assert maker.stdout and maker.stdin
    name = maker.stdout.readline().strip()
    mine = Namespaces(("y",), tmp_path)
    mine.make()
    (tmp_path / "other").mkdir()
    try:
        assert remove_leftovers(tmp_path) == [], "both makers live"
        assert (NAMESPACES / name).exists()
        inside = subprocess.Popen(
            ("ip", "netns", "exec", name, "sh", "-c", "echo in; exec sleep 60"),
            stdout=subprocess.PIPE,
        )
        assert inside.stdout
        assert inside.stdout.readline() == b"in\n"
        inside.stdout.close()
        maker.kill()
        maker.wait()
        assert remove_leftovers(tmp_path) == [f"harp{maker.pid}-0"]
        assert inside.wait(10) == -signal.SIGKILL
        assert not (NAMESPACES / name).exists()
        assert (NAMESPACES / mine.name("y")).exists()
        assert (tmp_path / "other").exists()
    finally:
        maker.stdin.close()
        maker.stdout.close()
        mine.remove()
    assert not (NAMESPACES / mine.name("y")).exists()


def test_start_time_tells_processes_apart() -> None:
    assert start_time(os.getpid()) is not None
    assert start_time(1 << 22) is None


def test_entered_comes_back(world: World) -> None:
    before = namespaces.OWN_NET.stat().st_ino
    with entered(world.inside(CN)):
        assert namespaces.OWN_NET.stat().st_ino != before
    assert namespaces.OWN_NET.stat().st_ino == before


WITHOUT = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")
INSIDE = (
    "from harp.lab.netns.privilege import ensure; ensure()\n"
    "from harp.lab.netns.world import *\n"
    "with World() as world:\n"
    "    print(world.run('ha2', 'ping', '-c1', '-W2', '2001:db8:1::a1').returncode)"
)


def test_without_root_it_runs_in_a_user_namespace() -> None:
    if not privilege.user_namespaces_work():
        pytest.skip("this kernel has no unprivileged user namespaces")
    done = subprocess.run(
        (*WITHOUT, sys.executable, "-c", INSIDE),
        capture_output=True, text=True, env=ENVIRONMENT, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_says_what_to_run_where_nothing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privilege, "may_make_namespaces", lambda: False)
    monkeypatch.setattr(privilege, "user_namespaces_work", lambda: False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "orig_argv", ["harp-lab", "run", "flood"])
    with pytest.raises(Failure, match="run: sudo harp-lab run flood"):
        privilege.ensure()
