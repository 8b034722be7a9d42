"""Authentication of one group's HARP messages: signing and judging (harp.md §7, §3 rule 11).

Ref: RFC 4285 §5, §6 (options 9 and 10); harp.md §2.3 (HA-HA), §7
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from harp.engine.config import AuthMode, GroupConfig, Security
from harp.engine.effects import Effect, SendPacket, WriteJournal
from harp.engine.journal import JournalCodec, TimestampKept
from harp.tables.constants import US_PER_S
from harp.tables.harp_types import HarpFlag, HarpType
from harp.tables.mh import HOP_LIMIT, NEXT_HEADER
from harp.tables.reasons import Reason
from harp.wire.auth import ntp_from_unix_us, unix_us_from_ntp, verify_ha_ha
from harp.wire.bulk import BulkCodec
from harp.wire.codec import Codec
from harp.wire.maker import maker
from harp.wire.messages import Authentication, Harp, ReplayProtection, RestartCounter

_make_packet = maker(SendPacket)
RESERVE_US = 2 * US_PER_S
"""The journal promises timestamps this far ahead, so that none comes twice after a restart."""
RENEW_US = US_PER_S
"""A promise is renewed when less of it is left: the record is on disk long before it is needed."""
GUARD_TIMESTAMPS = 1 << 12
"""Timestamps (1 µs of them) behind each that is sent which are left to the guard process: its
goodbyes are signed with the last one sent + 1, + 2, ..., whatever the clock says (harp.md §7)."""
_FLAG_R = int(HarpFlag.R)
_WIRE = (1 << 64) - 1
"""The part of a timestamp that travels."""
AFTER_ANSWER = frozenset(
    (
        HarpType.SS_REQ,
        HarpType.SO_REQ,
        HarpType.SO_REP,
        HarpType.SB_REQ,
        HarpType.SB_REP,
        HarpType.SW_COMP,
    )
)
"""harp.md §7: "After its own start a receiver applies Types 1, 4-8 only if newer than a timestamp
in that sender's answer to its R"."""


class Heard(NamedTuple):
    """A HARP message with what the packet around it says."""

    sender: bytes
    """Identity of the member."""
    link: int
    """Index of the link that its source address belongs to."""
    source: bytes
    """IPv6 source."""
    destination: bytes
    """IPv6 destination."""
    payload: bytes
    """From the MH's first octet on; octets behind the MH are ignored."""
    message: Harp
    """Parsed."""

    @property
    def multicast(self) -> bool:
        """Sent to a multicast address."""
        return self.destination[0] == 0xFF


class Judgement(NamedTuple):
    """Why a message is dropped."""

    reason: Reason
    """`auth`, `clock` or `replay`."""
    detail: str
    """For people."""


