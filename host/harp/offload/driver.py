"""A board behind a serial port as a `Device`: identify, program, kick, watch. Sans-IO.

Ref: offload.md (the lease), §3 to §6; `harp.tables.registers`

`connected` when the port is open; then octets go in by `receive`, and what is to be sent, said or
done comes out by `take`. One program (`programs`) runs at a time (`running`); kicks,
acknowledgements and the watchdog go before its next request. What is wanted of peers and slots, and
where the board has them, is in `peer_rows` and `slot_rows`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from harp.offload import programs
from harp.offload.device import (
    Attached,
    DeviceStatus,
    Identity,
    Lost,
    Noted,
    Notice,
    PeerKey,
    PeerSpec,
    Refused,
    Settings,
    SlotKey,
    SlotSpec,
    Unfenced,
    WatchdogFired,
)
from harp.offload.peer_rows import PEER_EVENTS, PeerRows
from harp.offload.polls import Polls
from harp.offload.programs import Program, once, read, write
from harp.offload.registers import fields_of
from harp.offload.running import Runner
from harp.offload.session import Answered, Ask, Occurred, Output, Over, Send, Session, Urgency
from harp.offload.slot_rows import SlotRows
from harp.tables.constants import US_PER_MS
from harp.tables.link import LinkOp, LinkStatus
from harp.tables.offload import (
    LEASE_ROUND_TRIPS,
    SLOTS,
    Capability,
    EventKind,
    WatchdogAction,
)
from harp.tables.registers import BY_NAME, MAGIC, MAP_VERSION

if TYPE_CHECKING:
    from random import Random

KICKS_A_LEASE = 4
"""How often the lease is renewed while it lasts."""
SOUNDINGS = 8
"""Round trips measured before the lease is judged."""


class Phase(StrEnum):
    """How far a connection is."""

    CLOSED = "closed"
    IDENTIFYING = "identifying"
    PREPARING = "preparing"
    ATTACHED = "attached"
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True)
class Close:
    """The port is of no use any more; open it again after a while."""


Outgoing: TypeAlias = Send | Notice | Close


class Driver:
    """One board. Methods of `Device` note what is wanted; `expire` then begins with it."""

    def __init__(self, settings: Settings, baud: int, rng: Random) -> None:
        self.phase = Phase.CLOSED
        self.lease_until_us: int | None = None
        """The board acts for us no longer than this after the last kick that it answered, µs."""
        self._settings = settings
        self._baud = baud
        self._rng = rng
        self._identity: Identity | None = None
        self._detail = ""
        self._counters: Counter[str] = Counter()
        """Of all connections: who counts must not fall back because a cable was pulled."""
        self._out: list[Outgoing] = []
        self._now = 0
        self._begin_anew(Session(0, baud))

    def _begin_anew(self, session: Session) -> None:
        """Nothing is known of the device, and nothing wanted of it."""
        self._session = session
        self._polls = Polls(self._counters)
        self._runner = Runner(session, self._say, lambda: self._now, self._unusable)
        self._peers = PeerRows(self._runner, self._say, self._polls)
        self._slots = SlotRows(self._runner, self._say)
        self._armed = self._armed_there = False
        self._unfence = self._was_reset = False
        self._filtering = False
        self._kick: int | None = None
        self._kick_due: int | None = None
        self.lease_until_us = None

    def _say(self, one: Send | Notice) -> None:
        self._out.append(one)

    # What the port brings

    @property
    def deadline(self) -> int | None:
        """When to call `expire`, µs."""
        attached = self.phase is Phase.ATTACHED
        times = (
            self._session.deadline,
            self._kick_due if attached and self._kick is None else None,
            self.lease_until_us if attached else None,
            self._polls.due if attached and not self._runner.busy else None,
        )
        return min((time for time in times if time is not None), default=None)

    @property
    def idle(self) -> bool:
        """Attached, and all that was asked is done."""
        wanted = not (self._peers.settled and self._slots.settled) or self._unfence
        settled = self._filtering and self._armed == self._armed_there
        return self.phase is Phase.ATTACHED and not self._runner.busy and settled and not wanted

    def connected(self, now: int) -> None:
        """The port is open: who is there?"""
        self._now = now
        self._counters = Counter(self.status().counters)
        self._begin_anew(Session(self._rng.randrange(1 << 16), self._baud))
        self.phase = Phase.IDENTIFYING
        self._runner.run(self._identify())

    def disconnected(self, reason: str, now: int) -> None:
        """The port failed or was closed."""
        self._now = now
        self._end(reason)

    def receive(self, octets: bytes, now: int) -> None:
        """Octets from the port."""
        if self.phase is not Phase.CLOSED:
            self._now = now
            self._hear(self._session.receive(octets, now))

    def expire(self, now: int) -> None:
        """Whatever is due; calling it early does nothing."""
        if self.phase is Phase.CLOSED:
            return
        self._now = now
        self._hear(self._session.expire(now))
        if self.phase is not Phase.ATTACHED:
            return
        if self.lease_until_us is not None and now >= self.lease_until_us:
            self._end("no kick was answered for the length of the lease")
            return
        if self._kick is None and self._kick_due is not None and now >= self._kick_due:
            self._renew()
        self._work()

    def take(self) -> list[Outgoing]:
        """What came of it since the last call, in order."""
        out, self._out = self._out, []
        return out

    def _hear(self, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Send():
                    self._out.append(output)
                case Answered():
                    self._answered(output)
                case Occurred():
                    self._occurred(output)
                case Over(reason):
                    self._end(reason)
        if self.phase is not Phase.CLOSED:
            self._work()

    # Device

    def put_peer(self, spec: PeerSpec) -> None:
        """Adds or updates a peer."""
        self._peers.put(spec)

    def delete_peer(self, key: PeerKey) -> None:
        """Forgets a peer."""
        self._peers.delete(key)

    def put_slot(self, spec: SlotSpec) -> None:
        """Adds or updates a slot."""
        self._slots.put(spec)

    def delete_slot(self, key: SlotKey) -> None:
        """Stops a slot."""
        self._slots.delete(key)

    def sequences(self) -> dict[SlotKey, int]:
        """Sequence # that each slot had at the last kick; 0: none."""
        return self._slots.sequences()

    def arm(self, armed: bool) -> None:
        """Arms or disarms the watchdog."""
        self._armed = armed

    def unfence(self) -> None:
        """Behind everything that was asked before."""
        self._unfence = True

    def leave(self) -> None:
        """Everything off; then the port may be closed."""
        if self.phase is not Phase.ATTACHED or self._identity is None:
            self._end("closed")
            return
        self.phase = Phase.LEAVING
        self._kick_due = self.lease_until_us = None
        self._runner.close()
        self._runner.run(programs.silence(self._identity), lambda: self._end("closed"))

    def status(self) -> DeviceStatus:
        """As of now; the device's own counters as it told them last."""
        counters = Counter(self._counters)
        counters["link_bad_frames"] += self._session.deframer.bad_frames
        counters["link_retries"] += self._session.retries
        return DeviceStatus(
            self.phase, self._identity, self._detail, self._session.round_trip_us, counters
        )

    # Programs

    def _answered(self, answer: Answered) -> None:
        if answer.token != self._kick:
            self._runner.answered(answer)
            return
        self._kick = None
        if answer.status is not LinkStatus.OK:
            self._unusable()  # whether the lease holds, and the slots' sequences, are not known
        elif self.phase is Phase.ATTACHED:
            # The board's lease began when the kick arrived: not before it was sent.
            self.lease_until_us = answer.sent_us + self._lease_us
            self._slots.kicked(answer.words)

    def _unusable(self) -> None:
        self._end("it refuses a register that its map has: gateware and host do not fit")

    def _work(self) -> None:
        """Starts programs until one waits for an answer, the most urgent first."""
        if self.phase is Phase.ATTACHED:
            self._slots.halt()
        while self.phase is Phase.ATTACHED and not self._runner.busy and self._begin():
            pass

    def _begin(self) -> bool:
        """Starts a program; False: there is nothing to do."""
        run = self._runner.run
        if self._was_reset:
            self._was_reset = False
            run(self._check_reset())
        elif self._slots.work(resign=False):
            pass
        elif self._armed_there and not self._armed:
            run(self._set_guard(False))
        elif self._slots.work(resign=True):
            pass
        elif self._armed and not self._armed_there:
            run(self._set_guard(True))
        elif self._peers.look() or self._peers.work():
            pass
        elif self._unfence:
            self._unfence = False
            run(self._end_fence())
        elif not self._filtering:
            self._filtering = True
            control = programs.control_words(self._settings, self._settings.filter)
            run(once(write("control", 0, control)))
        elif self._now >= self._polls.due:
            self._poll()
        else:
            return False
        return True

    # The beginning and the end of a connection

    def _identify(self) -> Program:
        """Magic first: what follows has a meaning only under it and a map version that is known."""
        words = yield Ask(LinkOp.READ, 0, 2)
        if words[0] != MAGIC:
            self._end(f"another device answers: magic {words[0]:#010x}; is this the board's port?")
            return
        if words[1] != MAP_VERSION:
            self._end(
                f"its register map has version {words[1]}, this host knows {MAP_VERSION}: "
                "flash gateware of this release (harp-board flash), or update the host"
            )
            return
        identity = programs.identity_of((yield Ask(LinkOp.READ, 0, programs.IDENTITY)))
        if identity.slots > SLOTS or not identity.peers:
            self._end(f"it has {identity.peers} peers, {identity.slots} slots: no such build")
            return
        self._identity, self.phase = identity, Phase.PREPARING
        self._peers.rows, self._slots.rows = identity.peers, identity.slots
        if Capability.MONITOR_ONLY in identity.capabilities:
            self._settings = replace(self._settings, watchdog=WatchdogAction.EVENT)
        yield from programs.prepare(identity, self._settings)
        # Disarmed by now: nothing fires between this answer and the attachment.
        state = fields_of("guard_state", (yield read("guard_state", count=1)))
        self._session.measure_anew()
        for _ in range(SOUNDINGS):
            yield read("now")  # as short as a kick
        round_trip_us = self._session.round_trip_us or 0
        least_ms = -(-LEASE_ROUND_TRIPS * round_trip_us // US_PER_MS)
        if self._settings.lease_ms < least_ms:
            self._end(
                f"a lease of {self._settings.lease_ms} ms is shorter than {LEASE_ROUND_TRIPS} "
                f"round trips of {round_trip_us} µs: lower the adapter's latency_timer, or "
                "lengthen lease or detection time"
            )
            return
        self.phase, self._detail = Phase.ATTACHED, ""
        self._polls.begin(identity, self._now)
        self.lease_until_us = self._now + self._lease_us
        self._renew()
        self._say(Attached(identity, bool(state["fired"] or state["fenced"])))

    @property
    def _lease_us(self) -> int:
        return self._settings.lease_ms * US_PER_MS

    def _end(self, reason: str) -> None:
        """The connection is over."""
        if self.phase is Phase.CLOSED:
            return
        was, self.phase = self.phase, Phase.CLOSED
        if was is Phase.IDENTIFYING:
            reason = self._nobody(reason)
        self._session.end(reason)
        sequences = self.sequences()
        self._begin_anew(self._session)
        self._detail = reason
        if was is Phase.ATTACHED:
            self._say(Lost(reason, sequences))
        elif was is not Phase.LEAVING:
            self._say(Refused(reason))
        self._out.append(Close())

    def _nobody(self, reason: str) -> str:
        """What no answer to the first question may mean."""
        noise = self._session.deframer.bad_frames
        if "no answer" not in reason:
            return reason
        if noise:
            return f"noise instead of an answer ({noise} frames): wrong baud rate or device"
        return f"{reason}: no power, no gateware, wrong port or wrong baud rate"

    # Lease, watchdog, fence

    def _renew(self) -> None:
        answer = BY_NAME["kick_answer"]
        ask = Ask(LinkOp.KICK, answer.offset, answer.words, (), Urgency.KICK)
        self._kick_due = self._now + self._lease_us // KICKS_A_LEASE
        self._kick = self._runner.ask(ask)

    def _set_guard(self, armed: bool) -> Program:
        yield write("guard", 0, programs.guard_words(self._settings, armed), urgency=Urgency.NOW)
        self._armed_there = armed

    def _end_fence(self) -> Program:
        words = programs.guard_words(self._settings, self._armed_there, unfence=1)
        yield write("guard", 0, words, urgency=Urgency.NOW)
        state = fields_of("guard_state", (yield read("guard_state", count=1)))
        fired = state["fired"] or state["fenced"]
        self._say(WatchdogFired() if fired else Unfenced())

    # Events and polls

    def _occurred(self, event: Occurred) -> None:
        self._polls.count(event.kind)
        if self.phase is not Phase.ATTACHED:
            return
        if event.kind is EventKind.RESET:
            self._was_reset = True
        elif event.kind in (EventKind.WATCHDOG_FIRED, EventKind.FENCED):
            self._say(WatchdogFired())
        elif event.kind in PEER_EVENTS:
            self._peers.occurred(event)
        else:
            self._say(Noted(event.kind, event.index, event.count))

    def _check_reset(self) -> Program:
        """A reset sets the sticky bit that `prepare` cleared; else it was a copy of the first."""
        sticky = fields_of("sticky", (yield read("sticky")))
        if sticky["reset"]:
            self._end("the board was reset")

    def _poll(self) -> None:
        """Now and then: nothing depends on an event alone."""
        ask, key = self._polls.next(self._peers.watched, self._now)
        if key is not None:
            self._runner.run(self._peers.read(key))
        elif ask is not None:
            self._runner.run(self._read_counters(ask))

    def _read_counters(self, ask: Ask) -> Program:
        self._polls.take(ask, (yield ask))
        if self._polls.sticky.get("reset"):
            self._end("the board was reset")
        elif self._polls.guard.get("fired"):
            self._say(WatchdogFired())
