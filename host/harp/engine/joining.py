"""Members that nobody configured: `discover = true`.

Ref: harp.md §3 rule 9 ("no dynamic peers unless `discover = true`"), §2.3 (Configuration)

Whoever says a HELLO that passes the group's protection joins it, and stays a member, up or not,
until this process ends. `config.GroupConfig` allows it only where the protection judges the
message itself, with one link, and without a quorum.
"""

from __future__ import annotations

from ipaddress import IPv6Address

from harp.engine.addresses import is_unicast
from harp.engine.config import GroupConfig, MemberConfig
from harp.engine.peers import PeerTable
from harp.engine.protection import Heard
from harp.tables.harp_types import HarpType

MAX_DISCOVERED = 16
"""Members of a group beyond those configured: what a forger without a key can fill in a group
without protection."""
LINK = 0
"""Index of the one link of such a group."""


def may_join(config: GroupConfig, peers: PeerTable, heard: Heard, link: str) -> bool:
    """Whether a message that came in by the interface `link` makes its sender a member, if it
    passes the protection. One that says goodbye does not."""
    message = heard.message
    return (
        config.discover
        and message.type is HarpType.HELLO
        and message.lifetime_s > 0
        and link == config.links[LINK].name
        and is_unicast(heard.source)
        and heard.source not in (config.identity, config.virtual_address)
        and len(peers.peers) < len(config.peers) + MAX_DISCOVERED
    )


def as_member(address: bytes) -> MemberConfig:
    """What a configuration would say of it: its address is its name."""
    return MemberConfig(str(IPv6Address(address)), (address,))
