"""The register bank, made from `harp.tables.registers`: decoder, flops, samples, ports of RAMs.

Ref: offload.md §6 (one declaration, no read with a side effect, multi-word values one sample)
"""

from collections.abc import Iterator
from dataclasses import dataclass

from amaranth import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.offload import BUCKETS, SLOTS, WatchdogAction
from harp.tables.reasons import ACTIONS, Action
from harp.tables.register_schema import ADDRESS_BITS, WORD_BITS, Access, Field, Home, Register
from harp.tables.registers import BY_NAME, REGISTERS
from harp_gateware.layouts import RAM_REQUEST, RAM_RESPONSE, REGISTER_REQUEST, REGISTER_RESPONSE
from harp_gateware.params import CoreParams

UNIT_WORDS = 4
SAMPLE_WORDS = 2
"""Words of the widest field that the gateware writes; a wider one is read word by word."""
NIBBLE = 4
"""Bits of an address decoded together: a LUT."""
DECODE_CLOCKS = 4
"""Which register is hit; what its word is; what that is of all; what follows from it."""


@dataclass(frozen=True)
class Unit:
    """What is read or written at once: a field wider than a word, or the fields of one word."""

    register: Register
    word: int
    """First word in the element."""
    words: int
    fields: tuple[Field, ...]


