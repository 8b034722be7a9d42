"""Is there anything but padding in an options header: options read eight octets a clock.

Ref: RFC 8200 §4.2 (Pad1, PadN), offload.md §2 (`unchecked`)
"""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

PAD1, PADN = 0, 1
OCTETS = 8
FIRST_OPTION = 2
"""Octet of an options header at which its options begin."""

AFTER = data.StructLayout({"skip": 8, "length": 1, "other": 1})
"""What the rest of a header begins with: `skip` octets of a PadN; `length`: first the Length octet
of a PadN. `other`: there was something else than padding."""


class Padding(wiring.Component):
    """Reads options headers as they pass, one word a clock.

    `word` and `valid` are words as they come; `i_start` and `i_options` come 2 clocks behind them:
    a header begins; it is one to be read. `o_clean` says, 4 clocks behind each word, that what came
    before it in its header was read or need not be, and was padding that ends there.

    Where the reading of a word leads depends on where it begins, that is on the word before. So all
    nine beginnings (eight octets, or a Length octet) are worked out ahead, and one is chosen.
    """

    word: In(64)
    valid: In(1)
    i_start: In(1)
    i_options: In(1)
    o_clean: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        octets = [self.word.word_select(n, 8) for n in range(OCTETS)]
        pad1, padn = Signal(OCTETS), Signal(OCTETS)
        for n, octet in enumerate(octets):
            m.d.sync += [pad1[n].eq(octet == PAD1), padn[n].eq(octet == PADN)]
        # A clock each for the last three octets, the three before, and the rest.
        stages = [[Signal(8, name=f"octet_{n}_{k}") for n in range(OCTETS)] for k in range(3)]
        kinds = [(pad1, padn), (Signal(OCTETS), Signal(OCTETS)), (Signal(OCTETS), Signal(OCTETS))]
        m.d.sync += [stages[0][n].eq(octets[n]) for n in range(OCTETS)]
        for k in (1, 2):
            m.d.sync += [stages[k][n].eq(stages[k - 1][n]) for n in range(OCTETS)]
            m.d.sync += [kinds[k][x].eq(kinds[k - 1][x]) for x in range(2)]
        known: dict[int, Value] = {}
        for k, begins in enumerate(((7, 6, 5), (4, 3, 2), (1, 0, -1))):
            kept = dict(known)
            for begin in begins:
                kept[begin] = self._after(m, begin, stages[k], kinds[k], kept)
            known = {begin: Signal(AFTER, name=f"after_{k}_{begin}") for begin in kept}
            m.d.sync += [known[begin].eq(value) for begin, value in kept.items()]
        self._choose(m, known)
        return m

    @staticmethod
    def _after(
        m: Module,
        begin: int,
        octets: list[Signal],
        kind: tuple[Signal, Signal],
        known: dict[int, Value],
    ) -> Value:
        """Where reading leads from octet `begin`; -1: from a Length octet in octet 0."""
        result = Signal(AFTER, name=f"from_{begin}")
        length_at = begin + 1
        if length_at == OCTETS:
            m.d.comb += [result.length.eq(kind[1][begin])]
        else:
            beyond = OCTETS - 1 - length_at  # a longer PadN reaches into the next word
            length = octets[length_at]
            m.d.comb += result.skip.eq(length - beyond)
            with m.Switch(length):
                for short in range(beyond):
                    with m.Case(short):
                        m.d.comb += result.eq(known[length_at + 1 + short])
        if begin >= 0:
            with m.If(kind[0][begin]):
                m.d.comb += result.eq(known[begin + 1] if begin + 1 < OCTETS else 0)
            with m.Elif(~kind[1][begin]):
                m.d.comb += [result.eq(0), result.other.eq(1)]
        return result

    def _choose(self, m: Module, after: dict[int, Value]) -> None:
        """The loop: one of the beginnings, or a word that a PadN fills."""
        valid = Signal(4)
        start, options = Signal(2), Signal(2)
        m.d.sync += [
            valid.eq(Cat(self.valid, valid)),
            start.eq(Cat(self.i_start, start)),
            options.eq(Cat(self.i_options, options)),
        ]
        state, reads = Signal(AFTER), Signal()
        begin = Signal(3)
        m.d.comb += [
            begin.eq(Mux(start[1], FIRST_OPTION, state.skip[:3])),
            self.o_clean.eq(~reads | ~state.as_value().any()),
        ]
        chosen = Signal(AFTER)
        with m.Switch(begin):
            for n in range(OCTETS):
                with m.Case(n):
                    m.d.comb += chosen.eq(after[n])
        with m.If(valid[3]):
            with m.If(start[1]):
                m.d.sync += [reads.eq(options[1]), state.eq(chosen)]
            with m.Elif(state.length):
                m.d.sync += state.eq(after[-1])
            with m.Elif(state.skip[3:].any()):
                m.d.sync += state.skip.eq(state.skip - OCTETS)
            with m.Elif(~state.other):
                m.d.sync += state.eq(chosen)
