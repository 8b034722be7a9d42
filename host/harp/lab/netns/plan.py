"""The laboratory's map: nodes, links, addresses, all from documentation space (RFC 3849).

```
 ha1   ha2   ha3                 mn (mobile node, load generator)
  |     |     |                   |
  +--- home link (bridge) --- core (router) --- correspondent link --- cn
       2001:db8:1::/64            2001:db8:c::/64
```

The mobile nodes' care-of addresses are a pool that the core routes to `mn`, so that a hundred
thousand of them need no neighbor entry each.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network

HOME_PREFIX = IPv6Network("2001:db8:1::/64")
VISITED_PREFIX = IPv6Network("2001:db8:f::/64")
CORRESPONDENT_PREFIX = IPv6Network("2001:db8:c::/64")
CARE_OF_POOL = IPv6Network("2001:db8:f00::/40")
"""Care-of addresses: routed to the mobile nodes' namespace."""

MEMBERS = ("ha1", "ha2", "ha3")
"""Home agents, the most preferred first."""
PREFERENCES = {"ha1": 300, "ha2": 200, "ha3": 100}
GROUP = 7
"""Group ID."""
VIRTUAL = HOME_PREFIX[1]
"""The virtual home agent address."""

HOME, VISITED, CORRESPONDENT = "home", "visited", "corr"
"""Interface names, the same in each node."""
MOBILE_NODES_AT = 1 << 48
"""Home address of mobile node 0, as an offset into the home prefix."""
PLACES_AT = 1 << 32
"""Care-of addresses of one place and the next lie so far apart."""
_FIRST_HOME = int(HOME_PREFIX[MOBILE_NODES_AT])
_FIRST_CARE_OF = int(CARE_OF_POOL[PLACES_AT])


@dataclass(frozen=True, slots=True)
class Port:
    """A node's interface."""

    name: str
    """Interface name in the node."""
    address: IPv6Address
    mac: str
    """Link-layer address, fixed so that frames tell who sent them."""


def _mac(number: int) -> str:
    return f"02:00:00:00:00:{number:02x}"


HOME_PORTS = {
    name: Port(HOME, HOME_PREFIX[0xA1 + number], _mac(0xA1 + number))
    for number, name in enumerate(MEMBERS)
}
CORE_HOME = Port(HOME, HOME_PREFIX[0xFE], _mac(0xFE))
CORE_VISITED = Port(VISITED, VISITED_PREFIX[1], _mac(0xF1))
CORE_CORRESPONDENT = Port(CORRESPONDENT, CORRESPONDENT_PREFIX[1], _mac(0xC1))
MN_VISITED = Port(VISITED, VISITED_PREFIX[2], _mac(0xF2))
CN_CORRESPONDENT = Port(CORRESPONDENT, CORRESPONDENT_PREFIX[2], _mac(0xC2))

MEMBER_OF_ADDRESS = {port.address.packed: member for member, port in HOME_PORTS.items()}


def mac_octets(port: Port) -> bytes:
    """A port's link-layer address, 6 octets."""
    return bytes.fromhex(port.mac.replace(":", ""))


def home_address(number: int) -> bytes:
    """Home address of mobile node `number`, 16 octets."""
    return (_FIRST_HOME + number).to_bytes(16, "big")


def care_of_address(number: int, place: int = 0) -> bytes:
    """Care-of address of mobile node `number` at its n-th place, 16 octets."""
    return (_FIRST_CARE_OF + PLACES_AT * place + number).to_bytes(16, "big")
