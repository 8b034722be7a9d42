"""Authentication between mobile node and home agent where no IPsec does it.

Ref: RFC 4285 §5.1 (MN-HA option), §6 (timestamps), §8 (statuses 144 to 146)
"""

from __future__ import annotations

from harp.engine.config import HomeAgentConfig, Key
from harp.engine.request import Discard, Refuse, Request
from harp.tables.mh import BaStatus
from harp.tables.options import MN_HA_SUBTYPE
from harp.tables.reasons import Reason
from harp.wire.auth import ntp_from_unix_us, unix_us_from_ntp
from harp.wire.messages import Authentication
from harp.wire.mnha import verify_mn_ha

_FRACTION = 0xFFFF_FFFF


class MnAuthenticator:
    """Keys and timestamps of a group's mobile nodes.

    A timestamp outside the window is refused for that alone, so the last one of a mobile node is
    kept only as long as it can matter: in two generations, each of two windows.
    """

    def __init__(self, config: HomeAgentConfig, clock_offset_us: int) -> None:
        self.clock_offset_us = clock_offset_us
        """UNIX time minus `now`, µs."""
        self._config = config
        self.reconfigured()
        self._recent: dict[bytes, int] = {}
        self._older: dict[bytes, int] = {}
        self._turn_us = 0

    def reconfigured(self) -> None:
        """Other keys."""
        self._keys: dict[bytes, list[Key]] = {}
        for home_address, key in self._config.mn_keys:
            self._keys.setdefault(home_address, []).append(key)

    def key_of(self, request: Request) -> Key | None:
        """Key that the Binding Update's MN-HA option names; also signs the answer."""
        if not request.authentications:
            return None
        tag = _mn_ha_option(request)
        keys = self._keys.get(request.home_address, ()) if tag else ()
        return next((key for key in keys if tag and key.spi == tag.spi), None)

    def check(self, request: Request, now: int) -> Discard | Refuse | None:
        """What refuses a Binding Update; None: authentic, or protected by ESP."""
        if _mn_ha_option(request) is None:
            if self._config.mn_auth:
                return Discard(Reason.AUTH, "no MN-HA option")
            return None
        key = self.key_of(request)
        if key is None:
            # RFC 4285 §5.1.1: "If the Home Agent does not have shared-key-based mobility SA, Home
            # Agent MUST discard the BU."
            return Discard(Reason.AUTH, "MN-HA option with an unknown SPI")
        if not verify_mn_ha(request.raw, request.care_of_address, request.home_address, key.key):
            # RFC 4285 §5.1.1: "If authentication fails, the Home Agent MUST send BA with Status
            # Code MIPV6-AUTH-FAIL."
            return Refuse(BaStatus.AUTH_FAIL)
        return self._check_timestamp(request, now)

    def _check_timestamp(self, request: Request, now: int) -> Refuse | None:
        if request.replay_protection is None:
            # RFC 4285 §6: "the Home Agent discards the BU and sets the Status Code in BA to
            # MIPV6-MESG-ID-REQD".
            return Refuse(BaStatus.MESG_ID_REQUIRED) if self._config.mn_timestamps else None
        window = self._config.mn_clock_window_us
        if now >= self._turn_us:
            idle = now >= self._turn_us + 2 * window
            self._older = {} if idle else self._recent
            self._recent, self._turn_us = {}, now + 2 * window
        theirs, home = request.replay_protection.timestamp, request.home_address
        unix_us = now + self.clock_offset_us
        last = self._recent.get(home) or self._older.get(home, 0)
        # RFC 4285 §6: the timestamp "MUST be close enough to the Home Agent's time-of-day clock
        # and ... MUST be greater than all previously accepted timestamps".
        if abs(unix_us_from_ntp(theirs) - unix_us) <= window and theirs > last:
            self._recent[home] = theirs
            return None
        # RFC 4285 §6: "copies only the low-order 32 bits into the BA, and supplies the high-order
        # 32 bits from its own time of day".
        ours = ntp_from_unix_us(unix_us)
        return Refuse(BaStatus.ID_MISMATCH, timestamp=ours & ~_FRACTION | theirs & _FRACTION)


def _mn_ha_option(request: Request) -> Authentication | None:
    """The first MN-HA option."""
    return next((o for o in request.authentications if o.subtype == MN_HA_SUBTYPE), None)
