"""docs/configuration.md is what the schema says."""

from pathlib import Path

import pytest
from tests.daemon.config.test_schema import ALL

from harp.daemon.config.reference import main, meaning, page

ROOT = Path(__file__).parents[3]


def test_the_page_is_fresh() -> None:
    assert (ROOT / "docs/configuration.md").read_text(encoding="utf-8") == page()


def test_every_setting_has_a_row_and_a_meaning() -> None:
    text = page()
    for path, setting in ALL:
        assert any(f"| `{each}` |" in text for each in setting.spellings)
        said = meaning(path, setting)
        assert said.endswith(".") and not said[0].islower() and "µs" not in said


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "docs").mkdir()
    assert main(["--check", "--root", str(tmp_path)]) == 1
    assert "docs/configuration.md is stale: run python -m" in capsys.readouterr().err
    assert main(["--root", str(tmp_path)]) == 0
    assert main(["--check", "--root", str(tmp_path)]) == 0
