"""Octets from a PHY to words of frames, with their FCS checked.

Ref: IEEE 802.3 §3.2.1 (preamble), §3.2.9 (FCS), §4.2.9 (receive)
"""

from amaranth import Module, Mux, ResetInserter, Signal
from amaranth.lib import crc, data, stream, wiring
from amaranth.lib.wiring import In, Out

from harp_gateware.layouts import WORD, FrameError
from harp_gateware.params import WORD_OCTETS

PREAMBLE, SFD = 0x55, 0xD5
FCS = crc.catalog.CRC32_ETHERNET(data_width=8)
_OCTET = data.StructLayout({"data": 8, "valid": 1, "error": 1})


class MacReceive(wiring.Component):
    """Frames from the octet behind the SFD to the last of the FCS, in words.

    One octet a clock (`i_dv`: it is one; `i_er`: it is bad), a word four clocks behind its last
    octet; the last word carries the verdict on the whole frame. Frames of any length pass, too
    short and too long ones as well: the core judges length. A carrier without SFD gives nothing.
    A word that finds `o` not ready is lost and the frame with it: as soon as `o` is ready it ends
    with OVERRUN. A frame that begins before that is lost too.

    Each step decides on what a register says: which octet it is, where it belongs, that a word is
    complete, that the FCS is right, that the word leaves.
    """

    i_data: In(8)
    i_dv: In(1)
    i_er: In(1)
    o: Out(stream.Signature(WORD))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        octet, sfd, preamble = Signal(_OCTET, reset_less=True), Signal(), Signal()
        clean = self.i_dv & ~self.i_er
        m.d.sync += [
            octet.data.eq(self.i_data),
            octet.valid.eq(self.i_dv),
            octet.error.eq(self.i_er),
            sfd.eq(clean & (self.i_data == SFD)),
            preamble.eq(clean & (self.i_data == PREAMBLE)),
        ]
        inside, ignored = Signal(), Signal()
        with m.If(~octet.valid):
            m.d.sync += [inside.eq(0), ignored.eq(0)]
        with m.Elif(~inside & ~ignored):
            m.d.sync += [inside.eq(sfd), ignored.eq(~sfd & ~preamble)]
        self._emit(m, *self._gather(m, octet, inside))
        return m

    def _gather(self, m: Module, octet: Signal, inside: Signal) -> tuple[Signal, Signal]:
        """Octets into a word: the word, and that it is there, two clocks behind its last octet."""
        word, place = Signal(64, reset_less=True), Signal(WORD_OCTETS, init=1)
        octets, first, bad = Signal(range(WORD_OCTETS + 1)), Signal(), Signal()
        complete, ended = Signal(), Signal()
        good = self._check(m, octet, inside)
        with m.If(~inside):
            m.d.sync += [place.eq(1), octets.eq(0), bad.eq(0)]
        with m.Elif(octet.valid):
            m.d.sync += [
                place.eq(place.rotate_left(1)),
                octets.eq(Mux(place[0], 1, octets + 1)),
                bad.eq(bad | octet.error),
            ]
            for n in range(WORD_OCTETS):
                with m.If(place[n]):
                    m.d.sync += word.word_select(n, 8).eq(octet.data)
        with m.If(~inside):
            m.d.sync += first.eq(1)
        with m.Elif(complete):
            m.d.sync += first.eq(0)
        out, there, wrong = Signal(WORD, reset_less=True), Signal(), Signal()
        m.d.sync += [
            # That it is the frame's last octet is seen by the next, which is none.
            complete.eq(inside & octet.valid & (place[-1] | ~self.i_dv)),
            ended.eq(~self.i_dv),
            out.data.eq(word),
            out.octets.eq(octets),
            out.first.eq(first),
            out.last.eq(ended),
            wrong.eq(bad),
            there.eq(complete),
        ]
        whole = Signal(WORD)
        error = Mux(wrong, FrameError.RX_ER, Mux(good, FrameError.GOOD, FrameError.FCS))
        m.d.comb += [whole.eq(out), whole.error.eq(Mux(out.last, error, FrameError.GOOD))]
        return whole, there

    def _check(self, m: Module, octet: Signal, inside: Signal) -> Signal:
        """Whether the octets of the frame up to two clocks ago end with their FCS."""
        fcs, good = FCS.create(), Signal()
        m.submodules.fcs = ResetInserter(~inside)(fcs)
        m.d.comb += [fcs.data.eq(octet.data), fcs.valid.eq(octet.valid)]
        m.d.sync += good.eq(fcs.match_detected)
        return good

    def _emit(self, m: Module, word: Signal, there: Signal) -> None:
        """Words leave, or the frame that they belong to is lost: what waits then is its end."""
        lost, skipped, opened = Signal(), Signal(), Signal()
        m.d.comb += [
            self.o.valid.eq(there & ~skipped | lost),
            self.o.payload.eq(word),
        ]
        with m.If(lost):
            m.d.comb += [
                self.o.p.octets.eq(WORD_OCTETS),
                self.o.p.first.eq(~opened),
                self.o.p.last.eq(1),
                self.o.p.error.eq(FrameError.OVERRUN),
            ]
            with m.If(self.o.ready):
                m.d.sync += [lost.eq(0), opened.eq(0)]
        # The rest of a lost frame, and a frame that comes while the end of that one waits.
        with m.If(there & (skipped | lost)):
            m.d.sync += skipped.eq(~word.last)
        with m.Elif(there & self.o.ready):
            m.d.sync += opened.eq(~word.last)
        with m.Elif(there):
            m.d.sync += [opened.eq(~word.first), lost.eq(1), skipped.eq(~word.last)]
