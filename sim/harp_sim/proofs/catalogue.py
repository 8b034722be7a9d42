"""All proofs, and for each the bugs that it has been shown to find."""

from __future__ import annotations

from dataclasses import dataclass

from harp_sim.proofs import arbiter, events, frame_buffer, streams, verdict
from harp_sim.proofs.runner import Proof
from harp_sim.proofs.sources import Edit


@dataclass(frozen=True, slots=True)
class Plant:
    """A bug, and the proof that must fail with it."""

    proof: str
    edit: Edit
    depth: int = 40
    """Clocks in which it shows, at most."""
    quick: bool = False
    """Part of every test run."""


BUFFER = frame_buffer.SMALL

PROOFS = (
    Proof(
        "held_frames",
        "the frame buffer: what is committed leaves whole, in order, once; the rest never",
        "frame_buffer",
        frame_buffer.held_frames,
        BUFFER,
        depth=12,
        covers=False,
    ),
    Proof(
        "early_frames",
        "the same, when frames may leave before their verdicts",
        "frame_buffer",
        frame_buffer.early_frames,
        BUFFER,
        depth=11,
        covers=False,
    ),
    Proof(
        "fenced_frames",
        "the same, when marked frames may be refused: never sent while they must be",
        "frame_buffer",
        frame_buffer.fenced_frames,
        BUFFER,
        depth=10,
        covers=False,
        quick=True,
    ),
    Proof(
        "verdict",
        "one verdict a frame, in order, 12 clocks later, with that frame's length and error",
        "verdict",
        verdict.verdict,
    ),
    Proof(
        "events",
        "an event's flag and count stand until acknowledged; what is pushed is owed",
        "events",
        events.events,
        events.SMALL,
        depth=34,
    ),
    Proof(
        "events_reset",
        "after a reset in any clock nothing is pending but what is raised since",
        "events",
        events.events_reset,
        events.SMALL,
        depth=24,
    ),
    Proof(
        "arbiter",
        "words of host and slots leave once, in order, frames whole; a slot waits for one frame",
        "arbiter",
        arbiter.arbiter,
        quick=True,
    ),
    Proof(
        "arbiter_rules",
        "stream rules of the arbiter",
        "arbiter",
        streams.arbiter_rules,
        induction=4,
        quick=True,
    ),
    Proof(
        "buffer_rules",
        "stream rules of the frame buffer",
        "frame_buffer",
        streams.buffer_rules,
        depth=20,
        induction=4,
        quick=True,
    ),
    Proof(
        "event_rules",
        "stream rules of the events",
        "events",
        streams.event_rules,
        events.SMALL,
        depth=24,
        induction=4,
    ),
    Proof(
        "sender_rules",
        "stream rules of the slot sender",
        "slot_sender",
        streams.sender_rules,
        streams.SENDER,
        depth=20,
        induction=4,
        quick=True,
    ),
    Proof(
        "bank_rules",
        "stream rules of the register bank",
        "register_bank",
        streams.bank_rules,
        depth=20,
    ),
)

PLANTS = (
    # A dropped frame is sent.
    Plant(
        "held_frames",
        Edit("frame_buffer", "verdict.p.forward & ~head.lost", "~head.lost"),
        12,
        quick=True,
    ),
    # A frame that was cut is sent.
    Plant(
        "held_frames",
        Edit("frame_buffer", "forward & ~head.lost & ~self._live", "forward & ~self._live"),
        16,
    ),
    # The next frame begins a word late.
    Plant(
        "held_frames",
        Edit("frame_buffer", "self._decided.start.eq(self._oldest)", "self._decided.start.eq(0)"),
        12,
    ),
    # A frame that left early is sent again.
    Plant(
        "early_frames",
        Edit("frame_buffer", "~head.lost & ~self._live", "~head.lost"),
        12,
    ),
    # A frame without words takes the next one's: what the proof found first.
    Plant(
        "early_frames",
        Edit("frame_buffer", "self._closed.eq(self._ended.r_rdy)", "self._closed.eq(0)"),
        16,
    ),
    # The fence looks at the wrong frame.
    Plant(
        "fenced_frames",
        Edit("frame_buffer", "Mux(empty, self.i_mark, entry.mark)", "self.i_mark"),
        14,
    ),
    Plant(
        "verdict",
        Edit("verdict", "read.addr.eq(read.addr + here)", "read.addr.eq(read.addr + out.valid)"),
        20,
        quick=True,
    ),
    Plant("verdict", Edit("verdict", "IN_FLIGHT = 16", "IN_FLIGHT = 8"), 30),
    Plant("events", Edit("events", "self.ack & ~self._acked", "self.ack"), 20),
    Plant(
        "events",
        Edit("events", "self._row.count == self._ack_count", "1"),
        20,
        quick=True,
    ),
    Plant(
        "events",
        Edit("events", "waits & (before | ~self._room)", "waits & ~self._room"),
        36,
    ),
    # Of two events one is counted.
    Plant(
        "events",
        Edit("events", "Mux(self._flag, Mux(count.all(), count, count + 1), 1)", "1"),
        30,
    ),
    # What was pending outlives a reset.
    Plant(
        "events_reset",
        Edit("events", "self._set_flags.data.eq(0), self._set_flags.en.eq(1)", ""),
        24,
    ),
    Plant(
        "arbiter",
        Edit("arbiter", "self.request & ~host & ~slot", "self.request & ~slot"),
        quick=True,
    ),
    Plant(
        "arbiter",
        Edit("arbiter", "move & ~slot & (host | ~self.request)", "move & (host | ~self.request)"),
    ),
    Plant("arbiter", Edit("arbiter", "host.eq(~self.i_host.p.last)", "host.eq(0)")),
    Plant(
        "arbiter_rules",
        Edit("arbiter", "move = ~self.o.valid | self.o.ready", "move = 1"),
        quick=True,
    ),
    Plant(
        "buffer_rules",
        Edit("frame_buffer", "move_out = ~self.o.valid | self.o.ready", "move_out = self.i.valid"),
        20,
    ),
    Plant(
        "event_rules",
        Edit("events", "self._flag & past & ~self._held & ~self.o.valid", "self._flag & past"),
        30,
    ),
    Plant(
        "sender_rules",
        Edit("slot_sender", "self._move.eq(~self.o.valid | self.o.ready)", "self._move.eq(1)"),
        20,
        quick=True,
    ),
    Plant(
        "bank_rules",
        Edit("register_bank", "ready.eq(~self.o_response.valid)", "ready.eq(1)"),
        20,
    ),
)
