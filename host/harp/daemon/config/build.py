"""From the file's values to the engine's and the daemon's configuration.

The engine's own rules (`harp.engine.config`) are the last judge; what it would say in its words
(octets, indices) is checked before, in the words of the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Address, IPv6Network
from typing import Any, TypeVar

from harp.daemon.config import model
from harp.daemon.config.checks import check_document, check_group
from harp.daemon.config.keys import BadKey, KeyStore
from harp.daemon.config.problem import Problem
from harp.daemon.config.schema import Source
from harp.daemon.config.tree import Node
from harp.daemon.detection.inputs import BfdInput, VrrpInput
from harp.engine import config as engine
from harp.tables.codepoints import CodePoints

T = TypeVar("T")


class Builder:
    """Builds once; what is wrong is added to `problems`."""

    def __init__(self, keys: KeyStore, problems: list[Problem]) -> None:
        self._keys = keys
        self._problems = problems

    def daemon(self, root: Node) -> model.DaemonConfig | None:
        """Everything; None if there are problems."""
        self._problems += check_document(root)
        points = self._make(CodePoints, root.one("code_points"))
        groups = [self._group(node, points) for node in root.many("group")]
        parts = {
            "scheduling": self._make(model.Scheduling, root.one("scheduling")),
            "tables": self._make(model.Tables, root.one("tables")),
            "control": self._make(model.ControlSettings, root.one("control")),
            "offload": self._make(model.OffloadSettings, root.one("offload")),
            "filter": self._make(model.FilterSettings, root.one("filter")),
        }
        built = [each for each in groups if each is not None]
        if self._problems:
            return None
        settings = tuple(
            (config.group, _group_settings(node, config))
            for node, config in zip(root.many("group"), built, strict=True)
        )
        return self._make(
            model.DaemonConfig,
            root.one("daemon"),
            engine=engine.EngineConfig(tuple(built)),
            groups=settings,
            **parts,
        )

    def _group(self, node: Node, points: CodePoints | None) -> engine.GroupConfig | None:
        keys = tuple(self._key(each) for each in node.many("key"))
        self._problems += check_group(node)
        sync = self._make(engine.SyncConfig, node.one("sync"))
        home_agent = self._home_agent(node.one("home_agent"))
        if points is None or any(each.inside(node.place) for each in self._problems):
            return None
        members = node.many("member")
        names = [each.get("name") for each in members]
        protection = self._make(engine.Protection, node, keys=keys)
        if protection is None:
            return None
        return self._make(
            engine.GroupConfig,
            node,
            links=self._all(engine.LinkConfig, node.many("link")),
            members=self._all(engine.MemberConfig, members),
            self_index=names.index(node.get("me")),
            protection=protection,
            sync=sync,
            home_agent=home_agent,
            code_points=points,
        )

    def _all(self, kind: type[T], nodes: Iterable[Node]) -> tuple[T, ...]:
        made = [self._make(kind, node) for node in nodes]
        return tuple(each for each in made if each is not None)

    def _key(self, node: Node) -> engine.Key | None:
        spi, file, credential = (node.get(name) for name in ("spi", "file", "credential"))
        if spi is None or not {"file", "credential"} - (node.keys.keys() - node.given.keys()):
            return None  # told already
        try:
            return self._keys.key(spi, file, credential)
        except BadKey as bad:
            key = "credential" if credential else "file"
            self._problems.append(node.problem(key, str(bad)))
            return None

    def _home_agent(self, node: Node) -> engine.HomeAgentConfig | None:
        file, credential = node.get("mn_keys_file"), node.get("mn_keys_credential")
        mn_keys: tuple[tuple[bytes, engine.Key], ...] = ()
        if file or credential:
            try:
                mn_keys = self._keys.mobile_keys(file, credential)
            except BadKey as bad:
                key = "mn_keys_file" if file else "mn_keys_credential"
                self._problems.append(node.problem(key, str(bad)))
        if node.get("mn_auth") and not (file or credential):
            self._problems.append(
                node.problem("mn_keys_file", "mn_auth wants the keys of the mobile nodes")
            )
        networks = tuple(
            (for_engine(each.get("home_address")), for_engine(each.get("prefixes")))
            for each in node.many("mobile_network")
            if each.get("home_address") is not None and each.get("prefixes") is not None
        )
        return self._make(engine.HomeAgentConfig, node, mobile_prefixes=networks, mn_keys=mn_keys)

    def _make(self, kind: type[T], node: Node, **others: Any) -> T | None:
        """One dataclass from the values that it owns; None if it refuses them."""
        given = {
            setting.field: for_engine(node.given[setting.key])
            for setting in node.table.settings
            if setting.owner is kind and setting.key in node.given
        }
        try:
            return kind(**given, **others)
        except ValueError as error:
            self._problems.append(_refused(kind, node, str(error)))
            return None


def _refused(kind: type, node: Node, text: str) -> Problem:
    """The engine's `name = value: want`, where `name` is a field, as a problem of its key."""
    name, _, rest = text.partition(" = ")
    for setting in node.table.settings:
        if setting.owner is kind and setting.field == name:
            return node.wrong(setting.key, rest.partition(": ")[2])
    return Problem(node.place, "", text)


def _group_settings(node: Node, config: engine.GroupConfig) -> model.GroupSettings:
    return model.GroupSettings(
        home_interface=node.get("home_interface") or config.links[0].name,
        on_role=node.get("on_role"),
        detection=tuple(_input(each, config) for each in node.many("detection")),
        key_sources=tuple(
            (each.get("spi"), each.get("file") or f"credential {each.get('credential')}")
            for each in node.many("key")
        ),
    )


def _input(node: Node, config: engine.GroupConfig) -> BfdInput | VrrpInput:
    link = node.get("link")
    index = [each.name for each in config.links].index(link)
    addresses = {member.name: member.addresses[index] for member in config.peers}
    if node.get("source") is Source.BFD:
        return BfdInput(config.group, link, frozenset(addresses.values()), node.get("socket"))
    peer = addresses[node.get("peer")]
    return VrrpInput(config.group, link, peer, node.get("instance"), node.get("fifo"))


def for_engine(value: object) -> Any:
    """Addresses as octets, prefixes as the engine's; the rest as it is."""
    if isinstance(value, IPv6Address):
        return value.packed
    if isinstance(value, IPv6Network):
        return engine.Prefix(value.network_address.packed, value.prefixlen)
    if isinstance(value, tuple):
        return tuple(for_engine(each) for each in value)
    return value
