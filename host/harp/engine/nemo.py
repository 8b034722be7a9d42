"""Prefixes of mobile routers: what a Binding Update may register.

Ref: RFC 3963 §4.2 (statuses), §5.2 (implicit and explicit mode), §6.1.2 (Prefix Table), §6.2
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harp.engine.addresses import is_unicast_routable
from harp.engine.config import Prefix
from harp.engine.request import Refuse
from harp.tables.mh import BaStatus, BuFlag
from harp.wire.messages import MobileNetworkPrefix, Options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harp.engine.request import Request


_MOBILE_ROUTER = BuFlag.MOBILE_ROUTER.value


def prefixes(request: Request, table: Mapping[bytes, tuple[Prefix, ...]]) -> Options | Refuse:
    """The prefixes to forward, as options of the binding; none for a mobile node.

    `table`: home address of each mobile router, prefixes that it may register. In implicit mode
    they become options too, so that every member and the digest know them.
    """
    if not request.message.flags & _MOBILE_ROUTER:
        return ()
    allowed = table.get(request.home_address)
    if allowed is None:
        return Refuse(BaStatus.MOBILE_ROUTER_NOT_PERMITTED)
    if not request.prefixes:
        if not allowed:
            # RFC 3963 §6.2: "If there is no information that the Home Agent can use, it MUST
            # reject ... with status set to 143 (Forwarding Setup failed)."
            return Refuse(BaStatus.FORWARDING_SETUP_FAILED)
        return tuple(MobileNetworkPrefix(p.length, p.address) for p in allowed)
    wanted: list[Prefix] = []
    for option in request.prefixes:
        prefix = as_prefix(option)
        if prefix is None:
            # RFC 3963 §6.2: "If the Home Agent fails to set up forwarding to all the prefixes ...
            # it MUST reject ... with status set to 141 (Invalid Prefix)."
            return Refuse(BaStatus.INVALID_PREFIX)
        wanted.append(prefix)
    if not set(wanted) <= set(allowed):
        # RFC 3963 §6.2: "verifies the prefix information with the Prefix Table and the check
        # fails ... status set to 142 (Not Authorized for Prefix)".
        return Refuse(BaStatus.NOT_AUTHORIZED_FOR_PREFIX)
    return tuple(MobileNetworkPrefix(p.length, p.address) for p in dict.fromkeys(wanted))


def as_prefix(option: MobileNetworkPrefix) -> Prefix | None:
    """The option as a prefix; bits past its length are cut off. None: nothing to forward to."""
    if not 0 < option.length <= 128:
        return None
    host_bits = 128 - option.length
    address = (int.from_bytes(option.prefix) >> host_bits << host_bits).to_bytes(16)
    return Prefix(address, option.length) if is_unicast_routable(address) else None
