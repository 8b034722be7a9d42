"""Binding Refresh Requests.

Ref: RFC 6275 §6.1.2, §9.5.5; RFC 5648 §6.4
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harp.engine.effects import SendPacket
from harp.wire.messages import BindingIdentifier, BindingRefreshRequest

if TYPE_CHECKING:
    from harp.engine.entries import Entry
    from harp.wire.codec import Codec


def refresh_request(codec: Codec, group: int, source: bytes, entry: Entry) -> SendPacket:
    """Asks the mobile node for a Binding Update before its binding ends.

    RFC 6275 §9.5.5: "This message is always sent to the home address of the mobile node"; by way
    of the care-of address that the binding has. With a BID it says which binding is meant.
    """
    options = (BindingIdentifier(entry.bid),) if entry.bid else ()
    payload = codec.build(source, entry.home_address, BindingRefreshRequest(options))
    return SendPacket(source, entry.home_address, payload, via=entry.care_of_address, group=group)