class Protector:
    """Signs what leaves and judges what arrives for one group."""

    def __init__(self, config: GroupConfig, codec: Codec, clock_offset_us: int) -> None:
        self.counters: Counter[str] = Counter()
        self.clock_offset_us = clock_offset_us
        """UNIX time minus `now`, µs."""
        self._config = config
        self._codec = codec
        self._bulk = BulkCodec(codec)
        self._journal = JournalCodec(codec, clock_offset_us)
        self._security = config.protection.security
        self.reconfigured()
        self._last_sent = 0
        self._reserved = 0
        self._last: dict[tuple[bytes, int, int, HarpType, bool], int] = {}
        self._answered: dict[bytes, int] = {}

    def reconfigured(self) -> None:
        """Keys and modes are others."""
        protection = self._config.protection
        self._mode = protection.auth
        self._window_us = protection.replay_window_us
        self._signing = protection.signing_key
        self._keys = {key.spi: key.key for key in protection.keys}

    def restore(self, timestamp: int) -> None:
        """Highest NTP timestamp promised before the restart."""
        self._last_sent = self._reserved = max(self._last_sent, _order(timestamp))

    def covers(self, message_type: HarpType, multicast: bool) -> bool:
        """Whether messages of this kind carry the HA-HA option: all in a psk group; under IPsec,
        where keys are given, the multicast HELLOs that its ESP cannot carry (harp.md §7)."""
        if self._security is Security.IPSEC:
            return bool(self._keys) and multicast and message_type is HarpType.HELLO
        return self._security is Security.PSK

    def send(
        self,
        source: bytes,
        destination: bytes,
        link: str,
        message: Harp,
        now: int,
        block: bytes = b"",
    ) -> list[Effect]:
        """The packet of a message, signed if need be; before it a journal record at times."""
        mh = self._bulk.begin(message, block)
        effects: list[Effect] = []
        if self._signing and self.covers(message.type, destination[0] == 0xFF):
            self._last_sent = max(self._last_sent + GUARD_TIMESTAMPS, self._clock(now))
            if self._last_sent + _units(RENEW_US) > self._reserved:
                self._reserved = self._last_sent + _units(RESERVE_US)
                kept = TimestampKept(self._config.identity, self._reserved & _WIRE)
                effects.append(WriteJournal(self._config.group, self._journal.encode(kept)))
            key = self._signing
            payload = self._codec.sign(
                source, destination, mh, key.spi, key.key, self._last_sent & _WIRE
            )
        else:
            payload = self._codec.finish(source, destination, mh)
        group = self._config.group
        effects.append(
            _make_packet(source, destination, payload, link, b"", NEXT_HEADER, HOP_LIMIT, group)
        )
        return effects

    def unsigned(self, source: bytes, destination: bytes, message: Harp) -> bytes:
        """The octets of a message without the HA-HA option."""
        return self._codec.build(source, destination, message)

    def _clock(self, now: int) -> int:
        """Timestamp of now, in the order of time. What is sent never repeats and never goes back
        (harp.md §7), whatever the clock does."""
        return _order(ntp_from_unix_us(now + self.clock_offset_us))

    def judge(self, heard: Heard, now: int) -> Judgement | None:
        """harp.md §3 rule 11 and the timestamps of rule 12; None: accepted."""
        message = heard.message
        if not self.covers(message.type, heard.multicast) or self._mode is AuthMode.SIGN:
            return None
        tag = self._tag(message)
        key = self._keys.get(tag.spi) if tag else None
        if tag is None or key is None:
            what = f"SPI {tag.spi} is not known" if tag else "no HA-HA option"
            if self._mode is AuthMode.ENFORCE:
                return Judgement(Reason.AUTH, what)
            self.counters["auth_unknown_spi" if tag else "auth_absent"] += 1
            return None
        length = 8 * (heard.payload[1] + 1)
        if not verify_ha_ha(heard.source, heard.destination, heard.payload[:length], key):
            return Judgement(Reason.AUTH, f"wrong MAC under SPI {tag.spi}")
        return self._judge_time(heard, tag.spi, now)

    def awaits_answer(self, sender: bytes) -> bool:
        """No answer to our R came from a member since our start: what must be newer than it
        (`AFTER_ANSWER`) is refused."""
        return sender not in self._answered

    def _tag(self, message: Harp) -> Authentication | None:
        """The HA-HA option; the codec admits it only as the last one."""
        last = message.options[-1] if message.options else None
        if (
            isinstance(last, Authentication)
            and last.subtype == self._codec.code_points.auth_subtype
        ):
            return last
        return None

    def _judge_time(self, heard: Heard, spi: int, now: int) -> Judgement | None:
        """harp.md §7: newer than the last of its kind, and within the replay window. What has a
        right MAC and is newer becomes the last of its kind, whatever else is wrong with it."""
        message = heard.message
        timestamp = _timestamp_of(message)
        if timestamp is None:
            return Judgement(Reason.AUTH, "no timestamp")
        place = (heard.sender, heard.link, spi, message.type, heard.multicast)
        time_us, clock_us = unix_us_from_ntp(timestamp), now + self.clock_offset_us
        last = self._last.get(place)
        if last is not None and _order(timestamp) <= _order(last):
            ahead = unix_us_from_ntp(last) > clock_us + self._window_us
            # harp.md §7: "After a clock that ran ahead a new SPI starts anew; harpd says so."
            return Judgement(
                Reason.REPLAY,
                f"SPI {spi}: the sender's clock ran ahead, a new SPI starts anew"
                if ahead
                else "timestamp not newer than the last",
            )
        self._last[place] = timestamp
        if abs(time_us - clock_us) > self._window_us:
            return Judgement(Reason.CLOCK, f"clocks differ by {time_us - clock_us} µs")
        if message.type in AFTER_ANSWER and timestamp <= self._answered.get(
            heard.sender, timestamp
        ):
            return Judgement(Reason.REPLAY, "not newer than an answer to our own R")
        if message.type is HarpType.HELLO and not heard.multicast and _is_answer(message):
            self._answered.setdefault(heard.sender, timestamp)
        return None


def _timestamp_of(message: Harp) -> int | None:
    """NTP timestamp of a signed message: it stands before the HA-HA option."""
    for option in reversed(message.options):
        if isinstance(option, ReplayProtection):
            return option.timestamp
    return None


def _units(us: int) -> int:
    """A time span as NTP timestamps count it."""
    return (us << 32) // US_PER_S


def _order(timestamp: int) -> int:
    """Timestamps in the order of time over the NTP eras 1968 to 2104 (RFC 4330 §3)."""
    return timestamp if timestamp >> 63 else timestamp + (1 << 64)


def _is_answer(message: Harp) -> bool:
    """A HELLO that answers an R: it carries the Restart Counter and asks for nothing."""
    return not message.flags & _FLAG_R and any(
        isinstance(option, RestartCounter) for option in message.options
    )
