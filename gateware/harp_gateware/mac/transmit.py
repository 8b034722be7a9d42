"""Words of frames to octets for a PHY, with preamble, gap, and FCS where it is wanted.

Ref: IEEE 802.3 §3.2 (frame), §4.2.8 (transmit), §4.4.2 (interPacketGap 96 bits)
"""

from amaranth import Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.offload import FCS_OCTETS
from harp_gateware.layouts import WORD, FrameError
from harp_gateware.mac.receive import FCS, PREAMBLE, SFD
from harp_gateware.params import WORD_OCTETS

PREAMBLE_OCTETS = 8
"""With the SFD."""
GAP_OCTETS = 12
"""interPacketGap of a frame that nobody waits behind (IEEE 802.3 §4.4.2)."""
LEAST_GAP_OCTETS = 8
"""Gap while frames wait: what came in with short gaps from a clock 100 ppm faster must go out."""
LEAD_WORDS = 4
"""A frame starts when so many words of it wait: clocks that differ by 200 ppm take 2 octets of them
within 9,216."""
LEAD_CLOCKS = 8 * (LEAD_WORDS - 1)
"""Or so long after its first word came: a frame may be shorter than that."""
HURRY_WORDS = 12
"""So many words behind a frame's last one mean that frames wait for the line."""
SETTLE_CLOCKS = 4
"""So old `i_level` may be, and what is known of it."""
LEVEL = 5
"""Bits of the number of words that wait."""


OCTET = data.StructLayout({"data": 8, "en": 1, "er": 1, "checked": 1, "fcs": 1})
"""An octet on its way to the PHY. `checked`: it counts in the FCS; `fcs`: it is one of the FCS, and
`data` is not yet known."""


