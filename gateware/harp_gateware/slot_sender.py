"""Sends one slot's template, with its Sequence # and checksum put in.

Ref: offload.md §4 (patches), RFC 1624 §3 (equation 3), RFC 6275 §6.1.1
"""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.offload import SLOTS, TEMPLATE_OCTETS
from harp.tables.register_schema import WORD_BITS
from harp_gateware.layouts import RAM_REQUEST, RAM_RESPONSE, WORD
from harp_gateware.params import WORD_OCTETS

CHECKSUM_AT, SEQUENCE_AT = 4, 8
"""Octets of the MH (RFC 6275 §6.1.1, harp.md §2.1)."""
LANES = WORD_OCTETS
REACH = SEQUENCE_AT + 1 - CHECKSUM_AT
"""From the first patched octet to the last."""
ROWS = TEMPLATE_OCTETS // WORD_OCTETS
FLAT_ROWS = SLOTS * ROWS


class SlotSender(wiring.Component):
    """Reads the template once to find its checksum, waits for the line, sends it patched.

    `start` while not `busy` takes slot, length (1 to 256 octets), offset of the MH and what to
    patch. 40 clocks later `request` rises; `grant` while it is 1 starts the frame: first word 3
    clocks later, then a word a clock when taken, without FCS. `cancel` before `grant` ends it
    unsent. `done` is 1 for a clock with the last word taken. An MH that begins too late is patched
    as far as it lies in the frame. The host's access waits until no template is read, then takes 3
    clocks.

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
        self._sending = Signal()
        self._quiet = Signal()  # the template is not being read
        self._slot = Signal.like(self.slot)
        self._end = Signal(range(TEMPLATE_OCTETS))  # number of the last octet
        self._at = Signal(8)
        self._sum, self._sequence = Signal(17), Signal(16)
        self._patch = Signal(2)  # checksum, sequence
        self._templates(m)
        self._align(m)
        self._find(m)
        self._emit(m)
        self._control(m)
        return m

    def _templates(self, m: Module) -> None:
        """Rows of 64 bits; the host reaches half a row while nothing is read to be sent."""
        m.submodules.ram = ram = memory.Memory(shape=64, depth=FLAT_ROWS, init=[])
        write, read = ram.write_port(granularity=WORD_BITS), ram.read_port()
        access, asked = Signal(RAM_REQUEST), Signal()
        served = asked & self._quiet
        with m.If(self.i_ram.valid):
            m.d.sync += [access.eq(self.i_ram.p), asked.eq(1)]
        with m.Elif(served):
            m.d.sync += asked.eq(0)
        row = access.address[1 : 1 + (FLAT_ROWS - 1).bit_length()]
        reading = Signal()
        m.d.comb += [
            write.addr.eq(row),
            write.data.eq(access.data[:WORD_BITS].replicate(2)),
            write.en.eq(Mux(served & access.write, Mux(access.address[0], 0b10, 0b01), 0)),
            read.addr.eq(Mux(self._quiet, row, Cat(self._row, self._slot))),
            read.en.eq(self._move | self._quiet),
        ]
        m.d.sync += [
            reading.eq(served),
            self.o_ram.p.data.eq(read.data.word_select(access.address[0], WORD_BITS)),
            self.o_ram.valid.eq(reading),
        ]
        self._fetched = read.data

    def _align(self, m: Module) -> None:
        """Row, RAM, register: the word, and one-hot where the first patched octet lies in it."""
        away = Signal(range(-2 * TEMPLATE_OCTETS, 2 * TEMPLATE_OCTETS))
        word, hot = Signal(64), Signal(LANES + REACH)
        issued, final = Signal(2), Signal(2)
        with m.If(self._move):
            m.d.sync += [
                away.eq(self._at + CHECKSUM_AT - self._row * LANES),
                word.eq(self._fetched),
                hot.eq(Cat(away == n - REACH for n in range(len(hot)))),
                issued.eq(Cat(self._issue, issued)),
                final.eq(Cat(self._final, final)),
            ]
        self._word, self._hot, self._here, self._last = word, hot, issued[1], final[1]
        self._drained = ~issued.any()

    def _lane(self, number: int, octet: int) -> Value:
        """Octet `octet` of the patched ones lies in lane `number`."""
        return self._hot[number - octet + REACH]

    def _find(self, m: Module) -> None:
        """First pass: the template's checksum."""
        with m.If(self._here & ~self._sending):
            for lane in range(LANES):
                octet = self._word.word_select(lane, 8)
                with m.If(self._lane(lane, 0)):
                    m.d.sync += self._sum[8:16].eq(octet)
                with m.If(self._lane(lane, 1)):
                    m.d.sync += self._sum[:8].eq(octet)

    def _emit(self, m: Module) -> None:
        """Second pass: each octet as it is, or what replaces it."""
        first = Signal(init=1)
        m.d.comb += self._move.eq(~self.o.valid | self.o.ready)
        new = Cat(
            self._sum.word_select(1, 8),
            self._sum.word_select(0, 8),
            self._sequence.word_select(1, 8),
            self._sequence.word_select(0, 8),
        )
        places = (0, 1, SEQUENCE_AT - CHECKSUM_AT, SEQUENCE_AT - CHECKSUM_AT + 1)
        with m.If(self._move):
            m.d.sync += self.o.valid.eq(self._here & self._sending)
            with m.If(self._here & self._sending):
                for lane in range(LANES):
                    octet = self._word.word_select(lane, 8)
                    for n, place in enumerate(places):
                        here = self._lane(lane, place) & self._patch[n // 2]
                        octet = Mux(here, new.word_select(n, 8), octet)
                    m.d.sync += self.o.p.data.word_select(lane, 8).eq(octet)
                m.d.sync += [
                    self.o.p.first.eq(first),
                    self.o.p.last.eq(self._last),
                    self.o.p.octets.eq(Mux(self._last, self._end[:3] + 1, LANES)),
                    first.eq(self._last),
                ]
        m.d.comb += [
            self.o.p.append_fcs.eq(1),
            self.done.eq(self.o.valid & self.o.ready & self.o.p.last),
        ]

    def _control(self, m: Module) -> None:
        """Find, add, wait, send."""
        m.d.comb += self._final.eq(self._row == self._end >> 3)
        with m.FSM() as fsm:
            with m.State("Idle"):
                with m.If(self.start):
                    m.d.sync += [
                        self._slot.eq(self.slot),
                        self._end.eq(self.length - 1),
                        self._at.eq(self.mh_offset),
                        self._sequence.eq(self.sequence),
                        self._patch.eq(Cat(self.patch_checksum, self.patch_sequence)),
                        self._row.eq(0),
                        self._sum.eq(0),
                    ]
                    m.next = "Find"
            with m.State("Find"):
                m.d.comb += self._issue.eq(1)
                m.d.sync += self._row.eq(self._row + 1)
                with m.If(self._row == ROWS - 1):
                    m.next = "Drain"
                with m.If(self.cancel):
                    m.next = "Flush"
            with m.State("Drain"):
                with m.If(self._drained):
                    m.d.sync += self._sum.eq((~self._sum[:16])[:16] + self._sequence)
                    m.next = "Fold"
            with m.State("Fold"):
                m.d.sync += self._sum.eq(~(self._sum[:16] + self._sum[16]))
                m.next = "Wait"
            with m.State("Wait"):
                m.d.comb += self.request.eq(1)
                m.d.sync += self._row.eq(0)
                with m.If(self.grant):
                    m.d.sync += self._sending.eq(1)
                    m.next = "Send"
                with m.Elif(self.cancel):
                    m.next = "Flush"
            with m.State("Flush"):
                with m.If(self._drained):
                    m.next = "Idle"
            with m.State("Send"):
                m.d.comb += self._issue.eq(1)
                with m.If(self._move):
                    m.d.sync += self._row.eq(self._row + 1)
                    with m.If(self._final):
                        m.next = "End"
            with m.State("End"):
                with m.If(self.done):
                    m.d.sync += self._sending.eq(0)
                    m.next = "Idle"
        m.d.comb += [
            self.busy.eq(~fsm.ongoing("Idle")),
            self._quiet.eq(fsm.ongoing("Idle") | fsm.ongoing("Wait")),
        ]
