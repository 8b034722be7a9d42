"""Octets from a PHY to words of frames, with their FCS checked.

Ref: IEEE 802.3 §3.2.1 (preamble), §3.2.9 (FCS), §4.2.9 (receive)
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import crc, stream, wiring
from amaranth.lib.wiring import In, Out

from harp_gateware.layouts import WORD, FrameError
from harp_gateware.params import WORD_OCTETS

PREAMBLE, SFD = 0x55, 0xD5
FCS = crc.catalog.CRC32_ETHERNET(data_width=8)


class MacReceive(wiring.Component):
    """Frames from the octet behind the SFD to the last of the FCS, in words.

    One octet a clock (`i_dv`: it is one; `i_er`: it is bad), a word a clock or two behind its last
    octet; the last word carries the verdict on the whole frame. Frames of any length pass, too
    short and too long ones as well: the core judges length. A carrier without SFD gives nothing.
    A word that finds `o` not ready is lost and the frame with it: as soon as `o` is ready it ends
    with OVERRUN. A frame that begins before that is lost too.
    """

    i_data: In(8)
    i_dv: In(1)
    i_er: In(1)
    o: Out(stream.Signature(WORD))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.fcs = fcs = FCS.create()
        inside, ignored = Signal(), Signal()
        word = Signal(64)
        octets = Signal(range(WORD_OCTETS + 1))
        first, bad = Signal(), Signal()
        full = octets == WORD_OCTETS
        octet = inside & self.i_dv
        ended = inside & ~self.i_dv
        m.d.comb += [
            fcs.data.eq(self.i_data),
            fcs.valid.eq(octet),
            fcs.start.eq(~inside),
        ]
        with m.If(~self.i_dv):
            m.d.sync += [inside.eq(0), ignored.eq(0)]
        with m.Elif(~inside & ~ignored):
            with m.If(self.i_er | ((self.i_data != PREAMBLE) & (self.i_data != SFD))):
                m.d.sync += ignored.eq(1)
            with m.Elif(self.i_data == SFD):
                m.d.sync += [inside.eq(1), octets.eq(0), first.eq(1), bad.eq(0)]
        with m.If(octet):
            m.d.sync += [
                bad.eq(bad | self.i_er),
                octets.eq(Mux(full, 1, octets + 1)),
                word.word_select(octets[:3], 8).eq(self.i_data),
            ]
        error = Mux(bad, FrameError.RX_ER, Mux(fcs.match_detected, FrameError.GOOD, FrameError.FCS))
        out = Signal(WORD)
        m.d.comb += [
            out.data.eq(word),
            out.octets.eq(octets),
            out.first.eq(first),
            out.last.eq(ended),
            out.error.eq(Mux(ended, error, FrameError.GOOD)),
        ]
        self._emit(m, out, (octet & full) | (ended & (octets != 0)), ended)
        with m.If(octet & full):
            m.d.sync += first.eq(0)
        return m

    def _emit(self, m: Module, out: Signal, wanted: Signal, ended: Signal) -> None:
        """Words leave, or the frame that they belong to is lost."""
        lost, skipped, opened = Signal(), Signal(), Signal()
        due = wanted & ~skipped & ~lost
        m.d.comb += [
            self.o.valid.eq(due | lost),
            self.o.payload.eq(out),
        ]
        with m.If(lost):
            m.d.comb += [
                self.o.p.octets.eq(WORD_OCTETS),
                self.o.p.first.eq(~opened),
                self.o.p.last.eq(1),
                self.o.p.error.eq(FrameError.OVERRUN),
            ]
        with m.If(due):
            m.d.sync += [opened.eq(self.o.ready & ~out.last), lost.eq(~self.o.ready)]
            with m.If(~self.o.ready):
                m.d.sync += [opened.eq(~out.first), skipped.eq(~ended)]
        with m.If(lost & self.o.ready):
            m.d.sync += [lost.eq(0), opened.eq(0)]
        # The rest of a lost frame, and a frame that comes while the end of that one waits.
        with m.If(ended & skipped):
            m.d.sync += skipped.eq(0)
        with m.If(lost & wanted & ~ended):
            m.d.sync += skipped.eq(1)
