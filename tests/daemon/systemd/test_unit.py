"""The systemd unit: judged by systemd itself where it is."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harp.daemon.config.load import DEFAULT_FILE
from harp.daemon.config.model import ControlSettings, DaemonConfig
from harp.daemon.systemd.__main__ import text
from harp.engine.config import EngineConfig

MOST_EXPOSED = 3.0
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="no systemd-analyze")


def unit(tmp_path: Path) -> Path:
    """With a program that exists: systemd looks."""
    path = tmp_path / "harpd.service"
    program = tmp_path / "harpd"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path.write_text(text("unit", harpd=program))
    return path


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    assert ANALYZE
    return subprocess.run(
        [ANALYZE, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


@needs_systemd
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    done = analyze("verify", unit(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_systemd_would_find_what_is_wrong(tmp_path: Path) -> None:
    path = unit(tmp_path)
    path.write_text(path.read_text().replace("WatchdogSec=5", "WatchdogSec=five"))
    assert "Failed to parse sec value" in analyze("verify", path).stderr


@needs_systemd
def test_exposure(tmp_path: Path) -> None:
    threshold = f"--threshold={int(10 * MOST_EXPOSED)}"
    done = analyze("security", "--offline=yes", "--no-pager", threshold, unit(tmp_path))
    assert done.returncode == 0, done.stdout
    overall = next(line for line in done.stdout.splitlines() if "Overall exposure" in line)
    assert float(overall.split(":")[1].split()[0]) <= MOST_EXPOSED


def service(tmp_path: Path) -> dict[str, str]:
    body = unit(tmp_path).read_text().partition("[Service]")[2].partition("[Install]")[0]
    pairs = (line.partition("=") for line in body.splitlines() if not line.startswith("#"))
    return {key: value for key, _, value in pairs if key}


def test_two_capabilities_and_limits_for_the_rest(tmp_path: Path) -> None:
    found = service(tmp_path)
    two = {"CAP_NET_ADMIN", "CAP_NET_RAW"}
    assert set(found["CapabilityBoundingSet"].split()) == two
    assert set(found["AmbientCapabilities"].split()) == two
    assert found["CPUSchedulingPolicy"] == "fifo"
    assert found["LimitMEMLOCK"] == "infinity" and int(found["LimitRTPRIO"]) == 99


def test_it_fits_the_defaults_of_the_configuration(tmp_path: Path) -> None:
    found, config = service(tmp_path), DaemonConfig(EngineConfig(()))
    assert found["StateDirectory"] == config.state_dir.name
    assert Path("/var/lib") / found["StateDirectory"] == config.state_dir
    assert Path("/run") / found["RuntimeDirectory"] == config.run_dir
    assert ControlSettings().socket.parent == config.run_dir
    assert found["ExecStart"].endswith(f" -c {DEFAULT_FILE}")
    assert int(found["CPUSchedulingPriority"]) == config.scheduling.priority


def test_it_is_printed_for_this_installation() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harp.daemon.systemd", "unit", "-c", "/srv/harp.toml"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    harpd = Path(sys.executable).with_name("harpd")
    assert f"ExecStart={harpd} -c /srv/harp.toml\n" in done.stdout
    assert f"ExecStopPost=-{harpd} --undo -c /srv/harp.toml\n" in done.stdout


def test_the_user_is_made() -> None:
    (line,) = [each for each in text("sysusers").splitlines() if not each.startswith("#")]
    assert line.split()[:2] == ["u", "harp"]
