"""Every setting is in reach, and every example is one."""

import dataclasses
import tomllib
from collections.abc import Iterator
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from tests.daemon.config.kit import RIGHT, changed, examined, problems

from harp.daemon.config.plan import plan_of
from harp.daemon.config.schema import EXAMPLES, REQUIRED, ROOT, Setting, Table
from harp.daemon.config.tree import example, spelled
from harp.daemon.config.values import convert, duration_us
from harp.daemon.detection.inputs import BfdInput, VrrpInput
from harp.engine import config as engine
from harp.tables.codepoints import CodePoints

ELSEWHERE = {
    "GroupConfig.links": "[[group.link]]",
    "GroupConfig.members": "[[group.member]]",
    "GroupConfig.self_index": "me",
    "GroupConfig.protection": "the group's own keys",
    "GroupConfig.sync": "[group.sync]",
    "GroupConfig.home_agent": "[group.home_agent]",
    "GroupConfig.code_points": "[code_points]",
    "Protection.keys": "[[group.key]]",
    "HomeAgentConfig.mobile_prefixes": "[[group.home_agent.mobile_network]]",
    "HomeAgentConfig.mn_keys": "mn_keys_file",
}
"""Fields of the engine that are filled from something else than a key of their name."""


def walk(table: Table, path: str = "") -> Iterator[tuple[str, Setting]]:
    for setting in table.settings:
        yield path, setting
    for inner in table.tables:
        yield from walk(inner, f"{path}.{inner.name}" if path else inner.name)


ALL = list(walk(ROOT))
IDS = [f"{path}.{setting.key}" for path, setting in ALL]


@pytest.mark.parametrize(
    "owner",
    [
        *(engine.GroupConfig, engine.LinkConfig, engine.MemberConfig, engine.Protection),
        *(engine.SyncConfig, engine.HomeAgentConfig, CodePoints),
    ],
)
def test_every_field_of_the_engine_is_a_key(owner: type) -> None:
    reached = {setting.field for _, setting in ALL if setting.owner is owner}
    fields = {each.name for each in dataclasses.fields(owner)}
    other = {name for name in fields if f"{owner.__name__}.{name}" in ELSEWHERE}
    assert reached | other == fields and not reached & other


@pytest.mark.parametrize(("path", "setting"), ALL, ids=IDS)
def test_example_is_what_the_setting_takes(path: str, setting: Setting) -> None:
    line = f"{spelled(setting)} = {example(path, setting)}"
    ((key, value),) = tomllib.loads(line).items()
    if setting.is_duration:
        assert duration_us(value, key.removeprefix(setting.key)) > 0
    else:
        convert(value, setting.kind)


@pytest.mark.parametrize(("path", "setting"), ALL, ids=IDS)
def test_units_and_words_are_in_the_keys(path: str, setting: Setting) -> None:
    assert setting.key.isidentifier() and setting.key.islower()
    assert setting.default is not REQUIRED or f"{path}.{setting.key}" in EXAMPLES


def test_examples_are_of_settings_that_exist() -> None:
    assert set(EXAMPLES) <= set(IDS)


@pytest.mark.parametrize("line", ["hello_interval_us = 2500", "hello_interval_ms = 2.5"])
def test_a_duration_has_the_unit_of_its_key(line: str) -> None:
    config = examined(changed("hello_interval_ms = 10", line)).config
    assert config and config.engine.groups[0].hello_interval_us == 2500


def test_seconds() -> None:
    config = examined(changed("hello_interval_ms = 10", "hello_interval_s = 2")).config
    assert config and config.engine.groups[0].hello_interval_us == 2_000_000


@pytest.mark.parametrize(("path", "setting"), ALL, ids=IDS)
def test_a_wrong_value_is_told_with_key_and_example(path: str, setting: Setting) -> None:
    """A date is what no setting takes."""
    header = f"[[{path}]]" if _many(path) else f"[{path}]"
    text = f"{header}\n{spelled(setting)} = 1979-05-27\n"
    if path.startswith("group."):
        text = "[[group]]\n" + ("[group.home_agent]\n" if path.count(".") > 1 else "") + text
    (line,) = [each for each in problems(text) if "1979-05-27" in each]
    assert f"{spelled(setting)}: " in line
    assert line.endswith(f"; for example {spelled(setting)} = {example(path, setting)}")


def _many(path: str) -> bool:
    table = ROOT
    for name in path.split("."):
        table = next(each for each in table.tables if each.name == name)
    return table.many


def test_every_table_may_be_empty_or_absent() -> None:
    names = [each.name for each in ROOT.tables if not each.many and each.name != "daemon"]
    text = "".join(f"[{name}]\n" for name in names) + RIGHT
    assert examined(text).config == examined(RIGHT).config


def test_detection_inputs_know_their_members() -> None:
    text = (
        RIGHT
        + '[[group.detection]]\nsource = "bfd"\nlink = "eth0"\n'
        + '[[group.detection]]\nsource = "vrrp"\nlink = "eth0"\npeer = "ha2"\n'
        + 'instance = "to-ha2"\nfifo = "/run/v"\n'
    )
    config = examined(text).config
    assert config
    assert plan_of(config).groups[0].links[0].watched_by == ("bfd", "vrrp")
    ha2 = IPv6Address("2001:db8:1::2").packed
    assert config.group(7).detection == (
        BfdInput(7, "eth0", frozenset((ha2,)), Path("/run/frr/bfdd.sock")),
        VrrpInput(7, "eth0", ha2, "to-ha2", Path("/run/v")),
    )
