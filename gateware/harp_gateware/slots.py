"""Slots: frames that the core sends by itself, and the resigns of a fired watchdog.

Ref: offload.md §4 (slots, watchdog), RFC 1624 §3 (checksum update), harp.md §4 (jitter)
"""

from amaranth import Array, Cat, Const, Module, Mux, Signal, signed
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
from harp_gateware.layouts import RAM_REQUEST, RAM_RESPONSE, TIME_US, WORD
from harp_gateware.priority import lowest
from harp_gateware.slot_rows import HEAD, SLOT_AREAS, SPAN, SlotRows, flag
from harp_gateware.slot_sender import SlotSender

OVERHEAD_OCTETS = 24
"""FCS, preamble and gap of a frame on the line."""
SHARE = 100 // SLOT_SHARE_PERCENT
JITTER_UNIT = 655
"""One percent of 65536, rounded down: a slot is never earlier than its jitter."""
GREATEST = [JITTER_UNIT * min(percent, MAX_JITTER_PERCENT) for percent in range(16)]
"""By percent, the greatest part of a period that is left out, in 2^-16."""
FRACTION = 16
NEAR = 24
"""Bits of the times between two slots, which are at most 11,200 µs; now may jump by 8 s."""
RATES = (1, 10, 100, 1000)
"""By a port's speed, octets that its line carries in 0.8 µs."""
TEMPLATE = "slot_template"