class MacTransmit(wiring.Component):
    """One octet a clock: 8 of preamble, the frame, its FCS if `append_fcs`, then the gap.

    The first octet of the preamble leaves four clocks after LEAD_WORDS words wait, `i_level` being
    how many do (it may be SETTLE_CLOCKS late), or LEAD_CLOCKS later than the first came. A frame
    that ends with an error keeps its octets, and its last one goes out with TX_ER, so that it never
    becomes good. One whose next word is not there when the last octet of a word leaves ends with
    that octet and TX_ER (`o_underflow` is 1 for that clock), and its rest is dropped; so is a word
    that belongs to no frame. The gap is GAP_OCTETS, and LEAST_GAP_OCTETS while HURRY_WORDS wait.
    """

    i: In(stream.Signature(WORD))
    i_level: In(LEVEL)
    o_data: Out(8)
    o_en: Out(1)
    o_er: Out(1)
    o_underflow: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._next = Signal(OCTET)
        self._left, self._over = Signal(range(LEAD_CLOCKS + 1), init=LEAD_CLOCKS), Signal()
        self._word = Signal(WORD, reset_less=True)
        self._more = Signal(range(WORD_OCTETS), reset_less=True)
        self._shifts, self._begins = Signal(), Signal()
        self._settled = Signal(SETTLE_CLOCKS, init=-1)
        self._waits, self._lead, self._hurried = Signal(), Signal(), Signal()
        m.d.sync += [
            self._waits.eq(self.i.valid & self.i.p.first),
            self._lead.eq(self.i_level >= LEAD_WORDS),
            self._hurried.eq(self.i_level >= HURRY_WORDS),
        ]
        self._shift(m)
        with m.FSM():
            with m.State("Idle"):
                self._wait(m)
            with m.State("Preamble"):
                self._start(m)
            with m.State("Data"):
                self._send(m)
            with m.State("Fcs"):
                self._append(m)
            with m.State("Gap"):
                with m.If(self._over):
                    self._set(m, LEAD_CLOCKS)
                    m.next = "Idle"
                with m.Else():
                    self._count(m)
        self._check(m)
        return m

    def _set(self, m: Module, clocks: int | Value) -> None:
        """`_over` will be 1 when `clocks` more have been counted."""
        m.d.sync += [self._left.eq(clocks), self._over.eq(0)]

    def _count(self, m: Module) -> None:
        m.d.sync += [self._left.eq(self._left - 1), self._over.eq(self._left == 1)]

    def _wait(self, m: Module) -> None:
        """For the lead of a frame; what is left of one that ran dry is dropped."""
        m.d.comb += self.i.ready.eq(~self.i.p.first)
        # `i_level` counts what is dropped for some clocks more.
        dropped = self.i.valid & ~self.i.p.first
        m.d.sync += self._settled.eq(Cat(~dropped, self._settled))
        starts = self._waits & ((self._lead & self._settled.all()) | self._over)
        with m.If(starts):
            self._set(m, PREAMBLE_OCTETS - 1)
            m.next = "Preamble"
        with m.Elif(self._waits):
            self._count(m)
        with m.Else():
            self._set(m, LEAD_CLOCKS)

    def _start(self, m: Module) -> None:
        m.d.comb += [
            self._next.en.eq(1),
            self._next.data.eq(Mux(self._over, SFD, PREAMBLE)),
        ]
        self._count(m)
        with m.If(self._over):
            m.d.comb += [self.i.ready.eq(1), self._begins.eq(1)]
            m.next = "Data"

    def _shift(self, m: Module) -> None:
        """Octets leave from a word's lower end. While none is sent, and with a word's last one, the
        word is what is at `i`, taken or not: so a register alone decides about its 64 bits."""
        word = self._word
        with m.If(self._shifts):
            m.d.sync += [
                word.data.eq(word.data >> 8),
                self._more.eq(self._more - 1),
                self._shifts.eq(self._more != 1),
            ]
        with m.Else():
            m.d.sync += [
                word.eq(self.i.p),
                self._more.eq(self.i.p.octets - 1),
                self._shifts.eq(self._begins & (self.i.p.octets != 1)),
            ]

    def _send(self, m: Module) -> None:
        word = self._word
        appends = word.last & word.append_fcs
        m.d.comb += [
            self._next.en.eq(1),
            self._next.checked.eq(1),
            self._next.data.eq(word.data[:8]),
            # If there is no word it shifts through the gap, which is longer.
            self._begins.eq(1),
        ]
        self._set(m, Mux(appends, FCS_OCTETS - 1, self._gap()))
        with m.If(~self._shifts):
            with m.If(word.last):
                m.d.comb += self._next.er.eq(word.error != FrameError.GOOD)
            with m.Elif(self.i.valid):
                m.d.comb += self.i.ready.eq(1)
            with m.Else():
                m.d.comb += [self._next.er.eq(1), self.o_underflow.eq(1)]
            with m.If(word.last | ~self.i.valid):
                m.next = "Gap"
                with m.If(appends):
                    m.next = "Fcs"

    def _append(self, m: Module) -> None:
        m.d.comb += [self._next.en.eq(1), self._next.fcs.eq(1)]
        with m.If(self._over):
            self._set(m, self._gap())
            m.next = "Gap"
        with m.Else():
            self._count(m)

    def _gap(self) -> Value:
        """Of which "Idle" is one clock and the last of "Gap" another."""
        return Mux(self._hurried, LEAST_GAP_OCTETS, GAP_OCTETS) - 2

    def _check(self, m: Module) -> None:
        """A clock behind the choice of an octet: it goes into the FCS, or the FCS takes its place.

        The FCS is sent from its highest coefficient on, which is its lowest bit here.
        """
        fcs, now = FCS.create(), Signal(OCTET)
        m.submodules.fcs = ResetInserter(~now.checked & ~now.fcs)(fcs)
        appending, rest = Signal(reset_less=True), Signal(32, reset_less=True)
        crc = Mux(appending, rest, fcs.crc)
        m.d.comb += [fcs.valid.eq(now.checked), fcs.data.eq(now.data)]
        m.d.sync += [
            now.eq(self._next),
            appending.eq(now.fcs),
            rest.eq(crc >> 8),
            self.o_data.eq(Mux(now.fcs, crc[:8], now.data)),
            self.o_en.eq(now.en),
            self.o_er.eq(now.er),
        ]
