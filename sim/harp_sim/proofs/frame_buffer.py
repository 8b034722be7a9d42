"""The frame buffer: committed frames leave whole, in order, once; dropped ones never.

Ref: offload.md §1 (order, cut-through), `docs/gateware.md` (verdict n belongs to frame n)

One frame, any, is watched, and one word of it, any: three bits of the data say of each word whether
it is of that frame, of a later one, and that word. The buffer only carries data, so they stand for
all data, and what holds for that frame and that word holds for each.
"""

from __future__ import annotations

from types import ModuleType

from amaranth import Cat, Mux, Signal

from harp_gateware.layouts import FrameError
from harp_sim.proofs.harness import Harness, implies
from harp_sim.proofs.sources import Edit

WORDS, FRAMES = 8, 8
MIN_WORDS, MAX_WORDS = 2, 3
LONGEST = 5
"""Words of the longest frame that comes."""
WAITING = 3
"""Frames that have ended and have no verdict."""
PATIENCE = 5
"""Clocks without a word out, at most, while a frame must leave and the output is ready."""

SMALL = (
    Edit("frame_buffer", "MAX_WORDS = MAX_FRAME_OCTETS // WORD_OCTETS", f"MAX_WORDS = {MAX_WORDS}"),
    Edit("frame_buffer", "MIN_WORDS = MIN_FRAME_OCTETS // WORD_OCTETS", f"MIN_WORDS = {MIN_WORDS}"),
    Edit("frame_buffer", "MARGIN = 8", "MARGIN = 5"),
    Edit("frame_buffer", "UNDECIDED = 16", "UNDECIDED = 6"),
    Edit("frame_buffer", "SPARE = UNDECIDED + 4", "SPARE = UNDECIDED"),
)


