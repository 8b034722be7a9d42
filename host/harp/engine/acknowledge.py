"""Binding Acknowledgements: what they carry and where they go.

Ref: RFC 6275 §6.1.8, §9.5.4 (addressing), §10.3.1, §10.3.2 (fields); RFC 3963 §4.2 (R);
     RFC 4285 §5.1.1, §6 (options); RFC 5648 §6.2 (Binding Identifiers)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harp.engine.effects import SendPacket
from harp.tables.mh import HOP_LIMIT, NEXT_HEADER, BaFlag, BuFlag
from harp.wire.maker import maker
from harp.wire.messages import (
    BindingAcknowledgement,
    BindingIdentifier,
    Option,
    RefreshAdvice,
    ReplayProtection,
)
from harp.wire.mnha import build_mn_ha

if TYPE_CHECKING:
    from harp.engine.config import GroupConfig, Key
    from harp.engine.request import Grant, Refuse, Request
    from harp.wire.codec import Codec


_make_acknowledgement = maker(BindingAcknowledgement)
_make_packet = maker(SendPacket)

# As int: arithmetic with flag members costs ten times as much.
_KEY_MANAGEMENT = BuFlag.KEY_MANAGEMENT.value
_MOBILE_ROUTER = BuFlag.MOBILE_ROUTER.value


class Acknowledger:
    """Builds the answers of one group's home agent."""

    def __init__(self, config: GroupConfig, codec: Codec) -> None:
        self._group = config.group
        self._home_agent = config.home_agent
        self._codec = codec

    def acceptance(self, request: Request, grant: Grant, key: Key | None) -> SendPacket:
        """RFC 6275 §10.3.1: "Regardless of the setting of the Acknowledge (A) bit ... the home
        agent MUST return a Binding Acknowledgement"."""
        wanted, flags = request.message.flags, 0
        if wanted & _KEY_MANAGEMENT and self._home_agent.key_mobility:
            flags |= BaFlag.KEY_MANAGEMENT.value
        if wanted & _MOBILE_ROUTER:
            # RFC 3963 §4.2: "the Home Agent that processed the corresponding Binding Update
            # supports Mobile Routers".
            flags |= BaFlag.MOBILE_ROUTER.value
        options: list[Option] = list(grant.bids)
        advice_s = self._home_agent.min_refresh_s
        # RFC 6275 §10.3.1: "MUST be set to a value less than the Lifetime value being returned";
        # §10.3.2: omitted in a de-registration.
        if 0 < advice_s < grant.lifetime_s:
            options.append(RefreshAdvice(advice_s))
        message = _make_acknowledgement(
            grant.status, request.message.sequence, grant.lifetime_s, flags, ()
        )
        return self._send(request, message, options, request.replay_protection, key)

    def refusal(self, request: Request, refusal: Refuse, key: Key | None) -> SendPacket:
        """An answer with a Status of 128 or above."""
        sequence = refusal.sequence if refusal.sequence is not None else request.message.sequence
        # RFC 5648 §6.2: "all the Binding Identifier mobility options stored in the Binding Update
        # MUST be copied to the Binding Acknowledgement except the Status field".
        bids = refusal.bids or tuple(BindingIdentifier(option.bid) for option in request.bids)
        replay = request.replay_protection
        if refusal.timestamp is not None:
            replay = ReplayProtection(refusal.timestamp)
        message = BindingAcknowledgement(refusal.status, sequence, 0)
        return self._send(request, message, list(bids), replay, key)

    def _send(
        self,
        request: Request,
        message: BindingAcknowledgement,
        options: list[Option],
        replay: ReplayProtection | None,
        key: Key | None,
    ) -> SendPacket:
        """RFC 6275 §9.5.4: "the acknowledgement MUST be sent to the Source Address", with "a type 2
        routing header that contains the mobile node's home address" unless that is the source."""
        if replay:
            # RFC 4285 §6: "it MUST include the mobility message replay protection option in
            # Binding Acknowledgement".
            options.append(replay)
        if options:
            message = BindingAcknowledgement(
                message.status, message.sequence, message.lifetime_s, message.flags, tuple(options)
            )
        ours, home = request.destination, request.home_address
        if key is None:
            payload = self._codec.build(ours, home, message)
        else:
            payload = build_mn_ha(
                self._codec,
                ours,
                home,
                message,
                care_of_address=request.care_of_address,
                home_address=home,
                spi=key.spi,
                key=key.key,
            )
        via = request.source if request.has_home_address_option else b""
        return _make_packet(ours, home, payload, "", via, NEXT_HEADER, HOP_LIMIT, self._group)
