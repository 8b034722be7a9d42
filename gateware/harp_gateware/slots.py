"""Slots: frames that the core sends by itself, and the resigns of a fired watchdog.

Ref: offload.md §4 (slots, watchdog), RFC 1624 §3 (checksum update), harp.md §4 (jitter)
"""

from amaranth import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.offload import (
    MAX_JITTER_PERCENT,
    MIN_PERIOD_US,
    SLOT_SHARE_PERCENT,
    SLOTS,
    TEMPLATE_OCTETS,
    SlotFlag,
)
from harp.tables.registers import BY_NAME
from harp_gateware.layouts import RAM_REQUEST, RAM_RESPONSE, TIME_US, WORD
from harp_gateware.priority import lowest
from harp_gateware.slot_rows import SLOT_AREAS, SPAN, SlotRows
from harp_gateware.slot_sender import SlotSender

OVERHEAD_OCTETS = 24
"""FCS, preamble and gap of a frame on the line."""
SHARE = 100 // SLOT_SHARE_PERCENT
JITTER_UNIT = 655
"""One percent of 65536, rounded down: a slot is never earlier than its jitter."""
SLOT = BY_NAME["slot"]
TEMPLATE = "slot_template"


def flag(flags: Value, which: SlotFlag) -> Value:
    """Whether `which` is set."""
    return flags[int(which).bit_length() - 1]


