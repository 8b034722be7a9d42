"""Words of frames to octets for a PHY, with preamble, gap, and FCS where it is wanted.

Ref: IEEE 802.3 §3.2 (frame), §4.2.8 (transmit), §4.4.2 (interPacketGap 96 bits)
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
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
LEVEL = 5
"""Bits of the number of words that wait."""


class MacTransmit(wiring.Component):
    """One octet a clock: 8 of preamble, the frame, its FCS if `append_fcs`, then the gap.

    The first octet of the preamble leaves two clocks after LEAD_WORDS words wait, `i_level` being
    how many do, or LEAD_CLOCKS later than the first came. A frame that ends with an error keeps its
    octets, and its last one goes out with TX_ER, so that it never becomes good. One whose next word
    is not there in time ends with TX_ER too (`o_underflow` is 1 for that clock) and its rest is
    dropped; so is a word that belongs to no frame. The gap is GAP_OCTETS, and LEAST_GAP_OCTETS
    while HURRY_WORDS wait.
    """

    i: In(stream.Signature(WORD))
    i_level: In(LEVEL)
    o_data: Out(8)
    o_en: Out(1)
    o_er: Out(1)
    o_underflow: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._data, self._en, self._er = Signal(8), Signal(), Signal()
        m.submodules.fcs = self._fcs = FCS.create()
        self._left = Signal(range(LEAD_CLOCKS + 1), init=LEAD_CLOCKS)
        m.d.sync += [
            self.o_data.eq(self._data),
            self.o_en.eq(self._en),
            self.o_er.eq(self._er),
        ]
        m.d.comb += self._fcs.data.eq(self._data)
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
                m.d.sync += self._left.eq(self._left - 1)
                with m.If(self._left == 0):
                    m.d.sync += self._left.eq(LEAD_CLOCKS)
                    m.next = "Idle"
        return m

    def _wait(self, m: Module) -> None:
        """For the lead of a frame; what is left of one that ran dry is dropped."""
        level = Signal(LEVEL)
        m.d.sync += level.eq(self.i_level)
        m.d.comb += self.i.ready.eq(~self.i.p.first)
        with m.If(self.i.valid & self.i.p.first):
            with m.If((level >= LEAD_WORDS) | (self._left == 0)):
                m.d.sync += self._left.eq(PREAMBLE_OCTETS - 1)
                m.next = "Preamble"
            with m.Else():
                m.d.sync += self._left.eq(self._left - 1)

    def _start(self, m: Module) -> None:
        m.d.comb += [
            self._fcs.start.eq(1),
            self._en.eq(1),
            self._data.eq(Mux(self._left == 0, SFD, PREAMBLE)),
        ]
        m.d.sync += self._left.eq(self._left - 1)
        self._index = Signal(range(WORD_OCTETS))
        m.d.sync += self._index.eq(0)
        with m.If(self._left == 0):
            m.next = "Data"

    def _send(self, m: Module) -> None:
        word, index = self.i.p, self._index
        m.d.comb += [
            self._en.eq(1),
            self._data.eq(word.data.word_select(index, 8)),
            self._fcs.valid.eq(1),
        ]
        m.d.sync += index.eq(index + 1)
        with m.If(~self.i.valid):
            m.d.comb += [self._er.eq(1), self.o_underflow.eq(1)]
            self._end(m)
        with m.Elif(index == word.octets - 1):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += index.eq(0)
            with m.If(word.last):
                m.d.comb += self._er.eq(word.error != FrameError.GOOD)
                m.d.sync += self._left.eq(FCS_OCTETS - 1)
                with m.If(word.append_fcs):
                    m.next = "Fcs"
                with m.Else():
                    self._end(m)

    def _append(self, m: Module) -> None:
        """The CRC is sent from its highest coefficient on, which is its lowest bit here."""
        rest = Signal(32)
        crc_now = Mux(self._left == FCS_OCTETS - 1, self._fcs.crc, rest)
        m.d.comb += [self._en.eq(1), self._data.eq(crc_now[:8])]
        m.d.sync += [rest.eq(crc_now[8:]), self._left.eq(self._left - 1)]
        with m.If(self._left == 0):
            self._end(m)

    def _end(self, m: Module) -> None:
        """Into the gap, of which "Idle" is one clock and the last of "Gap" another."""
        hurried = self.i_level >= HURRY_WORDS
        m.d.sync += self._left.eq(Mux(hurried, LEAST_GAP_OCTETS, GAP_OCTETS) - 2)
        m.next = "Gap"
