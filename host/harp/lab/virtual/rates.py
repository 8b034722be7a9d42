"""Nothing is sent faster, or longer, than the rate rules allow, and nothing with an old timestamp.

Ref: harp.md §4 (HELLOs), §6 (log), §7 (timestamps), §8 (repetition); RFC 5142 §8 (Home Agent
     Switch)
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, TypeAlias

from harp.engine import effects as fx
from harp.lab.virtual.observed import (
    NEVER,
    TYPE_OCTET,
    US_PER_S,
    Head,
    Member,
    Observed,
    is_multicast,
    timestamp_of,
)
from harp.lab.virtual.scenario import seconds
from harp.tables.constants import MAX_UPDATE_RATE_PER_S
from harp.tables.harp_types import LOG_INDEX, HarpType, Status
from harp.tables.mh import NEXT_HEADER, MhType

if TYPE_CHECKING:
    from collections.abc import Hashable

Wrong: TypeAlias = tuple[str, str] | None
"""Name of the rule and what breaks it."""

REQUESTS = frozenset((HarpType.SS_REQ, HarpType.SO_REQ, HarpType.SB_REQ, HarpType.SW_COMP))
CHANGES_PER_S = 20
"""HELLOs beyond the schedule that changes may cause in a second: each is sent at once (harp.md
§4), and no scenario changes a member so often."""
FREE_REPEATS = 3
"""Identical retransmissions before `MAX_UPDATE_RATE` holds (harp.md §8)."""
_ROUND_US = 2_000
"""Allowance for clocks that run fast by 2 %, and rounding, per 0.1 s."""


class Rates:
    """Watches every packet that members send."""

    def __init__(self, facts: Observed) -> None:
        self._facts = facts
        self._recent: dict[Hashable, deque[int]] = defaultdict(deque)
        self._repeats: dict[Hashable, list[int]] = {}
        self._last: dict[Hashable, int] = {}
        self._timestamps: dict[str, int] = {}

    def forget(self, name: str) -> None:
        """A member lost its disk: what timestamps it used it cannot know."""
        self._timestamps.pop(name, None)

    def signs(self, name: str, payload: bytes) -> Wrong:
        """Timestamps of a sender never repeat or go back, over restarts too (harp.md §7)."""
        timestamp = timestamp_of(payload)
        if not timestamp:
            return None
        last = self._timestamps.get(name, 0)
        self._timestamps[name] = timestamp
        if timestamp <= last:
            return "timestamps_rise", f"{name} signs with {timestamp:#x} after {last:#x}"
        return None

    def sends(self, member: Member, effect: fx.SendPacket) -> Wrong:
        """A packet leaves."""
        payload = effect.payload
        if effect.protocol != NEXT_HEADER:
            return None
        if payload[2] == MhType.HOME_AGENT_SWITCH:
            return self._home_agent_switch(member, effect)
        if not self._facts.is_harp(payload):
            return None
        if self._facts.signed and (wrong := self.signs(member.node.name, payload)):
            return wrong
        if payload[TYPE_OCTET] == HarpType.HELLO:
            return self._hello(member, effect)
        head = Head.of(payload)
        if head.status == Status.WRONG_GROUP:
            return self._at_most(("132", member.node.name, effect.destination), 1, "Status 132")
        if head.type in REQUESTS:
            return self._request(member, effect, head)
        if head.type == HarpType.SS_REP:
            return self._log_message(member, effect, head)
        return None

    def announces(self, member: Member) -> Wrong:
        """An unsolicited Neighbor Advertisement leaves: `na_rate` (harp.md §8)."""
        most = member.node.config.na_rate
        return self._at_most(("na", member.node.name), most + most // 50 + 1, "advertisements")

    def _hello(self, member: Member, effect: fx.SendPacket) -> Wrong:
        """The schedule, what changes, and for each asker `MAX_HELLO_RATE` (harp.md §4)."""
        config = member.node.config
        scheduled = -(-120 * US_PER_S // (100 * config.hello_interval_us))
        asked = 0 if is_multicast(effect.destination) else config.max_hello_rate
        key = ("hello", member.node.name, effect.link, effect.destination)
        return self._at_most(key, scheduled + asked + CHANGES_PER_S, "HELLOs")

    def _at_most(self, key: Hashable, most: int, what: str) -> Wrong:
        now, recent = self._facts.network.now, self._recent[key]
        while recent and recent[0] <= now - US_PER_S:
            recent.popleft()
        recent.append(now)
        if len(recent) > most:
            return "rates_kept", f"{key}: {len(recent)} {what} in a second, {most} allowed"
        return None

    def _request(self, member: Member, effect: fx.SendPacket, head: Head) -> Wrong:
        """Every request ends after `HARELIABILITY_TIMEOUT`, an SS-REQ after the longest sync and
        that; repeats from the fourth on keep `MAX_UPDATE_RATE` (harp.md §8)."""
        node = member.node
        key = (node.name, node.boots, effect.destination, head.type, head.sequence)
        now, bounds = self._facts.network.now, self._facts.bounds
        times = self._repeats.setdefault(key, [])
        times.append(max(now, member.resumed_us))
        longest = bounds.reliability + bounds.slack
        if head.type == HarpType.SS_REQ:
            longest += node.config.sync.sync_timeout_us
        if now - times[0] > longest:
            return "requests_end", f"{key} is still sent, first at {seconds(times[0])}"
        repeats = len(times) - 1
        least = US_PER_S // MAX_UPDATE_RATE_PER_S - 5 * _ROUND_US
        if repeats > FREE_REPEATS and times[-1] - times[-2] < least:
            return "rates_kept", f"{key}: repeat {repeats} after {times[-1] - times[-2]} µs"
        return None

    def _log_message(self, member: Member, effect: fx.SendPacket, head: Head) -> Wrong:
        """A log message is repeated until `HARELIABILITY_TIMEOUT`, later only where the standby
        was gone in between or says that it wants it (harp.md §6)."""
        if head.number != LOG_INDEX:
            return None
        node, bounds = member.node, self._facts.bounds
        # Term and Position stand in the first option (harp.md §2.1).
        key = (node.name, node.boots, effect.destination, effect.payload[20:32])
        now = self._facts.network.now
        first = self._last.setdefault(key, now)
        asked = member.acks_heard.get(effect.destination, NEVER)
        name = self._facts.name_of(effect.destination)
        back = member.heard_since.get(name, NEVER) if name else NEVER
        if now - max(first, asked, back, member.resumed_us) > bounds.reliability + bounds.slack:
            return "requests_end", f"log message {key} is still sent, first at {seconds(first)}"
        return None

    def _home_agent_switch(self, member: Member, effect: fx.SendPacket) -> Wrong:
        """At most one a second to a mobile node (RFC 5142 §8)."""
        key = ("switch", member.node.name, member.node.boots, effect.destination)
        now = self._facts.network.now
        last, self._last[key] = self._last.get(key, NEVER), now
        if now - last < US_PER_S - 10 * _ROUND_US:
            return "rates_kept", f"{key}: Home Agent Switch again after {now - last} µs"
        return None