def units(register: Register) -> Iterator[Unit]:
    """The units of an element, upwards; a word without a field is one too."""
    word = 0
    while word < register.words:
        low = word * WORD_BITS
        inside = tuple(f for f in register.fields if low <= f.at < low + WORD_BITS)
        words = max((-(-f.width // WORD_BITS) for f in inside), default=1)
        yield Unit(register, word, words, inside)
        word += words


def elements(register: Register, params: CoreParams) -> int:
    """How many elements this build has; the others answer `error`."""
    limits = {
        "slot": params.slots,
        "slot_state": params.slots,
        "slot_template": params.slots * register.count // SLOTS,
        "local": params.local_addresses,
        "fence": 0 if params.monitor else params.fence_addresses,
        "bucket": BUCKETS + params.peers,
        "port": params.ports,
        "port_state": params.ports,
        "port_test": params.ports,
    }
    if register.name == "peer" or register.name.startswith("peer_"):
        return params.peers
    return limits.get(register.name, register.count)


def _shape(register: Register, field: Field) -> Shape | data.ArrayLayout:
    shape = Shape(field.width)
    return shape if register.count == 1 else data.ArrayLayout(shape, register.count)


def ports(registers: tuple[Register, ...] = REGISTERS) -> dict[str, wiring.Member]:
    """The bank's ports: `name__field` of registers in flops, `o_ram_name` and `i_ram_name`."""
    members: dict[str, wiring.Member] = {}
    for register in registers:
        if register.home is Home.RAM:
            request = stream.Signature(RAM_REQUEST, always_ready=True)
            response = stream.Signature(RAM_RESPONSE, always_ready=True)
            members[f"o_ram_{register.name}"] = Out(request)
            members[f"i_ram_{register.name}"] = In(response)
            continue
        for field in register.fields:
            name, shape = f"{register.name}__{field.name}", _shape(register, field)
            outward = field.access in (Access.RW, Access.PULSE)
            members[name] = Out(shape) if outward else In(shape)
            if field.access is Access.PULSE and field.width > 1:
                members[f"{name}__strobe"] = Out(register.count)
    return members


class RegisterBank(wiring.Component):
    """Every register of the map, one access at a time.

    Ports: RW fields are flops here and outputs; RO fields are inputs; PULSE fields are outputs,
    their value for one clock (wider than a bit: `__strobe` says when); a W1C field's input sets
    its flop while 1. An array is one port, element n at index n.

    Answers in 8 clocks, with a RAM area its owner's time and one more. No such word, an element
    that this build has not, or what a monitor refuses (`drop` actions, an armed fence): `error`,
    data 0, nothing written.
    """

    def __init__(self, params: CoreParams, registers: tuple[Register, ...] = REGISTERS) -> None:
        self._params = params
        self._registers = registers
        super().__init__(
            {
                "i_request": In(stream.Signature(REGISTER_REQUEST)),
                "o_response": Out(stream.Signature(REGISTER_RESPONSE)),
                **ports(registers),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._request = Signal(REGISTER_REQUEST)
        self._offset = Signal(ADDRESS_BITS)  # of the first word of what is accessed
        self._word = Signal(range(UNIT_WORDS))  # of the access, in its unit
        self._top = Signal()  # it is the unit's last word
        self._known, self._in_ram = Signal(), Signal()
        self._sample = Signal(SAMPLE_WORDS * WORD_BITS)
        self._fetched = Signal(SAMPLE_WORDS * WORD_BITS)
        self._hold = Signal(UNIT_WORDS * WORD_BITS)  # a unit that is being written
        self._strobe = Signal()
        self._refused = Signal()
        self._picked: list[Value] = []
        self._decode(m)
        self._control(m)
        for register in self._registers:
            if register.home is Home.FLOPS:
                self._flops(m, register)
        m.d.comb += self._fetched.eq(self._either(self._picked))
        self._refuse(m)
        return m

    def _control(self, m: Module) -> None:
        """One access: decode, fetch the unit or write it, answer.

        What is not asked is 0: of flops and RAMs one is, so that one OR joins them.
        """
        fetch = ~self._request.write & ((self._word == 0) | self._request.first)
        ram_valid, ram_data = self._ram_ports(m)
        write = self._request.write & self._top & ~self._refused
        settled, step = Signal(), Signal(range(DECODE_CLOCKS))
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += self.i_request.ready.eq(~self.o_response.valid)
                with m.If(self.i_request.ready & self.i_request.valid):
                    m.d.sync += self._request.eq(self.i_request.p)
                    m.next = "Decode"
            with m.State("Decode"):
                m.d.sync += [step.eq(step + 1), settled.eq(0)]
                with m.If(step == DECODE_CLOCKS - 1):
                    m.next = "Settle"
            with m.State("Settle"):
                # Twice: the units' words pass two registers on their way here.
                m.d.sync += settled.eq(1)
                with m.If(self._known & self._request.write):
                    m.d.sync += self._hold.word_select(self._word, WORD_BITS).eq(self._request.data)
                with m.If(settled):
                    m.next = "Act"
            with m.State("Act"):
                m.next = "Answer"
                with m.If(self._known & fetch & ~self._in_ram):
                    m.d.sync += self._sample.eq(self._fetched | ram_data)
                # Written, and pulsed, in the clock of the answer.
                m.d.sync += self._strobe.eq(self._known & write & ~self._in_ram)
                with m.If(self._known & self._in_ram & (fetch | (write & self._writable))):
                    m.d.comb += self._ram_go.eq(1)
                    m.next = "Ram"
            with m.State("Ram"):
                with m.If(ram_valid):
                    with m.If(~self._request.write):
                        m.d.sync += self._sample.eq(self._fetched | ram_data)
                    m.next = "Answer"
            with m.State("Answer"):
                m.d.sync += self._strobe.eq(0)
                word = self._sample.word_select(self._word[0], WORD_BITS)
                good = self._known & ~self._request.write
                m.d.sync += [
                    self.o_response.valid.eq(1),
                    self.o_response.p.error.eq(
                        ~self._known | (self._request.write & self._top & self._refused)
                    ),
                    self.o_response.p.data.eq(Mux(good, word, 0)),
                ]
                m.next = "Idle"
        with m.If(self.o_response.valid & self.o_response.ready):
            m.d.sync += self.o_response.valid.eq(0)

    def _decode(self, m: Module) -> None:
        """Which register, then which element and unit: DECODE_CLOCKS from `self._request`."""
        address = self._request.address
        hits, chosen = [], []
        for register in self._registers:
            hit = Signal(name=f"hit_{register.name}")
            if register.count == 1:
                last = register.offset + register.words - 1
                here: Value = Const(0)
                for page in range(register.offset >> NIBBLE, (last >> NIBBLE) + 1):
                    words = (n for n in range(1 << NIBBLE))
                    inside = [n for n in words if register.offset <= page << NIBBLE | n <= last]
                    here |= (address[NIBBLE:] == page) & address[:NIBBLE].matches(*inside)
            else:
                low, span = register.stride.bit_length() - 1, register.span.bit_length() - 1
                here = (
                    (address[span:] == register.offset >> span)
                    & (address[low:span] < elements(register, self._params))
                    & (address[:low] < register.words)
                )
            m.d.sync += hit.eq(here)
            hits.append(hit)
            chosen.append(self._place(m, register, hit))
        m.d.sync += [
            self._known.eq(Cat(*hits).any()),
            self._in_ram.eq(
                Cat(
                    *(h for h, r in zip(hits, self._registers, strict=True) if r.home is Home.RAM)
                ).any()
            ),
        ]
        # A clock for each step: of the register that is hit, of all, and what follows from it.
        word, more, writable, alone = (Signal.like(part) for part in chosen[0])
        self._writable = Signal()
        number = Mux(alone & ~self._request.write, 0, word)
        m.d.sync += [
            part.eq(self._either([place[n] for place in chosen]))
            for n, part in enumerate((word, more, writable, alone))
        ]
        m.d.sync += [
            # Units in RAM are aligned.
            self._offset.eq(Cat(address[: len(self._word)] & ~number, address[len(self._word) :])),
            self._word.eq(number),
            self._top.eq(~more),
            self._writable.eq(writable),
        ]
        self._hits = {r.name: h for h, r in zip(hits, self._registers, strict=True)}

    @staticmethod
    def _either(values: list[Value]) -> Value:
        """The one that is not 0."""
        result: Value = Const(0)
        for value in values:
            result = result | value
        return result

    def _place(
        self, m: Module, register: Register, hit: Signal
    ) -> tuple[Value, Value, Value, Value]:
        """The word's number in its unit, do more follow, may it be written (in RAM), is it read
        alone; all 0 of most, and a clock behind a hit of others."""
        inside = Signal(range(UNIT_WORDS), name=f"inside_{register.name}")
        more = Signal(name=f"more_{register.name}")
        writable = Signal(name=f"writable_{register.name}")
        alone = Signal(name=f"alone_{register.name}")
        in_ram = register.home is Home.RAM
        m.d.sync += [inside.eq(0), more.eq(0), writable.eq(0), alone.eq(0)]
        with m.If(hit):
            with m.Switch(self._low(register)):
                for unit in units(register):
                    assert not in_ram or unit.word % unit.words == 0
                    written = any(f.access is not Access.RO for f in unit.fields)
                    for n in range(unit.words):
                        with m.Case(self._row(register, unit.word + n)):
                            m.d.sync += [
                                inside.eq(n),
                                more.eq(n != unit.words - 1),
                                writable.eq(in_ram and written),
                                alone.eq(unit.words > SAMPLE_WORDS),
                            ]
        return inside, more, writable, alone

    def _low(self, register: Register) -> Value:
        """Bits of the address that tell the words of an element apart."""
        low = NIBBLE if register.count == 1 else register.stride.bit_length() - 1
        return self._request.address[:low]

    @staticmethod
    def _row(register: Register, word: int) -> int:
        """What `_low` is at a word."""
        low = NIBBLE if register.count == 1 else register.stride.bit_length() - 1
        return (register.offset + word) % (1 << low)

    def _ram_ports(self, m: Module) -> tuple[Value, Value]:
        """Requests to the RAM areas; which answers, and with what."""
        self._ram_go = Signal()
        valid: list[Value] = [Const(0)]
        words: list[Value] = [Const(0)]
        for register in self._registers:
            if register.home is not Home.RAM:
                continue
            out, back = (
                getattr(self, f"o_ram_{register.name}"),
                getattr(self, f"i_ram_{register.name}"),
            )
            m.d.sync += out.valid.eq(self._ram_go & self._hits[register.name])
            m.d.comb += [
                out.p.address.eq(self._offset),
                out.p.write.eq(self._request.write),
                out.p.data.eq(self._hold),
            ]
            valid.append(back.valid)
            held = Signal.like(back.p.data, name=f"held_{register.name}")
            m.d.sync += held.eq(Mux(back.valid, back.p.data, 0))
            words.append(held)
        answered = Signal()
        m.d.sync += answered.eq(Cat(*valid).any())
        return answered, self._either(words)

    def _flops(self, m: Module, register: Register) -> None:
        """Flops, strobes and read path of one register."""
        # Of a register that is hit, the low bits of the address tell the units apart.
        bits = max(NIBBLE, (register.span - 1).bit_length())
        for unit in units(register):
            for index in range(elements(register, self._params)):
                here = Signal(name=f"at_{register.name}_{unit.word}_{index}")
                first = register.address(index) + unit.word
                places = ((first + n) % (1 << bits) for n in range(unit.words))
                m.d.sync += here.eq(
                    self._hits[register.name] & self._request.address[:bits].matches(*places)
                )
                value = Signal(unit.words * WORD_BITS)
                for field in unit.fields:
                    shift = field.at - unit.word * WORD_BITS
                    part = self._flop(m, register, field, index, here, shift)
                    m.d.comb += value[shift : shift + field.width].eq(part)
                # A flop with a reset of its own each, so that one OR joins them all.
                given = Signal.like(value, name=f"given_{register.name}_{unit.word}_{index}")
                m.d.sync += given.eq(Mux(here, value, 0))
                self._picked.append(given)

    def _flop(
        self, m: Module, register: Register, field: Field, index: int, here: Value, shift: int
    ) -> Value:
        """One field of one element: its flop or strobe; returns what a read shows."""
        name = f"{register.name}__{field.name}"
        port = getattr(self, name)
        port = port if register.count == 1 else port[index]
        write = self._strobe & here
        written = self._hold[shift : shift + field.width]
        if field.access is Access.RO:
            return port
        if field.access is Access.PULSE:
            m.d.comb += port.eq(Mux(write, written, 0))
            if field.width > 1:
                m.d.comb += getattr(self, f"{name}__strobe")[index].eq(write)
            return Const(0, field.width)
        flop = Signal(field.width, init=register.reset_of(field, index), name=f"{name}_{index}")
        if field.access is Access.W1C:
            m.d.sync += flop.eq(flop & ~Mux(write, written, 0) | port)
            return flop
        with m.If(write):
            m.d.sync += flop.eq(written)
        m.d.comb += port.eq(flop)
        return flop

    def _refuse(self, m: Module) -> None:
        """A monitor has no drop action and no fence (offload.md, one Ethernet port)."""
        if not self._params.monitor or self._registers is not REGISTERS:
            return
        action, guard = BY_NAME["action"], BY_NAME["guard"]
        drop = self._part(action.field("action")) == ACTIONS.index(Action.DROP)
        fence = self._part(guard.field("armed")) & (
            self._part(guard.field("action")) == WatchdogAction.RESIGN_FENCE
        )
        m.d.sync += self._refused.eq(
            (self._hits["action"] & drop)
            | (self._hits["guard"] & fence & (self._request.address[0] == guard.offset % 2))
        )

    def _part(self, field: Field) -> Value:
        """The field in a write of the register's first word."""
        return self._hold[field.at : field.at + field.width]
