"""A board behind a serial port as a `Device`: identify, program, kick, watch. Sans-IO.

Ref: offload.md (the lease), §3 to §6; `harp.tables.registers`

`connected` when the port is open; then octets go in by `receive`, and what is to be sent, said or
done comes out by `take`. One program (`programs`) runs at a time; kicks, acknowledgements and the
watchdog go before its next request. Every program looks up what is wanted when it starts, so a
burst of changes of one peer costs one write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from harp.offload import programs
from harp.offload.device import (
    Attached,
    DeviceStatus,
    Identity,
    Lost,
    Noted,
    Notice,
    PeerChanged,
    PeerInstalled,
    PeerKey,
    PeerRejected,
    PeerSpec,
    Refused,
    SequenceMoved,
    Settings,
    SlotKey,
    SlotMoved,
    SlotRejected,
    SlotSpec,
    SlotStarted,
    SlotStopped,
    Unfenced,
    WatchdogFired,
)
from harp.offload.polls import Polls
from harp.offload.programs import Program, Unwelcome, Words, read, write
from harp.offload.registers import fields_of
from harp.offload.session import Answered, Ask, Occurred, Output, Over, Send, Session, Urgency
from harp.tables.constants import US_PER_MS
from harp.tables.link import LinkOp, LinkStatus
from harp.tables.offload import (
    LEASE_ROUND_TRIPS,
    SLOTS,
    Capability,
    EventKind,
    PeerState,
    WatchdogAction,
)
from harp.tables.registers import BY_NAME, MAGIC, MAP_VERSION

if TYPE_CHECKING:
    from random import Random

KICKS_A_LEASE = 4
"""How often the lease is renewed while it lasts."""
SOUNDINGS = 8
"""Round trips measured before the lease is judged."""
_PEER_EVENTS = frozenset((EventKind.PEER_DOWN, EventKind.PEER_LEFT, EventKind.PEER_UP))
_STATES = {
    PeerState.UP: PeerState.UP,
    PeerState.LATE: PeerState.UP,
    PeerState.DOWN: PeerState.DOWN,
    PeerState.LEFT: PeerState.LEFT,
}
"""States that a bridge hears of; a late peer is up."""


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


@dataclass(slots=True)
class _Running:
    """The program under way."""

    program: Program
    done: Callable[[], None]
    failed: Callable[[], None]
    token: int = 0


class Driver:
    """One board. Methods of `Device` note what is wanted; `expire` then begins with it."""

    def __init__(self, settings: Settings, baud: int, rng: Random) -> None:
        self.phase = Phase.CLOSED
        self.lease_until_us: int | None = None
        """The board acts for us no longer than this after the last kick that it answered, µs."""
        self._settings = settings
        self._baud = baud
        self._rng = rng
        self._session = Session(0, baud)
        self._identity: Identity | None = None
        self._detail = ""
        self._out: list[Outgoing] = []
        self._now = 0
        self._forget()

    def _forget(self) -> None:
        """Nothing is known of the device, and nothing wanted of it."""
        self._running: _Running | None = None
        self._peers: dict[PeerKey, PeerSpec] = {}
        self._slots: dict[SlotKey, SlotSpec] = {}
        self._peer_rows: dict[PeerKey, int] = {}
        self._watching: set[PeerKey] = set()
        self._used_rows: set[int] = set()
        self._slot_rows: dict[SlotKey, int] = {}
        self._templates: dict[int, Words] = {}
        self._sequences: dict[int, int] = {}
        self._dirty_peers: dict[PeerKey, None] = {}
        self._dirty_slots: dict[SlotKey, None] = {}
        self._look_at: dict[PeerKey, None] = {}
        self._said: dict[PeerKey, PeerState] = {}
        self._armed = self._armed_there = False
        self._unfence = self._was_reset = False
        self._filtering = False
        self._kick: int | None = None
        self._kick_due: int | None = None
        self._polls = Polls()
        self.lease_until_us = None

    # What the port brings

    @property
    def deadline(self) -> int | None:
        """When to call `expire`, µs."""
        attached = self.phase is Phase.ATTACHED
        times = (
            self._session.deadline,
            self._kick_due if attached and self._kick is None else None,
            self.lease_until_us if attached else None,
            self._polls.due if attached and self._running is None else None,
        )
        return min((time for time in times if time is not None), default=None)

    @property
    def idle(self) -> bool:
        """Attached, and all that was asked is done."""
        wanted = self._dirty_peers or self._dirty_slots or self._look_at or self._unfence
        settled = self._filtering and self._armed == self._armed_there
        return self.phase is Phase.ATTACHED and self._running is None and settled and not wanted

    def connected(self, now: int) -> None:
        """The port is open: who is there?"""
        self._now = now
        self._forget()
        self._session = Session(self._rng.randrange(1 << 16), self._baud)
        self.phase = Phase.IDENTIFYING
        self._run(self._identify())

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

    def configure(self, settings: Settings) -> None:
        """For the next connection."""
        self._settings = settings

    def put_peer(self, spec: PeerSpec) -> None:
        """Adds or updates a peer."""
        self._peers[spec.key] = spec
        self._dirty_peers[spec.key] = None

    def delete_peer(self, key: PeerKey) -> None:
        """Forgets a peer."""
        if self._peers.pop(key, None) is not None:
            self._dirty_peers[key] = None

    def put_slot(self, spec: SlotSpec) -> None:
        """Adds or updates a slot."""
        self._slots[spec.key] = spec
        self._dirty_slots[spec.key] = None

    def delete_slot(self, key: SlotKey) -> None:
        """Stops a slot."""
        if self._slots.pop(key, None) is not None:
            self._dirty_slots[key] = None

    def sequences(self) -> dict[SlotKey, int]:
        """Sequence # that each slot had at the last kick; 0: none."""
        return {key: self._sequences.get(row, 0) for key, row in self._slot_rows.items()}

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
        if self._running is not None:
            self._running.program.close()
        self._run(programs.silence(self._identity), lambda: self._end("closed"))

    def status(self) -> DeviceStatus:
        """As of now."""
        counters = Counter(self._polls.counters)
        counters["link_bad_frames"] += self._session.deframer.bad_frames
        counters["link_retries"] += self._session.retries
        return DeviceStatus(
            self.phase, self._identity, self._detail, self._session.round_trip_us, counters
        )

    # Programs

    def _run(
        self,
        program: Program,
        done: Callable[[], None] = lambda: None,
        failed: Callable[[], None] | None = None,
    ) -> None:
        self._running = _Running(program, done, failed or self._unusable)
        self._step(None)

    def _step(self, words: Words | None, refused: bool = False) -> None:
        """The program's next request."""
        running = self._running
        assert running is not None
        try:
            if refused:
                ask = running.program.throw(Unwelcome())
            else:
                ask = next(running.program) if words is None else running.program.send(words)
        except StopIteration:
            self._running = None
            running.done()
        except Unwelcome:
            self._running = None
            running.failed()
        else:
            running.token = self._ask(ask)

    def _ask(self, ask: Ask) -> int:
        token = self._session.ask(ask)
        for output in self._session.pump(self._now):
            if isinstance(output, Send):
                self._out.append(output)
        return token

    def _answered(self, answer: Answered) -> None:
        refused = answer.status is not LinkStatus.OK
        if answer.token == self._kick:
            self._kick = None
            if refused:  # whether the lease holds, and the slots' sequences, are not known
                self._unusable()
            else:
                self._kicked(answer.words, answer.sent_us)
        elif self._running is not None and answer.token == self._running.token:
            self._step(answer.words, refused)

    def _unusable(self) -> None:
        self._end("it refuses a register that its map has: gateware and host do not fit")

    def _work(self) -> None:
        """Starts programs until one waits for an answer, the most urgent first."""
        while self.phase is Phase.ATTACHED and self._running is None and self._begin():
            pass

    def _begin(self) -> bool:
        """Starts a program; False: there is nothing to do."""
        if self._was_reset:
            self._was_reset = False
            self._run(self._check_reset())
        elif self._armed_there and not self._armed:
            self._run(self._set_guard(False))
        elif self._dirty_slots:
            self._start_slot(next(iter(self._dirty_slots)))
        elif self._armed and not self._armed_there:
            self._run(self._set_guard(True))
        elif self._look_at:
            self._look(next(iter(self._look_at)))
        elif self._dirty_peers:
            self._start_peer(next(iter(self._dirty_peers)))
        elif self._unfence:
            self._unfence = False
            self._run(self._end_fence())
        elif not self._filtering:
            self._filtering = True
            control = programs.control_words(self._settings, self._settings.filter)
            self._run(_once(write("control", 0, control)))
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
        if Capability.MONITOR_ONLY in identity.capabilities:
            self._settings = replace(self._settings, watchdog=WatchdogAction.EVENT)
        state = fields_of("guard_state", (yield read("guard_state", count=1)))
        yield from programs.prepare(identity, self._settings)
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
        self._out.append(Attached(identity, bool(state["fired"] or state["fenced"])))

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
        self._forget()
        self._detail = reason
        if was is Phase.ATTACHED:
            self._out.append(Lost(reason, sequences))
        elif was is not Phase.LEAVING:
            self._out.append(Refused(reason))
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
        self._kick = self._ask(ask)

    def _kicked(self, words: Words, sent_us: int) -> None:
        """The board's lease began when the kick arrived: not before it was sent."""
        if self.phase is not Phase.ATTACHED:
            return
        self.lease_until_us = sent_us + self._lease_us
        sequences = fields_of("kick_answer", words)
        self._sequences = {n: sequences[f"sequence_{n}"] for n in range(SLOTS)}
        for key, sequence in self.sequences().items():
            if sequence and not key.resign:
                self._out.append(SlotMoved(key, sequence))

    def _set_guard(self, armed: bool) -> Program:
        yield write("guard", 0, programs.guard_words(self._settings, armed), urgency=Urgency.NOW)
        self._armed_there = armed

    def _end_fence(self) -> Program:
        words = programs.guard_words(self._settings, self._armed_there, unfence=1)
        yield write("guard", 0, words, urgency=Urgency.NOW)
        state = fields_of("guard_state", (yield read("guard_state", count=1)))
        fired = state["fired"] or state["fenced"]
        self._out.append(WatchdogFired() if fired else Unfenced())

    # Peers

    def _start_peer(self, key: PeerKey) -> None:
        del self._dirty_peers[key]
        spec, row = self._peers.get(key), self._peer_rows.get(key)
        failed = partial(self._reject_peer, key, "the board refuses it")
        if spec is None:
            if row is not None:
                self._drop_peer(key)
                self._run(programs.remove_peer(row))
            return
        if row is not None and spec.watched and key in self._watching:
            self._run(programs.update_peer(row, spec), partial(self._peer_done, spec), failed)
            return
        row = self._free_row(row)
        if row is None:
            self._reject_peer(key, "every row of the board's peer table is taken")
            return
        self._peer_rows[key] = row
        self._watching.discard(key)
        self._said.pop(key, None)
        install = programs.install_peer(row, spec, fresh=row not in self._used_rows)
        self._used_rows.add(row)
        self._run(install, partial(self._peer_done, spec), failed)

    def _free_row(self, row: int | None) -> int | None:
        if row is not None:
            return row
        assert self._identity is not None
        taken = set(self._peer_rows.values())
        return next((n for n in range(self._identity.peers) if n not in taken), None)

    def _peer_done(self, spec: PeerSpec) -> None:
        """What was wanted when the program began is there; it may be something else by now."""
        if not spec.watched or spec.key not in self._peer_rows:
            return
        self._watching.add(spec.key)
        self._said[spec.key] = PeerState.UP  # armed
        if self._peers.get(spec.key) == spec:
            self._out.append(PeerInstalled(spec.key))

    def _reject_peer(self, key: PeerKey, reason: str) -> None:
        self._drop_peer(key)
        self._peers.pop(key, None)
        self._out.append(PeerRejected(key, reason))

    def _drop_peer(self, key: PeerKey) -> None:
        self._peer_rows.pop(key, None)
        self._watching.discard(key)
        self._said.pop(key, None)
        self._look_at.pop(key, None)

    def _key_of(self, row: int) -> PeerKey | None:
        return next(
            (k for k, n in self._peer_rows.items() if n == row and k in self._watching), None
        )

    def _look(self, key: PeerKey) -> None:
        """What the device itself says of a peer."""
        del self._look_at[key]
        self._run(self._read_peer(key))

    def _read_peer(self, key: PeerKey) -> Program:
        row = self._peer_rows.get(key)
        if row is None:
            return
        words = yield read("peer_state", row, urgency=Urgency.NOW)
        if key not in self._watching or self._peer_rows.get(key) != row:
            return
        state = fields_of("peer_state", words)
        self._tell(key, PeerState(state["state"]))
        for multicast, name in ((True, "last_multicast"), (False, "last_unicast")):
            if state[name] and self._polls.moved(key, multicast, state[name]):
                self._out.append(SequenceMoved(key, multicast, state[name]))

    def _tell(self, key: PeerKey, state: PeerState) -> None:
        """Says what is new."""
        told = _STATES.get(state)
        if told is not None and self._said.get(key) != told:
            self._said[key] = told
            self._out.append(PeerChanged(key, told))

    # Slots

    def _start_slot(self, key: SlotKey) -> None:
        del self._dirty_slots[key]
        spec, row = self._slots.get(key), self._slot_rows.get(key)
        if spec is None:
            if row is None:
                self._out.append(SlotStopped(key, 0))
            else:
                self._run(_once(write("slot", row, (0,))), partial(self._slot_stopped, key))
            return
        row = self._free_slot(row)
        if row is None:
            self._reject_slot(key, "every slot of the board is taken")
            return
        self._slot_rows[key] = row
        counts_on = self._slot_rows.get(key._replace(resign=False), row)
        held = self._templates.pop(row, ())
        self._run(
            programs.install_slot(row, counts_on, spec, held),
            partial(self._slot_done, key, row, spec),
            partial(self._reject_slot, key, "the board refuses it"),
        )

    def _free_slot(self, row: int | None) -> int | None:
        if row is not None:
            return row
        assert self._identity is not None
        taken = set(self._slot_rows.values())
        return next((n for n in range(self._identity.slots) if n not in taken), None)

    def _slot_done(self, key: SlotKey, row: int, spec: SlotSpec) -> None:
        self._templates[row] = programs.template_of(spec.frame)
        if spec.sequence is not None:
            self._sequences[row] = spec.sequence
            if self._slots.get(key) == spec:
                self._slots[key] = replace(spec, sequence=None)
        self._out.append(SlotStarted(key))

    def _slot_stopped(self, key: SlotKey) -> None:
        self._out.append(SlotStopped(key, self.sequences()[key]))
        del self._slot_rows[key]

    def _reject_slot(self, key: SlotKey, reason: str) -> None:
        self._slots.pop(key, None)
        self._slot_rows.pop(key, None)
        self._out.append(SlotRejected(key, reason))

    # Events and polls

    def _occurred(self, event: Occurred) -> None:
        self._polls.count(event.kind)
        if self.phase is not Phase.ATTACHED:
            return
        if event.kind is EventKind.RESET:
            self._was_reset = True
        elif event.kind in (EventKind.WATCHDOG_FIRED, EventKind.FENCED):
            self._out.append(WatchdogFired())
        elif event.kind in _PEER_EVENTS:
            self._peer_event(event)
        else:
            self._out.append(Noted(event.kind, event.index, event.count))

    def _peer_event(self, event: Occurred) -> None:
        """Silence is told at once. All else, and whether that still holds, is what the device says
        now: events are not ordered among each other."""
        key = self._key_of(event.index)
        if key is None:
            return
        if event.kind is EventKind.PEER_DOWN:
            self._tell(key, PeerState.DOWN)
        self._look_at[key] = None

    def _check_reset(self) -> Program:
        """A reset sets the sticky bit that `prepare` cleared; else it was a copy of the first."""
        sticky = fields_of("sticky", (yield read("sticky")))
        if sticky["reset"]:
            self._end("the board was reset")

    def _poll(self) -> None:
        """Now and then: nothing depends on an event alone."""
        assert self._identity is not None
        watched = sorted(self._watching)
        ask, key = self._polls.next(watched, self._now)
        if key is not None:
            self._run(self._read_peer(key))
        elif ask is not None:
            self._run(self._read_counters(ask))

    def _read_counters(self, ask: Ask) -> Program:
        self._polls.take(ask, (yield ask))
        if self._polls.sticky.get("reset"):
            self._end("the board was reset")
        elif self._polls.guard.get("fired"):
            self._out.append(WatchdogFired())


def _once(ask: Ask) -> Program:
    yield ask