class Slots(wiring.Component):
    """Sends each slot's template once in its period, patched, and never more than 2 % of the line.

    A slot runs while enabled, not a resign slot, not to be authenticated (no HMAC here) and `run`.
    It is due at once when it begins to run, then each period, less a random 0 to `jitter` percent.
    Due again before it was sent: `missed`. `resign` sends each enabled resign slot once, before all
    else and whatever its share. Of several due the lowest index goes first. A period under 100 µs
    counts as 100, a length of 0 or over 256 as 256.

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
        rows = self._rows
        self._runs, quits = Signal(self._slots), Signal(self._slots)
        m.d.sync += [
            self._runs.eq(Mux(self.run, rows.periodic, 0)),
            quits.eq(rows.resigns),
            self._resign.eq(self._resign & ~self._taken | Mux(self.resign, quits, 0)),
        ]
        m.d.comb += self.resigns.eq(quits.any())

    def _schedule(self, m: Module) -> None:
        """One slot after the other: is it due, and when next; 4 clocks a slot, 25 to 40 if it is.

        A slot that begins to run counts from now.
        """
        rows = self._rows
        index = Signal(range(SLOTS))
        started = Signal(self._slots)
        here = Signal(self._slots, init=1)  # a bit for `index`
        runs, known, waits = Signal(), Signal(), Signal()  # this slot does, a clock ago
        late, due = Signal(), Signal(SPAN)
        period, percent = Signal(32), Signal(rows.schedule.jitter.shape())
        m.d.sync += [
            self._pending.eq(self._pending & ~self._taken & self._runs),
            started.eq(started & self._runs),
        ]
        m.d.sync += [
            runs.eq((self._runs & here).any()),
            known.eq((started & here).any()),
            waits.eq((self._pending & here).any()),
        ]
        draw, drawn, interval = self._interval(m, period, percent)
        m.d.comb += [rows.index.eq(index), rows.due.eq(due + interval)]
        with m.FSM() as fsm:
            with m.State("Turn"):
                m.next = "Fetch"
            with m.State("Fetch"):
                m.d.sync += [
                    period.eq(rows.schedule.period_us),
                    percent.eq(rows.schedule.jitter),
                    due.eq(Mux(known, rows.schedule.due, self._now)),
                ]
                with m.If(~rows.look & ~rows.serving):
                    m.next = "Look"
            with m.State("Look"):
                m.d.sync += late.eq(~(self._now - due)[SPAN - 1])
                with m.If(period < MIN_PERIOD_US):
                    m.d.sync += period.eq(MIN_PERIOD_US)
                m.next = "Judge"
            with m.State("Judge"):
                with m.If(runs & late):
                    m.d.comb += draw.eq(1)
                    m.next = "Draw"
                with m.Else():
                    m.d.sync += [
                        index.eq(Mux(here[-1], 0, index + 1)),
                        here.eq(here.rotate_left(1)),
                    ]
                    m.next = "Turn"
            with m.State("Draw"):
                with m.If(drawn):
                    m.next = "Set"
            with m.State("Set"):
                with m.If(~runs):
                    m.next = "Turn"
                with m.Elif(~rows.counting):
                    m.d.comb += [rows.set_due.eq(1), rows.miss.eq(waits)]
                    m.d.sync += [
                        started.eq((started | here) & self._runs),
                        self._pending.eq((self._pending & ~self._taken | here) & self._runs),
                    ]
                    m.next = "Turn"
        self._schedule_sets = fsm.ongoing("Set")
        self._schedule_quiet = fsm.ongoing("Turn")

    @staticmethod
    def _interval(m: Module, period: Signal, percent: Signal) -> tuple[Signal, Signal, Signal]:
        """The period less a random part of it: draw (in), drawn, µs.

        The part is a number of 2^-16, drawn until it is at most 655 x `percent`: after
        16 tries at most. What is left is the period's product with 2^16 less it, rounded up: begun
        with one period, then a bit a clock, low bits first, each half rounded up.
        """
        draw, drawn = Signal(), Signal()
        random, factor = Signal(16, init=0xACE1), Signal(FRACTION)
        limit, mask = Signal(range(GREATEST[-1] + 1)), Signal(range(GREATEST[-1] + 1))
        early = Signal(FRACTION)  # as wide as what is made of its inverse
        choosing, running, step = Signal(), Signal(), Signal(range(FRACTION))
        left = Signal(33)
        carried = Cat(1, left) + Cat(1, Mux(factor[0], period, 0))
        m.d.sync += [
            # x^16 + x^14 + x^13 + x^11 + 1
            random.eq(Cat(random[1:], random[0] ^ random[2] ^ random[3] ^ random[5])),
            early.eq(random & mask),
            limit.eq(Array(GREATEST)[percent]),
            mask.eq(Array([(1 << n.bit_length()) - 1 for n in GREATEST])[percent]),
            factor.eq(Mux(choosing, ~early, Cat(factor[1:], 1))),
            step.eq(step + running),
            drawn.eq(running & (step == FRACTION - 1)),
        ]
        with m.If(draw):
            m.d.sync += [choosing.eq(1), left.eq(period)]
        with m.Elif(choosing & (early <= limit)):
            m.d.sync += [choosing.eq(0), running.eq(1)]
        with m.If(running):
            m.d.sync += left.eq(carried >> 2)
            with m.If(step == FRACTION - 1):
                m.d.sync += running.eq(0)
        return draw, drawn, left

    def _share(self, m: Module) -> None:
        """When the line may carry the next slot (offload.md §4: at most 2 %).

        The wait is 40 n over the line's octets in 0.8 µs, rounded up: they are taken off a clock a
        µs, which is sooner done than the µs pass.
        """
        self._length = Signal(range(TEMPLATE_OCTETS + 1))  # of the slot that is being sent
        self._spent = Signal()  # it is out
        self._free = Signal(init=1)
        now = self._now[:NEAR]
        free_at, rate = Signal(NEAR), Signal(range(RATES[-1] + 1))
        owed, five, fifths = Signal(signed(15)), Signal(11), Signal(11)
        m.d.sync += [
            rate.eq(Array(RATES)[self.speed]),
            # The length stands long before the frame is out.
            five.eq(self._length + (self._length << 2)),
            fifths.eq(five + (5 * OVERHEAD_OCTETS - 1)),
        ]
        with m.If(self._spent):
            m.d.sync += [
                free_at.eq(now),
                owed.eq(Cat(Const(-1, 3), fifths)),  # less one: done when it is below 0
                self._free.eq(0),
            ]
        with m.Elif(owed >= 0):
            m.d.sync += [free_at.eq(free_at + 1), owed.eq(owed - rate)]
        with m.Elif(~(now - free_at)[NEAR - 1]):
            m.d.sync += self._free.eq(1)

    def _send(self, m: Module) -> None:
        """Choose, hand to the sender, count when it is out."""
        m.submodules.sender = sender = SlotSender()
        wiring.connect(m, wiring.flipped(self.o), sender.o)
        wiring.connect(m, wiring.flipped(self.i_ram_slot_template), sender.i_ram)
        wiring.connect(m, wiring.flipped(self.o_ram_slot_template), sender.o_ram)
        rows = self._rows
        who, slot = Signal(range(SLOTS)), Signal(HEAD)
        following = Signal(16)
        due, urgent = Signal(self._slots), Signal()  # who is to be sent; they are resigns
        resigns = Signal()  # the one that is sent
        here = (1 << who)[: self._slots]
        unsaid = Signal()  # it is out, and not counted
        free = self._free & ~unsaid & ~self._spent
        m.d.sync += [
            due.eq(Mux(self._resign.any(), self._resign, Mux(free, self._pending, 0))),
            urgent.eq(self._resign.any()),
            # Whoever must stop says nothing more, unless it is on the line.
            sender.cancel.eq(~resigns & ~(self._runs & here).any()),
            # A clock behind the sender's `done`, which hangs on the line.
            unsaid.eq(sender.done | (unsaid & ~rows.sent)),
            self._spent.eq(rows.sent),
        ]
        m.d.comb += [
            sender.slot.eq(who),
            sender.mh_offset.eq(slot.mh_offset),
            rows.who.eq(who),
            rows.counter.eq(slot.sequence_from),
            rows.following.eq(following),
            self._length.eq(slot.length),
            sender.length.eq(slot.length),
            sender.sequence.eq(following),
            sender.patch_sequence.eq(flag(slot.flags, SlotFlag.SEQUENCE)),
            sender.patch_checksum.eq(flag(slot.flags, SlotFlag.CHECKSUM)),
            self.request.eq(sender.request),
            sender.grant.eq(self.grant),
            rows.sent.eq(unsaid & ~self._schedule_sets & ~rows.counting),
        ]
        with m.FSM() as fsm:
            with m.State("Idle"):
                m.d.sync += [who.eq(lowest(due)), resigns.eq(urgent)]
                with m.If(due.any()):
                    m.d.sync += rows.look.eq(1)
                    m.next = "Look"
            with m.State("Look"):
                m.d.sync += slot.eq(rows.slot)
                with m.If(~rows.serving):
                    m.d.sync += rows.look.eq(0)
                    m.d.comb += self._taken.eq(here)
                    m.next = "Fetch"
            with m.State("Fetch"):
                with m.If((slot.length == 0) | (slot.length > TEMPLATE_OCTETS)):
                    m.d.sync += slot.length.eq(TEMPLATE_OCTETS)
                m.d.sync += following.eq(rows.sequence)
                m.next = "Count"
            with m.State("Count"):
                # After 65535 comes 1 (harp.md §2.1).
                m.d.sync += following.eq((following + 1)[:16] | following.all())
                m.next = "Start"
            with m.State("Start"):
                m.d.comb += [
                    sender.start.eq(1),
                    rows.set_sequence.eq(flag(slot.flags, SlotFlag.SEQUENCE)),
                ]
                m.next = "Send"
            with m.State("Send"):
                with m.If(~sender.busy & ~unsaid):
                    m.next = "Idle"
        waits = fsm.ongoing("Idle") | (fsm.ongoing("Send") & ~unsaid)
        m.d.comb += rows.quiet.eq(self._schedule_quiet & waits & ~rows.counting)


assert SHARE * 4 // 5 == 40, "50 n octets' time are 40 n over the octets in 0.8 µs"
