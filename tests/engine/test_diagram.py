"""The pictures in docs/ are those of the tables (harp.md §4, §5, §6)."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harp.engine import diagram, fullsync_table, liveness_table, role_table, stream_table
from harp.engine.diagram import Picture

ROOT = Path(__file__).parents[2]
TABLES: dict[str, Any] = {
    "roles": role_table.TABLE,
    "liveness": liveness_table.TABLE,
    "full_sync": fullsync_table.TABLE,
    "answer": stream_table.TABLE,
}
STARTS = {"roles": "INIT", "liveness": "unknown", "full_sync": "asked", "answer": "opening"}


@pytest.mark.parametrize("picture", diagram.PICTURES, ids=lambda picture: picture.name)
def test_every_transition_of_the_table_is_drawn_and_no_other(picture: Picture) -> None:
    wanted = {
        (state.value, target.value, happening.value)
        for (state, happening), row in TABLES[picture.name].items()
        for target in row.targets
    }
    assert wanted
    edge = re.compile(r'  (\w+) -> (\w+) \[label="(.*)"\];')
    drawn = [found.groups() for found in map(edge.fullmatch, picture.dot().splitlines()) if found]
    assert {(a, b, text) for a, b, label in drawn for text in label.split("\\l")[:-1]} == wanted
    assert f"  start -> {STARTS[picture.name]};" in picture.dot()
    assert set(picture.states) == {state.value for state, _ in TABLES[picture.name]}


def test_every_machine_is_drawn() -> None:
    assert [picture.name for picture in diagram.PICTURES] == list(TABLES)


def test_the_pictures_in_docs_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert diagram.main(["--check", str(ROOT / diagram.DIRECTORY)]) == 0
    assert capsys.readouterr().out == ""


def test_the_essay_shows_every_picture() -> None:
    essay = (ROOT / "docs/how-harp-works.md").read_text(encoding="utf-8")
    shown = re.findall(r"\]\(diagrams/(\w+)\.svg\)", essay)
    assert sorted(shown) == sorted(TABLES)


def test_a_stale_picture_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = shutil.copytree(ROOT / diagram.DIRECTORY, tmp_path / "kept")
    (kept / "roles.svg").unlink()
    (kept / "full_sync.dot").unlink()
    for name in ("liveness.dot", "liveness.svg"):
        text = (kept / name).read_text(encoding="utf-8")
        (kept / name).write_text(text.replace("goodbye", "adieu"), encoding="utf-8")
    assert diagram.main(["--check", str(kept)]) == 1
    found = [Path(line.split(":")[0]).name for line in capsys.readouterr().out.splitlines()]
    assert found == ["roles.svg", "liveness.dot", "liveness.svg", "full_sync.dot"]


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
    suffixes = (".dot", ".svg") if dot else (".dot",)
    assert [Path(name).name for name in written] == [
        name + suffix for name in TABLES for suffix in suffixes
    ]
    assert [call[0] for call in calls] == ([dot] * len(TABLES) if dot else [])


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
