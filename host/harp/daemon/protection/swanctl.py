"""A strongSwan configuration (swanctl.conf) that protects a group: ESP in transport mode.

Ref: harp.md §7; RFC 4877 (IKEv2 with Mobile IPv6); RFC 4303 (ESP); RFC 7296 §2.9 (selectors)

`start_action = trap` puts the policies into the kernel at once, so that harpd's check at start
passes before IKE has run, and nothing goes in plaintext meanwhile. One connection for each pair of
addresses. Authentication is left to the operator: certificates as written, or a shared secret.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Address

from harp.engine.config import GroupConfig, MemberConfig, Security
from harp.tables.mh import NEXT_HEADER

_HEAD = """\
# HARP between home agents in ESP (transport mode); made by `harpctl ipsec-config`.
# Put it into /etc/swanctl/conf.d/harp.conf and run `swanctl --load-all`, on every member with its
# own harpd.conf. Certificates go to /etc/swanctl/x509 and private; `id` must stand in them.
# With shared secrets instead, say `auth = psk` twice in each connection and add to a file that
# only root reads:
#   secrets { ike-harp { secret = 0x… } }
# ECP 384 wants strongSwan's plugin openssl (Debian: libstrongswan-standard-plugins).
"""


def configuration(groups: Iterable[GroupConfig]) -> str:
    """The text for all groups under IPsec; only the head if there is none."""
    pairs: dict[tuple[bytes, bytes], str] = {}
    for group in groups:
        if group.protection.security is Security.IPSEC:
            pairs |= _pairs(group)
    connections = "".join(_connection(*pair, name) for pair, name in pairs.items())
    return f"{_HEAD}connections {{\n{connections}}}\n"


def _pairs(group: GroupConfig) -> dict[tuple[bytes, bytes], str]:
    """(our address, theirs) → name of the connection; groups may share pairs."""
    return {
        (ours, theirs): _name(group, peer, index)
        for peer in group.peers
        for index, (ours, theirs) in enumerate(zip(group.me.addresses, peer.addresses, strict=True))
    }


def _name(group: GroupConfig, peer: MemberConfig, link: int) -> str:
    """A section name: letters, digits, `-`, `_` only (swanctl.conf(5))."""
    readable = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in peer.name)
    return f"harp-{group.group}-{readable}-{link}"


def _connection(ours: bytes, theirs: bytes, name: str) -> str:
    local, remote = IPv6Address(ours), IPv6Address(theirs)
    return f"""\
  {name} {{
    version = 2
    local_addrs = {local}
    remote_addrs = {remote}
    proposals = aes256gcm16-prfsha384-ecp384, default
    local {{
      auth = pubkey
      id = {local}
    }}
    remote {{
      auth = pubkey
      id = {remote}
    }}
    children {{
      {name} {{
        mode = transport
        local_ts = {local}/128[{NEXT_HEADER}]
        remote_ts = {remote}/128[{NEXT_HEADER}]
        esp_proposals = aes256gcm16-ecp384, default
        start_action = trap
        close_action = trap
        dpd_action = trap
      }}
    }}
    dpd_delay = 5s
  }}
"""
