"""Which options a HARP message must carry, and where.

Ref: harp.md §2.1 (table of Types), §2.2 (order of binding options), §2.3 (Cache Digest)
"""

from __future__ import annotations

from collections.abc import Callable

from harp.tables import options as table
from harp.tables.harp_types import LOG_INDEX, STATUS_REFUSED, HarpFlag, HarpType
from harp.tables.reasons import Reason
from harp.wire import messages as msg
from harp.wire.fault import Fault
from harp.wire.options import LAYOUTS

_FLAG_M = int(HarpFlag.M)
OF_BINDING: frozenset[type] = frozenset(
    {layout.cls for layout in LAYOUTS if layout.info.of_binding} | {msg.UnknownOption}
)
"""Options that belong to the Binding Cache Information option before them (harp.md §2.2)."""


def check_options(message: msg.Harp, has_block: bool = False) -> None:
    """Raises Fault with `bad_option` when a mandatory option is missing or one is misplaced.

    `has_block`: the message's bindings stand in a block beside it, not among its options.
    """
    if message.type is HarpType.SS_REP:
        _check_reply(message, has_block)
    elif check := _CHECKS.get(message.type):
        check(message)
    if message.options:
        _check_digest(message)


def _missing(message: msg.Harp, what: str) -> Fault:
    return Fault(Reason.BAD_OPTION, f"{message.type.name} without {what}")


def _has(message: msg.Harp, cls: type) -> bool:
    return cls in map(type, message.options)


def _has_address(message: msg.Harp, kind: msg.AddressKind) -> bool:
    return any(
        isinstance(option, msg.IpAddress) and option.kind is kind for option in message.options
    )


def _check_digest(message: msg.Harp) -> None:
    """harp.md §2.3: Cache Digest "only beside a Sync Position"."""
    kinds = [*map(type, message.options)]
    if msg.CacheDigest in kinds and msg.SyncPosition not in kinds:
        raise _missing(message, f"{table.SYNC_POSITION.name} beside its {table.CACHE_DIGEST.name}")


def _check_request(message: msg.Harp) -> None:
    if not (
        _has_address(message, msg.AddressKind.HOME)
        or _has(message, msg.MobileNetworkPrefix)
        or _has(message, msg.Vendor)
    ):
        raise _missing(message, "a home address, Mobile Network Prefix or Vendor option")


def _check_reply(message: msg.Harp, has_block: bool) -> None:
    if message.status >= STATUS_REFUSED:
        return  # refused: nothing is applied, nothing is needed
    if message.index != LOG_INDEX:
        # The first carries it too, but Index 1 comes again after 65,535 messages.
        if not message.flags & _FLAG_M and not _has(message, msg.SyncPosition):
            raise _missing(message, f"{table.SYNC_POSITION.name} in the last of an answer")
        return
    if not _has(message, msg.SyncPosition):
        raise _missing(message, table.SYNC_POSITION.name)
    for option in message.options:
        if isinstance(option, msg.BindingCache):
            return
        if type(option) in OF_BINDING:
            raise Fault(Reason.BAD_OPTION, "an option of a binding before the first binding")
    if not has_block:
        raise _missing(message, table.BINDING_CACHE.name)


def _check_acknowledgement(message: msg.Harp) -> None:
    if message.index == LOG_INDEX and message.status < STATUS_REFUSED:
        if not _has(message, msg.SyncPosition):
            raise _missing(message, f"{table.SYNC_POSITION.name} of the log")


def _check_rekey(message: msg.Harp) -> None:
    if not _has_address(message, msg.AddressKind.HOME_AGENT):
        raise _missing(message, "a home agent address")


_CHECKS: dict[HarpType, Callable[[msg.Harp], None]] = {
    HarpType.SS_REQ: _check_request,
    HarpType.SS_ACK: _check_acknowledgement,
    HarpType.REKEY: _check_rekey,
}
