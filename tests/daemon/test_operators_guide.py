"""docs/daemon.md names commands, keys, settings and series that exist."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.daemon.config.kit import FILE
from tests.daemon.config.test_schema import ALL
from tests.daemon.control.test_server import GROUP_KEYS, PEER_KEYS
from tests.daemon.metrics.test_metrics import exported

from harp.cli.harpctl import COMMANDS
from harp.daemon.config.keys import KeyStore
from harp.daemon.config.load import parse
from harp.daemon.config.values import UNITS_US

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "daemon.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def cells(row: str) -> set[str]:
    """Words in code style of the row that begins so."""
    (line,) = [each for each in TEXT.splitlines() if each.startswith(f"| {row} |")]
    return set(re.findall(r"`([a-z_]+)`", line.removeprefix(f"| {row} |")))


def test_every_command_is_told_and_exists() -> None:
    told = re.findall(r"^\| `([a-z-]+)[^`]*`(?:, `([a-z]+)`)? \|", section("harpctl"), re.MULTILINE)
    assert {name for pair in told for name in pair if name} - {"harpd"} == set(COMMANDS)
    for name in re.findall(r"harpctl ([a-z][a-z-]+)", TEXT):
        assert name in COMMANDS, name


def test_keys_of_json() -> None:
    assert cells("a group") == GROUP_KEYS
    assert cells("a peer") == PEER_KEYS


def test_series_exist() -> None:
    names = set(
        re.findall(
            r"\bharp_(?!sim\b)[a-z_]+", TEXT.replace("harp_group_role{", "harp_group_role {")
        )
    )
    assert names <= exported().keys()


def settings() -> set[str]:
    known = {name for _, setting in ALL for name in setting.spellings}
    return known | {name.removesuffix(unit) for name in known for unit in UNITS_US}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([a-z_]+) = ", TEXT))))
def test_settings_exist(name: str) -> None:
    assert name in settings()


def test_the_first_configuration_is_right(tmp_path: Path) -> None:
    (tmp_path / "group7.key").write_text("00" * 32)
    (tmp_path / "group7.key").chmod(0o600)
    (text,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    found = parse(tomllib.loads(text), FILE, KeyStore(tmp_path))
    assert found.config and not found.warnings


def links() -> Iterator[str]:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        if "://" not in target:
            yield target


@pytest.mark.parametrize("target", sorted(set(links())))
def test_links_lead_somewhere(target: str) -> None:
    assert (DOCS / target).exists()


def test_it_is_installed_from_the_source_tree() -> None:
    """Nothing is published: an index knows no such package, or somebody else's."""
    (target,) = re.findall(r"pip install (\S+)", TEXT)
    assert target == "." and (DOCS.parent / "pyproject.toml").is_file()