class Slots(wiring.Component):
    """Sends each slot's template once in its period, patched, and never more than 2 % of the line.

    A slot runs while enabled, not a resign slot, not to be authenticated (no HMAC here) and `run`.
    It is due at once when it begins to run, then each period, less a random 0 to `jitter` percent.
    Due again before it was sent: `missed`. `resign` sends each enabled resign slot once, before all
    else and whatever its share. Of several due the lowest index goes first. A period under 100 µs
    counts as 100; a length over 256 as 256.

    `request` asks for the line; on `grant` the frame follows on `o`, a word a clock when taken,
    without FCS (`append_fcs`). That of a resign comes at most 100 clocks after `resign` when
    nothing is being sent; a slot that must stop withdraws its own. After a frame of n octets on
    the line the next is due ceil(50 n / line octets a µs) µs after its end at the soonest.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        self._slots = slots
        request = stream.Signature(RAM_REQUEST, always_ready=True)
        response = stream.Signature(RAM_RESPONSE, always_ready=True)
        super().__init__(
            {
                "now_us": In(TIME_US),
                "run": In(1),
                "resign": In(1),
                "resigns": Out(1),
                "speed": In(2),
                "request": Out(1),
                "grant": In(1),
                "o": Out(stream.Signature(WORD)),
                **{f"i_ram_{area}": In(request) for area in (TEMPLATE, *SLOT_AREAS)},
                **{f"o_ram_{area}": Out(response) for area in (TEMPLATE, *SLOT_AREAS)},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._pending, self._resign = Signal(self._slots), Signal(self._slots)
        self._taken = Signal(self._slots)  # the slot that is being sent from now
        self._now = Signal(SPAN)
        m.d.sync += self._now.eq(self.now_us)
        m.submodules.rows = self._rows = SlotRows()
        for area in SLOT_AREAS:
            wiring.connect(
                m,
                wiring.flipped(getattr(self, f"i_ram_{area}")),
                getattr(self._rows, f"i_ram_{area}"),
            )
            wiring.connect(
                m,
                wiring.flipped(getattr(self, f"o_ram_{area}")),
                getattr(self._rows, f"o_ram_{area}"),
            )
        self._roles(m)
        self._schedule(m)
        self._share(m)
        self._send(m)
        return m

    def _roles(self, m: Module) -> None:
        """Which slots run, and which wait to resign."""
        self._runs, self._quits = Signal(self._slots), Signal(self._slots)
        for n in range(self._slots):
            flags = self._rows.flags[n]
            able = flag(flags, SlotFlag.ENABLE) & ~flag(flags, SlotFlag.AUTHENTICATE)
            resigns = flag(flags, SlotFlag.RESIGN)
            m.d.sync += [
                self._runs[n].eq(able & ~resigns & self.run),
                self._quits[n].eq(able & resigns),
            ]
        m.d.sync += self._resign.eq(self._resign & ~self._taken | Mux(self.resign, self._quits, 0))
        m.d.comb += self.resigns.eq(self._quits.any())

    def _schedule(self, m: Module) -> None:
        """One slot after the other: is it due, and when next; 3 clocks a slot, 40 if it is."""
        rows = self._rows
        index = Signal(range(SLOTS))
        started = Signal(self._slots)
        here = (1 << index)[: self._slots]
        late, next_due = Signal(), Signal(SPAN)
        period, given, percent = (
            Signal(32),
            rows.schedule.period_us,
            Signal(rows.schedule.jitter.shape()),
        )
        m.d.sync += [
            self._pending.eq(self._pending & ~self._taken & self._runs),
            started.eq(started & self._runs),
        ]
        runs = (self._runs & here).any()
        draw, drawn, early = self._jitter(m, period, percent)
        m.d.comb += [
            rows.index.eq(index),
            rows.schedule_next.due.eq(next_due - early),
            rows.schedule_next.missed.eq(rows.schedule.missed + 1),
        ]
        with m.FSM() as fsm:
            with m.State("Fetch"):
                m.d.sync += [
                    period.eq(given),
                    percent.eq(rows.schedule.jitter),
                    next_due.eq(rows.schedule.due),
                ]
                m.next = "Look"
            with m.State("Look"):
                m.d.sync += late.eq(~(self._now - next_due)[SPAN - 1])
                with m.If(period < MIN_PERIOD_US):
                    m.d.sync += period.eq(MIN_PERIOD_US)
                with m.If(~(started & here).any()):
                    m.d.sync += [late.eq(1), next_due.eq(self._now)]
                m.next = "Judge"
            with m.State("Judge"):
                with m.If(runs & late):
                    m.d.comb += draw.eq(1)
                    m.next = "Draw"
                with m.Else():
                    m.d.sync += index.eq(Mux(index == self._slots - 1, 0, index + 1))
                    m.next = "Fetch"
            with m.State("Draw"):
                with m.If(drawn):
                    m.d.sync += next_due.eq(next_due + period)
                    m.next = "Set"
            with m.State("Set"):
                with m.If(runs):
                    m.d.comb += [
                        rows.set_due.eq(1),
                        rows.set_missed.eq((self._pending & ~self._taken & here).any()),
                    ]
                    m.d.sync += [
                        started.eq((started & self._runs) | here),
                        self._pending.eq((self._pending & ~self._taken | here) & self._runs),
                    ]
                m.next = "Fetch"
        self._schedule_quiet = fsm.ongoing("Judge")

    @staticmethod
    def _jitter(m: Module, period: Value, percent: Value) -> tuple[Signal, Signal, Signal]:
        """Period x random number x jitter, bit by bit: draw (in), drawn, µs early."""
        draw, drawn = Signal(), Signal()
        random, factor, share = Signal(16, init=0xACE1), Signal(16), Signal(16)
        operand, product = Signal(32), Signal(48)
        step, second, running = Signal(4), Signal(), Signal()
        total = (product << 1) + Mux(factor[15], operand, 0)
        m.d.sync += [
            # x^16 + x^14 + x^13 + x^11 + 1
            random.eq(Cat(random[1:], random[0] ^ random[2] ^ random[3] ^ random[5])),
            share.eq(Mux(percent > MAX_JITTER_PERCENT, MAX_JITTER_PERCENT, percent) * JITTER_UNIT),
            drawn.eq(running & second & (step == 15)),
        ]
        with m.If(draw):
            m.d.sync += [operand.eq(period), factor.eq(random), running.eq(1), second.eq(0)]
            m.d.sync += [product.eq(0), step.eq(0)]
        with m.Elif(running):
            m.d.sync += [product.eq(total), factor.eq(factor << 1), step.eq(step + 1)]
            with m.If(step == 15):
                m.d.sync += [second.eq(1), running.eq(~second)]
                with m.If(~second):
                    m.d.sync += [operand.eq(total[16:48]), factor.eq(share), product.eq(0)]
        return draw, drawn, product[16:48]

    def _share(self, m: Module) -> None:
        """When the line may carry the next slot (offload.md §4: at most 2 %)."""
        self._length = Signal(range(TEMPLATE_OCTETS + 1))  # of the slot that is being sent
        self._spent = Signal()  # it is out
        wait, charged = Signal(16), Signal()
        free_at = Signal(SPAN)
        self._free = Signal(init=1)
        # The length stands long before the frame is out: a clock for each step.
        n = Signal(range(TEMPLATE_OCTETS + OVERHEAD_OCTETS + 1))
        m.d.sync += n.eq(self._length + OVERHEAD_OCTETS)
        # 50 n octets at 1.25, 12.5, 125 and 1250 octets a µs; the quotients are exact there.
        # A quotient is a product and a shift, a register before and one behind it.
        doubled, more = Signal(10), Signal(9)
        fast, faster = Signal(18), Signal(16)
        by_speed = [n * (SHARE * 4 // 5), n * (SHARE * 4 // 50), fast >> 10, faster >> 10]
        m.d.sync += [
            doubled.eq(n * 2 + 4),
            more.eq(n + 24),
            fast.eq(doubled * 205),
            faster.eq(more * 41),
        ]
        m.d.sync += [wait.eq(Array(by_speed)[self.speed]), charged.eq(self._spent)]
        with m.If(charged):
            m.d.sync += [free_at.eq(self._now + wait), self._free.eq(0)]
        with m.Elif(~self._spent & ~(self._now - free_at)[SPAN - 1]):
            m.d.sync += self._free.eq(1)
        with m.If(self._spent):
            m.d.sync += self._free.eq(0)

    def _send(self, m: Module) -> None:
        """Choose, hand to the sender, count when it is out."""
        m.submodules.sender = sender = SlotSender()
        wiring.connect(m, wiring.flipped(self.o), sender.o)
        wiring.connect(m, wiring.flipped(self.i_ram_slot_template), sender.i_ram)
        wiring.connect(m, wiring.flipped(self.o_ram_slot_template), sender.o_ram)
        who, counter = Signal(range(SLOTS)), Signal(range(SLOTS))
        urgent = Signal()
        flags = Signal(SLOT.field("flags").width)
        following, mh_offset = Signal(16), Signal(SLOT.field("mh_offset").width)
        rows = self._rows
        slot = rows.slot
        due = Mux(self._resign.any(), self._resign, Mux(self._free, self._pending, 0))
        here = (1 << who)[: self._slots]
        given, last = slot.length, rows.sequence
        m.d.comb += [
            sender.slot.eq(who),
            sender.mh_offset.eq(mh_offset),
            rows.who.eq(who),
            rows.counter.eq(counter),
            rows.sent.eq(slot.sent + 1),
            rows.following.eq(following),
            sender.length.eq(self._length),
            sender.sequence.eq(following),
            sender.patch_sequence.eq(flag(flags, SlotFlag.SEQUENCE)),
            sender.patch_checksum.eq(flag(flags, SlotFlag.CHECKSUM)),
            self.request.eq(sender.request),
            sender.grant.eq(self.grant),
            # Whoever must stop says nothing more, unless it is on the line.
            sender.cancel.eq(~urgent & ~(self._runs & here).any()),
        ]
        done = Signal()  # a clock behind the sender's, which hangs on the line
        m.d.sync += done.eq(sender.done)
        with m.FSM() as fsm:
            with m.State("Idle"):
                m.d.sync += [who.eq(lowest(due)), urgent.eq(self._resign.any())]
                with m.If(due.any()):
                    m.next = "Look"
            with m.State("Look"):
                m.d.comb += self._taken.eq(here)
                m.d.sync += [
                    counter.eq(slot.sequence_from),
                    flags.eq(slot.flags),
                    mh_offset.eq(slot.mh_offset),
                    self._length.eq(
                        Mux(given > TEMPLATE_OCTETS, TEMPLATE_OCTETS, Mux(given == 0, 1, given))
                    ),
                ]
                m.next = "Count"
            with m.State("Count"):
                # After 65535 comes 1 (harp.md §2.1).
                m.d.sync += following.eq(Mux(last.all(), 1, last + 1))
                m.next = "Start"
            with m.State("Start"):
                m.d.comb += sender.start.eq(1)
                with m.If(flag(flags, SlotFlag.SEQUENCE)):
                    m.d.comb += rows.set_sequence.eq(1)
                m.next = "Send"
            with m.State("Send"):
                with m.If(done):
                    m.d.comb += [self._spent.eq(1), rows.set_sent.eq(1)]
                with m.If(~sender.busy):
                    m.next = "Idle"
        waits = fsm.ongoing("Idle") | (fsm.ongoing("Send") & ~done)
        m.d.comb += rows.quiet.eq(self._schedule_quiet & waits)
