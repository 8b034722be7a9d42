"""Cut-through: which frame may leave before its end is seen.

Ref: offload.md §1 (cut-through, order), §2 (actions)
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.reasons import ACTIONS, OFFLOAD_REASONS, Action, Reason
from harp_gateware.walk import Found

WALK_CLOCKS = 5
"""From a word to what the walk says of it."""
FRAMES = 5
"""Bits of a frame's number: fewer than 16 wait for their verdicts."""

REASON_OF = {
    Found.CHAIN_TOO_LONG: Reason.CHAIN_TOO_LONG,
    Found.BAD_CHAIN: Reason.BAD_CHAIN,
    Found.NOT_MOBILITY: Reason.NOT_MOBILITY,
    Found.BAD_VERSION: Reason.BAD_IPV6,
}
"""Findings that no later word changes but to `bad_frame` or `bad_ipv6`."""

WALK_END = data.StructLayout({"found": Found, "plain": 1, "open": 1})
"""Of the frame whose walk ended last: where, was nothing enforced then, and may it leave early,
so that its outcome is `pass` unless it turns out bad."""


class Release(wiring.Component):
    """Decides once a frame, when its walk ends (not IPv6: 5 clocks after its first word).

    `i_first`, `i_not_ipv6`, `i_bad` are of the words that `align` gives, `i_bad` in a frame's last
    word. `o_end` holds from a clock after the decision until the next. `o_early` comes a clock
    after the decision (not IPv6: 2), or 2 after the verdicts of all older frames; never with or
    after its own verdict. `verdict` is 1 with each verdict, `verdict_next` a clock before it.
    """

    i_first: In(1)
    i_not_ipv6: In(1)
    i_bad: In(1)
    i_found: In(stream.Signature(Found, always_ready=True))
    plain: In(1)
    action: In(data.ArrayLayout(2, len(OFFLOAD_REASONS)))
    verdict_next: In(1)
    verdict: In(1)
    o_end: Out(WALK_END)
    o_early: Out(stream.Signature(data.StructLayout({}), always_ready=True))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        first, not_ipv6, bad = Signal(WALK_CLOCKS), Signal(WALK_CLOCKS), Signal(WALK_CLOCKS)
        m.d.sync += [
            first.eq(first << 1 | self.i_first),
            not_ipv6.eq(not_ipv6 << 1 | self.i_not_ipv6),
            bad.eq(bad << 1 | self.i_bad),
        ]
        number, other = Signal(FRAMES), Signal()  # of the frame that the walk is in
        fresh = first[-1]
        number_now = Mux(fresh, number + 1, number)
        other_now = Mux(fresh, not_ipv6[-1], other)
        m.d.sync += [number.eq(number_now), other.eq(other_now)]
        decided = (fresh & not_ipv6[-1]) | (self.i_found.valid & ~other_now)
        may = Mux(other_now, self.plain | self._passes(m, Reason.NOT_IPV6), self._may(m))
        wish, of, judged = Signal(), Signal(FRAMES), Signal(FRAMES)
        expected = Signal(FRAMES, init=1)  # the oldest frame without verdict
        oldest = of == expected
        leaves = wish & oldest & ~self.verdict & ~self.verdict_next
        # One that has already ended badly had better not leave at all.
        wishes = may & ~bad.any() & ~self.i_bad
        at_once = (
            (self.i_found.valid & ~other & ~fresh & wishes & (number == expected))
            & ~self.verdict
            & ~self.verdict_next
        )
        m.d.sync += [
            judged.eq(judged + self.verdict),
            expected.eq(expected + self.verdict),
            self.o_early.valid.eq(leaves | at_once),
        ]
        with m.If(leaves | (of == judged)):
            m.d.sync += wish.eq(0)
        with m.If(decided):
            m.d.sync += [
                wish.eq(wishes & ~at_once),
                of.eq(number_now),
                self.o_end.found.eq(self.i_found.payload),
                self.o_end.plain.eq(self.plain),
                self.o_end.open.eq(may),
            ]
        return m

    def _passes(self, m: Module, reason: Reason) -> Signal:
        """The reason's action is `pass`, or `absorb`, which passes what is no heartbeat."""
        action = self.action[OFFLOAD_REASONS.index(reason)]
        result = Signal(name=f"passes_{reason}")
        m.d.sync += result.eq(
            (action == ACTIONS.index(Action.PASS)) | (action == ACTIONS.index(Action.ABSORB))
        )
        return result

    def _may(self, m: Module) -> Signal:
        """An IPv6 frame of this finding passes, and would if it were cut short, too."""
        result = Signal()
        short = self._passes(m, Reason.BAD_IPV6)
        passes = {found: Signal(name=f"goes_{reason}") for found, reason in REASON_OF.items()}
        for found, reason in REASON_OF.items():
            m.d.sync += passes[found].eq(short & self._passes(m, reason))
        m.d.comb += result.eq(self.plain)
        with m.Switch(self.i_found.payload):
            # "An MH frame is held until its checksum is known", on a plain wire as well.
            with m.Case(Found.MOBILITY, Found.TRUNCATED):
                m.d.comb += result.eq(0)
            for found, goes in passes.items():
                with m.Case(found):
                    m.d.comb += result.eq(self.plain | goes)
        return result
