"""The picture in docs/ is the table's (harp.md §5)."""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path

import pytest

from harp.engine import diagram
from harp.engine.effects import Role
from harp.engine.role_table import TABLE

ROOT = Path(__file__).parents[2]


def test_every_transition_of_the_table_is_drawn_and_no_other() -> None:
    wanted = {(state, target) for (state, _), row in TABLE.items() for target in row.targets}
    drawn = {
        tuple(line.split(" [")[0].split(" -> "))
        for line in diagram.roles_dot().splitlines()
        if " -> " in line and "label" in line
    }
    assert {(a.strip(), b.strip()) for a, b in drawn} == {(a.value, b.value) for a, b in wanted}
    assert (Role.INIT, Role.STANDBY) in wanted


def test_the_picture_in_docs_is_up_to_date() -> None:
    kept = ROOT / diagram.DIRECTORY / "roles.dot"
    assert kept.read_text(encoding="utf-8") == diagram.roles_dot()
    assert (ROOT / diagram.DIRECTORY / "roles.svg").is_file()


@pytest.mark.parametrize("dot", [None, "/bin/dot"])
def test_writes_what_the_machine_can_draw(
    dot: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls: list[list[object]] = []
    monkeypatch.setattr(diagram.shutil, "which", lambda name: dot)
    monkeypatch.setattr(subprocess, "run", lambda command, check: calls.append(command))
    assert diagram.main([str(tmp_path / "new")]) == 0
    written = capsys.readouterr().out.split()
    assert [Path(name).name for name in written] == ["roles.dot", "roles.svg"][: 1 + bool(dot)]
    assert [call[0] for call in calls] == ([dot] if dot else [])


def test_usage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert diagram.main(["--help"]) == 0
    assert diagram.main(["a", "b"]) == 2
    assert diagram.main(["--what"]) == 2
    assert "usage" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(diagram.shutil, "which", lambda name: None)
    monkeypatch.setattr("sys.argv", ["diagram"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(diagram.__file__), run_name="__main__")
    assert (tmp_path / diagram.DIRECTORY / "roles.dot").is_file()
