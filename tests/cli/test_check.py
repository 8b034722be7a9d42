"""`harpd --check` as a program: right and wrong files, wrong use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAIR = ROOT / "docs/examples/pair.toml"


def harpd(*arguments: str | Path, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harp.cli.harpd", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "host")} | changes,
        timeout=60,
        check=False,
    )


@pytest.fixture
def credentials(tmp_path: Path) -> str:
    (tmp_path / "group7.key").write_text("5a" * 32)
    (tmp_path / "group7.key").chmod(0o600)
    return str(tmp_path)


def test_a_right_file(credentials: str) -> None:
    done = harpd("--check", "-c", PAIR, CREDENTIALS_DIRECTORY=credentials)
    assert done.returncode == 0 and not done.stderr
    assert done.stdout.startswith(f"{PAIR} is valid. harpd would\n")
    done = harpd("--check", "--json", "-c", PAIR, CREDENTIALS_DIRECTORY=credentials)
    found = json.loads(done.stdout)
    assert found["schema"] == 1 and found["plan"]["groups"][0]["peers"][0]["name"] == "ha2"
    assert "5a5a" not in done.stdout


def test_a_wrong_file(tmp_path: Path) -> None:
    file = tmp_path / "harpd.toml"
    file.write_text(
        PAIR.read_text().replace('me = "ha1"', 'mee = "ha1"').replace("id = 7", "id = -1")
    )
    done = harpd("--check", "-c", file, CREDENTIALS_DIRECTORY=str(tmp_path))
    assert done.returncode == 1 and not done.stdout
    lines = done.stderr.splitlines()
    assert lines[:2] == [
        f"{file}: group 1 (id -1), id: -1 wants a whole number from 0 on; for example id = 7",
        f"{file}: group 1 (id -1), mee: unknown; did you mean me?",
    ]
    assert all(line.startswith(f"{file}: group 1 (id -1), ") for line in lines)


def test_starting_with_a_wrong_file_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "harpd.toml"
    file.write_text("[[group]]\nid = 7\n")
    done = harpd("-c", file)
    assert done.returncode == 1 and not done.stdout and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"harpd: {file}: group 1 (id 7), me: is missing")
    assert f"more: harpd --check -c {file} lists them)" in done.stderr


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "No such file or directory"),
        (lambda path: path.mkdir(), "directory"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "not TOML"),
        (lambda path: path.write_text("[[group]]\nid = "), "not TOML"),
        (lambda path: path.write_text("a = " + "[" * 20000), "not TOML"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    ],
)
def test_no_file_that_could_be_read(tmp_path: Path, make: object, words: str) -> None:
    assert callable(make)
    make(tmp_path / "x")
    done = harpd("--check", "-c", tmp_path / "x")
    assert done.returncode in (1, 2) and words in done.stderr
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
