"""Several care-of addresses for one home address.

Ref: RFC 5648 §4.3 (option), §4.4 (statuses), §6.2 (processing)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harp.engine.addresses import is_unicast_routable
from harp.engine.entries import NO_BID
from harp.engine.request import Refuse
from harp.tables.mh import BaStatus, BuFlag
from harp.wire.messages import BindingIdentifier

if TYPE_CHECKING:
    from harp.engine.config import HomeAgentConfig
    from harp.engine.request import Request
    from harp.engine.store import BindingStore

H_FLAG = 0x80
"""Of a Binding Identifier: simultaneous home and foreign binding (RFC 5648 §4.3)."""

MAX_BIDS = 64
"""Of one home address, those deleted lately included: each is looked through for each."""


def check_whole(request: Request, store: BindingStore, config: HomeAgentConfig) -> Refuse | None:
    """What refuses a Binding Update with Binding Identifiers as a whole."""
    if not config.multiple_care_of:
        return Refuse(BaStatus.MCOA_PROHIBITED)
    if len(request.bids) > 1 and not config.bulk_registration:
        return Refuse(BaStatus.MCOA_BULK_REGISTRATION_PROHIBITED)
    if len({option.bid for option in request.bids}) != len(request.bids):
        return Refuse(BaStatus.MCOA_MALFORMED)
    known = {bid for _, bid in store.family(request.home_address)}
    if len(known.union(option.bid for option in request.bids)) > MAX_BIDS:
        return Refuse(BaStatus.INSUFFICIENT_RESOURCES)
    # RFC 5648 §6.2: "if the 'O' flag is unset ... and the receiver has a regular binding that does
    # not have a BID ..., it must not process the Binding Update".
    overwrites = request.message.flags & BuFlag.OVERWRITE
    if not request.deletes and not overwrites and store.get(request.home_address):
        return Refuse(BaStatus.MCOA_NON_MCOA_BINDING_EXISTS)
    return None


def check_each(
    request: Request, store: BindingStore
) -> tuple[dict[int, bytes], tuple[BindingIdentifier, ...]]:
    """Judges each Binding Identifier: ({BID: care-of address} of those to register or delete,
    the options of the answer with each one's status)."""
    good: dict[int, bytes] = {}
    answers: list[BindingIdentifier] = []
    for option in request.bids:
        care_of = _care_of(option, request, store)
        if isinstance(care_of, bytes):
            good[option.bid] = care_of
            answers.append(BindingIdentifier(option.bid))
        else:
            answers.append(BindingIdentifier(option.bid, care_of))
    return good, tuple(answers)


def _care_of(option: BindingIdentifier, request: Request, store: BindingStore) -> bytes | BaStatus:
    """The care-of address that an option means, or the status that refuses it."""
    if option.bid == NO_BID:
        # RFC 5648 §5.1: "an integer between 1 and 65535".
        return BaStatus.MCOA_MALFORMED
    known = store.get(request.home_address, option.bid)
    if request.deletes:
        # RFC 5648 §6.2: "If the receiving node does not have an appropriate binding for the BID,
        # it MUST reject the Binding Update ... with status set to 133".
        return known.care_of_address if known else BaStatus.NOT_HOME_AGENT
    if option.flags & H_FLAG:
        return BaStatus.MCOA_HOME_AND_FOREIGN_PROHIBITED
    if not option.care_of_address:
        # RFC 5648 §6.2: "When the length value is 4 and the Binding Identifier is present in the
        # binding cache, the receiving node MUST update the associated binding entry."
        return known.care_of_address if known else BaStatus.MCOA_UNKNOWN_COA
    # RFC 5648 §6.2: "If the unicast routable address is not present in the Care-of Address field,
    # the receiver MUST reject the Binding Identifier". An IPv4 one cannot be served (harp.md).
    if len(option.care_of_address) != 16 or not is_unicast_routable(option.care_of_address):
        return BaStatus.MCOA_MALFORMED
    return option.care_of_address