class _Buffer(Harness):
    """`early`: frames may be let out early; `fence`: marked ones may be refused."""

    def __init__(self, module: ModuleType, *, early: bool, fence: bool) -> None:
        self.dut = module.FrameBuffer(words=WORDS, frames=FRAMES)
        super().__init__(self.dut)
        self._words_in()
        self._verdicts(early, fence)
        self._words_out()
        self._progress()
        self._covers(early, fence)

    def _words_in(self) -> None:
        """Frames of 1 to LONGEST words, gaps anywhere."""
        m, i = self.m, self.dut.i
        place = Signal(3)
        watch, tag = self.free(1, "watch"), self.free(1, "tag")
        valid, last = self.free(1, "i_valid"), self.free(1, "i_last")
        full, error = Signal(init=1), self.free(1, "i_error")
        self.watched, self.later = Signal(), Signal()  # the frame under way; the next frames
        first = place == 0
        mine = Mux(first, watch & ~self.watched & ~self.later, self.watched)
        later = self.later | (self.watched & first)
        self.tagged, self.tag_place = Signal(), Signal(3)
        here = mine & tag & ~self.tagged
        m.d.comb += [
            i.valid.eq(valid),
            i.p.data.eq(Cat(mine, later, here)),
            i.p.first.eq(first),
            i.p.last.eq(last),
            i.p.octets.eq(Mux(last & ~full, 3, 8)),
            i.p.error.eq(Mux(last & error, FrameError.RX_ER, FrameError.GOOD)),
        ]
        self.assume(implies(place == LONGEST - 1, last))
        self.ended, self.bad, self.full = Signal(), Signal(), Signal()
        self.end_place = Signal(3)
        short = (place < MIN_WORDS - 1) | ((place == MIN_WORDS - 1) & ~full)
        with m.If(valid):
            m.d.sync += [
                place.eq(Mux(last, 0, place + 1)),
                self.watched.eq(mine),
                self.later.eq(later),
                self.tagged.eq(self.tagged | here),
            ]
            with m.If(here):
                m.d.sync += self.tag_place.eq(place)
            with m.If(mine & last):
                m.d.sync += [
                    self.ended.eq(1),
                    self.end_place.eq(place),
                    self.full.eq(full),
                    self.bad.eq(error | short | (place >= MAX_WORDS)),
                ]
        lately = self.past(self.past(Cat(valid, mine)))
        overrun = self.dut.o_overrun & lately[1]
        self.claim(implies(self.dut.o_overrun, lately[0]))
        self.lost = self.sticky(overrun, "lost_before") | overrun
        self.place, self.ends = place, valid & last
        self.begins, self.mine = valid & first, mine

    def _verdicts(self, early: bool, fence: bool) -> None:
        """At least 2 clocks behind a frame's end; early ones once it has begun."""
        m, dut = self.m, self.dut
        verdict, forward = self.free(1, "verdict"), self.free(1, "forward")
        lets = self.free(1, "early") if early else Signal()
        mark = self.free(1, "mark") if fence else Signal()
        refuse = self.free(1, "refuse") if fence else Signal()
        m.d.comb += [
            dut.i_verdict.valid.eq(verdict),
            dut.i_verdict.p.forward.eq(forward),
            dut.i_mark.eq(mark),
            dut.i_early.valid.eq(lets),
            dut.refuse.eq(refuse),
        ]
        # Ended and undecided; those that may have a verdict now; those before the watched one.
        waiting, ripe, before = Signal(3), Signal(3), Signal(3)
        ends_before = self.past(self.ends)
        m.d.sync += [
            waiting.eq(waiting + self.ends - verdict),
            ripe.eq(ripe + ends_before - verdict),
        ]
        self.assume(implies(verdict, ripe != 0))
        self.assume(waiting <= WAITING)
        self.judged = Signal()
        begins = self.begins & self.mine
        known = self.sticky(begins, "known")
        with m.If(begins):
            m.d.sync += before.eq(waiting - verdict)
        with m.Elif(before != 0):
            m.d.sync += before.eq(before - verdict)
        mine = verdict & known & (before == 0) & ~self.judged
        under_way = (waiting - verdict != 0) | (self.place != 0)
        self.assume(implies(lets, under_way))
        oldest = known & ~self.judged & (before == verdict)
        self.early = self.sticky(lets & oldest, "was_early")
        self.forward, self.mark = Signal(), Signal()
        self.always, self.ever = Signal(), Signal()  # refused since the verdict
        with m.If(mine):
            m.d.sync += [
                self.judged.eq(1),
                self.forward.eq(forward),
                self.mark.eq(mark),
                self.always.eq(refuse),
                self.ever.eq(refuse),
            ]
        with m.Elif(self.judged):
            m.d.sync += [self.always.eq(self.always & refuse), self.ever.eq(self.ever | refuse)]
        self.committed = self.judged & self.forward & ~self.lost
        self.owed = self.committed & ~(self.mark & self.ever)

    def _words_out(self) -> None:
        """What leaves: the rules of the stream, then of the watched frame."""
        m, o = self.m, self.dut.o
        m.d.comb += o.ready.eq(self.free(1, "o_ready"))
        self.moved = o.valid & o.ready
        mine, later, tag = o.valid & o.p.data[0], o.valid & o.p.data[1], o.p.data[2]
        place, inside = Signal(3), Signal()  # of this word; the watched frame is leaving
        self.claim(self.held(o))
        self.claim(implies(o.valid, o.p.first == (place == 0)))
        self.claim(implies(o.valid & ~o.p.last, o.p.error == FrameError.GOOD))
        self.claim(implies(o.valid & (place != 0), mine == inside))
        with m.If(self.moved):
            m.d.sync += [place.eq(Mux(o.p.last, 0, place + 1)), inside.eq(mine & ~o.p.last)]
        self.begun = self.sticky(mine & self.moved, "begun")
        self.done = self.sticky(mine & self.moved & o.p.last, "done")
        # Once; only if committed or let out early; not if refused; each word in its place.
        self.claim(implies(mine, ~self.done))
        self.claim(implies(mine, self.early | self.committed))
        self.claim(implies(mine & ~self.early & self.mark, ~self.always))
        self.claim(implies(mine, (tag & self.tagged) == (self.tagged & (place == self.tag_place))))
        # Whole, or with an error at its end.
        faulty = o.p.error != FrameError.GOOD
        whole = self.ended & (place == self.end_place) & ((o.p.octets == 8) == self.full)
        cut = faulty & (self.lost | (place == MAX_WORDS))
        self.claim(implies(mine & o.p.last, cut | (whole & (faulty == self.bad))))
        self.claim(implies(mine & ~o.p.last, o.p.octets == 8))
        # In order: a later one leaves only when this one has left or will not.
        self.claim(implies(later, self.judged & (self.done | ~self.owed)))
        self.leaves, self.faulty = mine & self.moved & o.p.last, faulty

    def _progress(self) -> None:
        """What must leave does: words come out, or refusals, as long as the output is ready."""
        m = self.m
        waits = Signal(range(PATIENCE + 2))
        under_way = self.judged & self.begun
        must = (self.owed | under_way) & ~self.done
        with m.If(must & self.dut.o.ready & ~self.moved & ~self.dut.o_refused):
            m.d.sync += waits.eq(Mux(waits > PATIENCE, waits, waits + 1))
        with m.Else():
            m.d.sync += waits.eq(0)
        self.claim(waits <= PATIENCE)

    def _covers(self, early: bool, fence: bool) -> None:
        longest = self.end_place == MAX_WORDS - 1
        good = self.leaves & ~self.faulty & longest
        third = self.later & self.past(self.later)
        self.cover(good & ~self.early & third)
        self.cover(self.leaves & self.faulty & ~self.lost)
        self.cover(self.judged & self.lost & ~self.early)
        if early:
            self.cover(good & self.early & ~self.judged)
            self.cover(self.leaves & self.early & self.lost)
        if fence:
            self.cover(good & self.mark & self.ever)
            self.cover(self.dut.o_refused & self.judged & self.mark & self.later)


def held_frames(module: ModuleType) -> Harness:
    """Frames that wait for their verdicts."""
    return _Buffer(module, early=False, fence=False)


def early_frames(module: ModuleType) -> Harness:
    """Some leave before their verdicts."""
    return _Buffer(module, early=True, fence=False)


def fenced_frames(module: ModuleType) -> Harness:
    """Some are refused, whether early or not."""
    return _Buffer(module, early=True, fence=True)
