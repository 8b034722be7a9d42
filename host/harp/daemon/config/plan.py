"""What `harpd` would do with a configuration: plain values that `json` prints as they are.

Names of the fields are the keys of `harpd --check --json`, kept once shipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address

from harp.daemon.config.model import DaemonConfig, GroupSettings
from harp.daemon.detection.inputs import BfdInput, VrrpInput
from harp.engine.config import GroupConfig, Prefix


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """One link of a group."""

    interface: str
    """Name."""
    address: str
    """Own address, from which HELLOs leave."""
    hello: str
    """`multicast` or `unicast`."""
    slot: bool
    """A board may send them."""
    watched_by: tuple[str, ...]
    """What watches members here beside HELLOs: `bfd`, `vrrp`."""


@dataclass(frozen=True, slots=True)
class PeerPlan:
    """Another member."""

    name: str
    """As configured."""
    addresses: tuple[str, ...]
    """One a link."""
    witness: bool
    """Never serves."""


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """A key, never its octets."""

    spi: int
    """Security Parameter Index."""
    source: str
    """File or credential."""
    signs: bool
    """Own messages carry it."""


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """One group."""

    id: int
    """Group ID."""
    me: str
    """Own name."""
    mode: str
    """`virtual` or `hard`."""
    preference: int
    """Higher wins."""
    virtual_address: str | None
    """Added when active."""
    home_interface: str
    """... to this interface."""
    home_prefixes: tuple[str, ...]
    """Whose mobile nodes are served."""
    route_table: int
    """Routes to mobile nodes."""
    rule_preference: int
    """The rule that switches them on when active."""
    fwmark: int
    """Firewall mark of packets to mobile nodes."""
    links: tuple[LinkPlan, ...]
    """In order."""
    peers: tuple[PeerPlan, ...]
    """All but this one."""
    hello_interval_us: int
    """Nominal."""
    detection_us: int
    """A silent member is down after it."""
    skew_us: int
    """Each rank waits so much longer than the one before until it takes over."""
    quorum: int
    """0: none."""
    security: str
    """`ipsec`, `psk`, `none`."""
    auth: str
    """How keys are judged."""
    keys: tuple[KeyPlan, ...]
    """All that are accepted."""
    durability: str
    """When Success is answered."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All of it."""

    data_plane: str
    """As configured; `auto` is decided at start."""
    state_dir: str | None
    """Journal; None: none is kept."""
    control_socket: str
    """For harpctl."""
    metrics: str | None
    """Address and port; None: none."""
    guard: bool
    """A process withdraws when harpd dies."""
    offload: str
    """Device."""
    tunnel: str
    """Device of the tunnels."""
    groups: tuple[GroupPlan, ...]
    """In the order of the file."""


def plan_of(config: DaemonConfig) -> Plan:
    """What a configuration makes `harpd` do."""
    return Plan(
        data_plane=config.data_plane.value,
        state_dir=str(config.state_dir) if config.journal else None,
        control_socket=str(config.control.socket),
        metrics=config.metrics_listen or None,
        guard=config.guard,
        offload=config.offload.device,
        tunnel=config.tables.tunnel,
        groups=tuple(_group(config, each) for each in config.engine.groups),
    )


def _group(config: DaemonConfig, group: GroupConfig) -> GroupPlan:
    settings = config.group(group.group)
    return GroupPlan(
        id=group.group,
        me=group.me.name,
        mode=group.mode.value,
        preference=0 if group.me.witness else group.preference,
        virtual_address=_text(group.virtual_address) if group.virtual_address else None,
        home_interface=settings.home_interface,
        home_prefixes=tuple(_prefix(each) for each in group.home_prefixes),
        route_table=config.tables.route_table + group.group,
        rule_preference=config.tables.rule_preference + group.group,
        fwmark=config.tables.fwmark + group.group,
        links=tuple(_links(group, settings)),
        peers=tuple(
            PeerPlan(peer.name, tuple(map(_text, peer.addresses)), peer.witness)
            for peer in group.peers
        ),
        hello_interval_us=group.hello_interval_us,
        detection_us=group.detection_us,
        skew_us=group.skew_us,
        quorum=group.quorum,
        security=group.protection.security.value,
        auth=group.protection.auth.value,
        keys=_keys(group, settings),
        durability=group.sync.durability.value,
    )


def _links(group: GroupConfig, settings: GroupSettings) -> list[LinkPlan]:
    return [
        LinkPlan(
            link.name,
            _text(group.me.addresses[index]),
            "multicast" if group.multicast_on(index) else "unicast",
            link.slots,
            tuple(sorted({_source(each) for each in settings.detection if each.link == link.name})),
        )
        for index, link in enumerate(group.links)
    ]


def _source(found: BfdInput | VrrpInput) -> str:
    return "bfd" if isinstance(found, BfdInput) else "vrrp"


def _keys(group: GroupConfig, settings: GroupSettings) -> tuple[KeyPlan, ...]:
    signing = group.protection.signing_key
    return tuple(
        KeyPlan(spi, source, signing is not None and spi == signing.spi)
        for spi, source in settings.key_sources
    )


def _text(address: bytes) -> str:
    return str(IPv6Address(address))


def _prefix(prefix: Prefix) -> str:
    return f"{_text(prefix.address)}/{prefix.length}"
