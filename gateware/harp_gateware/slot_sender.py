"""Sends one slot's template, with its Sequence # and checksum put in.

Ref: offload.md §4 (patches), RFC 1624 §3 (equation 3), RFC 6275 §6.1.1
"""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.offload import SLOTS, TEMPLATE_OCTETS
from harp.tables.register_schema import WORD_BITS
from harp_gateware.layouts import RAM_REQUEST, RAM_RESPONSE, WORD, big_endian
from harp_gateware.params import WORD_OCTETS

LANE = 16
EVEN, ODD = 1, 3
"""Lanes of 16 bits in which patched fields lie: octets 2 and 3, or 6 and 7."""
ROWS = TEMPLATE_OCTETS // WORD_OCTETS
FLAT_ROWS = SLOTS * ROWS
STEPS = 3
"""Registers between the number of a row and what is offered: RAM, word, word with the sum."""


class SlotSender(wiring.Component):
    """Waits for the line, then sends a template, patched on its way.

    `start` while not `busy` raises `request` a clock later; `grant` while it is 1 starts the frame:
    first word 5 clocks later, then a word a clock when taken, without FCS. `cancel` before `grant`
    ends it unsent. `done` is 1 for a clock with the last word taken. What is to be sent (`slot` to
    `sequence`) stands while `busy`. The host's access waits until no template is read, then takes 4
    clocks.

    The MH begins at octet 6 or 2 of a word, behind 14, 18 or 22 octets of L2 and whole words of
    IPv6: its Checksum (MH octets 4, 5) and Sequence # (8, 9) then lie at octets 2, 3 or 6, 7. Bits
    0 and 1 of `mh_offset` are taken as 2. What lies behind the frame's end is not patched.

    The template's checksum is right for Sequence # 0, so HC' = ~(~HC + Sequence #).
    """

    start: In(1)
    slot: In(range(SLOTS))
    length: In(range(TEMPLATE_OCTETS + 1))
    mh_offset: In(8)
    patch_sequence: In(1)
    patch_checksum: In(1)
    sequence: In(16)
    busy: Out(1)
    request: Out(1)
    grant: In(1)
    cancel: In(1)
    done: Out(1)
    o: Out(stream.Signature(WORD))
    i_ram: In(stream.Signature(RAM_REQUEST, always_ready=True))
    o_ram: Out(stream.Signature(RAM_RESPONSE, always_ready=True))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._row = Signal(range(ROWS))
        self._issue, self._move = Signal(), Signal()
        self._final = Signal()  # the row that is issued is the last to send
        self._quiet = Signal()  # the template is not being read
        self._end = Signal(range(TEMPLATE_OCTETS))  # number of the last octet
        m.d.sync += self._end.eq(self.length - 1)
        self._words = Signal(64, reset_less=True), Signal(64, reset_less=True)
        self._templates(m)
        self._follow(m)
        self._patch(m)
        self._emit(m)
        self._control(m)
        return m

    def _templates(self, m: Module) -> None:
        """Rows of 64 bits; the host reaches half a row while nothing is read to be sent."""
        # What is read in the clock of a write is not looked at.
        m.submodules.ram = ram = memory.Memory(
            shape=64, depth=FLAT_ROWS, init=[], attrs={"no_rw_check": 1}
        )
        write, read = ram.write_port(granularity=WORD_BITS), ram.read_port()
        access, asked = Signal(RAM_REQUEST), Signal()
        served = asked & self._quiet
        with m.If(self.i_ram.valid):
            m.d.sync += [access.eq(self.i_ram.p), asked.eq(1)]
        with m.Elif(served):
            m.d.sync += asked.eq(0)
        row = access.address[1 : 1 + (FLAT_ROWS - 1).bit_length()]
        reading = Signal(2)
        m.d.comb += [
            write.addr.eq(row),
            write.data.eq(access.data[:WORD_BITS].replicate(2)),
            write.en.eq(Mux(served & access.write, Mux(access.address[0], 0b10, 0b01), 0)),
            read.addr.eq(Mux(self._quiet, row, Cat(self._row, self.slot))),
            read.en.eq(self._move | self._quiet),
        ]
        m.d.sync += [
            reading.eq(Cat(served, reading)),
            # By the register behind the RAM, which moves while nothing is sent.
            self.o_ram.p.data.eq(self._words[0].word_select(access.address[0], WORD_BITS)),
            self.o_ram.valid.eq(reading[1]),
        ]
        self._fetched = read.data

    def _follow(self, m: Module) -> None:
        """What is known of the rows on their way, the youngest lowest."""
        self._here, self._last = Signal(STEPS), Signal(STEPS)
        self._begins = Signal(STEPS)  # the MH begins in this word
        with m.If(self._move):
            m.d.sync += [
                self._here.eq(Cat(self._issue, self._here)),
                self._last.eq(Cat(self._final, self._last)),
                self._begins.eq(Cat(self._issue & (self._row == self.mh_offset[3:]), self._begins)),
                self._words[0].eq(self._fetched),
                self._words[1].eq(self._words[0]),
            ]

    def _patch(self, m: Module) -> None:
        """Which lanes of the last word are replaced, and the new checksum before its last carry."""
        odd = self.mh_offset[2]  # Checksum and Sequence # lie in the word behind the MH's first
        word = self._words[0]
        old = Mux(odd, word.word_select(EVEN, LANE), word.word_select(ODD, LANE))
        self._sum = Signal(LANE + 1)
        self._put = {EVEN: Signal(name="put_even"), ODD: Signal(name="put_odd")}
        behind, begins = self._begins[2], self._begins[1]
        with m.If(self._move):
            m.d.sync += [
                self._sum.eq((~big_endian(old))[:LANE] + self.sequence),
                self._put[EVEN].eq(behind & Mux(odd, self.patch_checksum, self.patch_sequence)),
                self._put[ODD].eq(
                    Mux(odd, behind & self.patch_sequence, begins & self.patch_checksum)
                ),
            ]

    def _emit(self, m: Module) -> None:
        """Each lane as it is, or what replaces it."""
        first = Signal(init=1)
        odd = self.mh_offset[2]
        checksum = Signal(LANE)
        valid, last = self._here[-1], self._last[-1]
        m.d.comb += [
            checksum.eq(~(self._sum[:LANE] + self._sum[LANE])),
            self._move.eq(~self.o.valid | self.o.ready),
        ]
        fields: dict[int, Value] = {
            EVEN: big_endian(Mux(odd, checksum, self.sequence)),
            ODD: big_endian(Mux(odd, self.sequence, checksum)),
        }
        with m.If(self._move):
            m.d.sync += self.o.valid.eq(valid)
            with m.If(valid):
                m.d.sync += [
                    self.o.p.data.eq(self._words[1]),
                    self.o.p.first.eq(first),
                    self.o.p.last.eq(last),
                    self.o.p.octets.eq(Mux(last, self._end[:3] + 1, WORD_OCTETS)),
                    first.eq(last),
                ]
                for lane, field in fields.items():
                    with m.If(self._put[lane]):
                        m.d.sync += self.o.p.data.word_select(lane, LANE).eq(field)
        m.d.comb += [
            self.o.p.append_fcs.eq(1),
            self.done.eq(self.o.valid & self.o.ready & self.o.p.last),
        ]

    def _control(self, m: Module) -> None:
        """Wait for the line, send, see the last word taken."""
        m.d.comb += self._final.eq(self._row == self._end >> 3)
        with m.FSM() as fsm:
            with m.State("Idle"):
                with m.If(self.start):
                    m.next = "Wait"
            with m.State("Wait"):
                m.d.comb += self.request.eq(1)
                m.d.sync += self._row.eq(0)
                with m.If(self.grant):
                    m.next = "Send"
                with m.Elif(self.cancel):
                    m.next = "Idle"
            with m.State("Send"):
                m.d.comb += self._issue.eq(1)
                with m.If(self._move):
                    m.d.sync += self._row.eq(self._row + 1)
                    with m.If(self._final):
                        m.next = "End"
            with m.State("End"):
                with m.If(self.done):
                    m.next = "Idle"
        m.d.comb += [
            self.busy.eq(~fsm.ongoing("Idle")),
            self._quiet.eq(fsm.ongoing("Idle") | fsm.ongoing("Wait")),
        ]
