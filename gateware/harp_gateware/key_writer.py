"""The host's access to keys: a RAM of their words; the rows of their digits, brought up to date.

Ref: `harp.tables.register_schema` (arrays, units)
"""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.register_schema import WORD_BITS, Register
from harp.tables.registers import BY_NAME
from harp_gateware.digit_tables import (
    AWAY,
    DIGIT,
    DIGITS,
    KEY_WORD,
    KEYS,
    LAST_TABLE,
    RAMS,
    ROW,
    arranged,
    key_rows,
    restored,
    row,
)
from harp_gateware.layouts import RAM_REQUEST, RAM_RESPONSE

PEER, LOCAL, FENCE = (BY_NAME[name] for name in ("peer", "local", "fence"))
AREAS = (PEER, LOCAL, FENCE)
"""Each begins with an address. The words of all lie in one RAM, one area behind the other."""
WORDS = tuple(area.count * area.stride for area in AREAS)


def _contents(area: Register) -> list[int]:
    """What the RAM holds of an area after configuration."""
    return [
        word
        for index in range(area.count)
        for word in (*area.reset_words(index), *(0,) * area.stride)[: area.stride]
    ]


class KeyWriter(wiring.Component):
    """Words of peers, local addresses and fence: an address of 4 words, and of two a word behind.

    One access at a time; its payload holds until its answer. A read is answered in 6 clocks. A
    write of a unit takes about 60 clocks a word where keys have digits, longer while rows are
    looked up for frames, and 9 clocks a word of the fence. Of each digit the old value's row loses
    the key's bit, then, when the word is stored, the new one's gets it. So a row never has a bit
    that its key's stored word does not ask for, whenever a reset comes; one that is missing after
    it comes with the next write. Until it is answered the key matches nothing, or parts of old and
    new. `X_word` tells of each word of X that is stored. Bits without a field are 0.
    """

    def __init__(self) -> None:
        request = stream.Signature(RAM_REQUEST, always_ready=True)
        response = stream.Signature(RAM_RESPONSE, always_ready=True)
        super().__init__(
            {
                **{f"i_ram_{area.name}": In(request) for area in AREAS},
                **{f"o_ram_{area.name}": Out(response) for area in AREAS},
                **{f"{area.name}_word": Out(KEY_WORD) for area in AREAS},
                "peer_rows": Out(key_rows(KEYS)),
                "local_rows": Out(key_rows(LOCAL.count)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._area = Signal(len(AREAS))  # one-hot: whose access it is
        self._word = Signal(3)
        self._second = Signal()  # the word is the one behind the address
        self._step = Signal(DIGITS, init=1)
        self._left = Signal(WORD_BITS)  # digits of the word, the next one lowest
        self._sets = Signal()
        self._fetched = Signal(WORD_BITS, reset_less=True)
        self._request(m)
        self._store(m)
        self._rows(m)
        self._control(m)
        return m

    def _request(self, m: Module) -> None:
        """The access under way, and the word of it that is being written."""
        streams = [getattr(self, f"i_ram_{area.name}") for area in AREAS]
        self._asked = Cat(port.valid for port in streams)
        request = self._payload = Signal(RAM_REQUEST)
        m.d.comb += request.eq(streams[0].payload)
        for n, port in enumerate(streams[1:], 1):
            with m.If(self._area[n]):
                m.d.comb += request.eq(port.payload)
        picked = [Signal(WORD_BITS, name=f"picked_{n}") for n in range(RAMS)]
        for n, word in enumerate(picked):
            # A flop with a reset of its own each, so that one OR joins them.
            given = request.data.word_select(n, WORD_BITS)
            m.d.sync += word.eq(Mux(self._word[:2] == n, given, 0))
        word = picked[0] | picked[1] | picked[2] | picked[3]
        masks = [
            sum((1 << f.width) - 1 << f.at for f in area.fields) >> WORD_BITS * RAMS
            for area in AREAS
        ]
        mask = Mux(self._area[2], Const(masks[2], WORD_BITS), Const(masks[0], WORD_BITS))
        self._index, self._data = Signal(range(KEYS)), Signal(WORD_BITS)
        m.d.comb += [
            self._second.eq(self._word[2]),
            self._index.eq(Mux(self._area[1], request.address[2:6], request.address[3:8])),
            self._data.eq(word & Mux(self._second, mask, (1 << WORD_BITS) - 1)),
        ]

    def _store(self, m: Module) -> None:
        """The words, and who hears of them."""
        # What is read while a word is written is not looked at.
        m.submodules.words = words = memory.Memory(
            shape=WORD_BITS,
            depth=1 << (sum(WORDS) - 1).bit_length(),
            init=[word for area in AREAS for word in _contents(area)],
            attrs={"no_rw_check": 1},
        )
        self._write, read = words.write_port(), words.read_port()
        place = Cat(self._word, self._index)
        m.d.comb += [
            self._write.addr.eq(place),
            self._write.data.eq(self._data),
            read.addr.eq(self._write.addr),
        ]
        with m.If(self._area[1]):
            m.d.comb += self._write.addr.eq(WORDS[0] | Cat(self._word[:2], self._index[:4]))
        with m.If(self._area[2]):
            m.d.comb += self._write.addr.eq(sum(WORDS[:2]) | place[:6])
        m.d.sync += self._fetched.eq(read.data)
        for n, area in enumerate(AREAS):
            told = getattr(self, f"{area.name}_word")
            m.d.comb += [
                told.written.eq(self._write.en & self._area[n]),
                told.index.eq(self._index),
                told.number.eq(self._word),
                told.data.eq(self._data),
                getattr(self, f"o_ram_{area.name}").p.data.eq(restored(self._left)),
            ]

    def _rows(self, m: Module) -> None:
        """The row of the next digit, as it was and as it shall be."""
        digit, sevenths = self._left[:DIGIT], self._left[-2:]
        update, value = Signal(ROW), Signal(KEYS)
        m.d.comb += update.eq(row(LAST_TABLE, digit, Const(0)))
        with m.If(~self._second):
            for n in range(DIGITS):
                with m.If(self._step[n]):
                    m.d.comb += update.eq(row(n, digit, sevenths[0]))
        low, high = Signal(8), Signal(KEYS // 8)  # of the key's bit
        m.d.sync += [low.eq(1 << self._index[:3]), high.eq(1 << self._index[3:])]
        here = Cat(low & bit.replicate(8) for bit in high)
        peer, local = self.peer_rows, self.local_rows
        old = Mux(self._area[1], local.raw, peer.raw)
        self._changed, self._value = Mux(self._sets, old | here, old & ~here), value
        self._idle = Mux(self._area[1], local.idle, peer.idle)
        self._put = Signal()
        away = self._step[AWAY:].any()
        half = Cat(self._word[0], self._word[1] ^ away)
        for n, (rows, ram) in enumerate(
            (
                (peer, Mux(self._second, self._step[:RAMS], 1 << self._word[:2])),
                (local, 1 << half),
            )
        ):
            m.d.comb += [
                rows.update.eq(update),
                rows.chosen.eq(ram),
                rows.value.eq(value),
                rows.put.eq(self._put & self._area[n]),
            ]

    def _control(self, m: Module) -> None:
        """Of each word: the digits of the old one cleared, stored, those of the new one set."""
        last = Mux(self._second, self._step[RAMS - 1], self._step[DIGITS - 1])
        write, plain = self._payload.write, self._area[2]
        done: list[Value] = [getattr(self, f"o_ram_{area.name}").valid for area in AREAS]
        m.d.sync += Cat(*done).eq(0)
        with m.FSM():
            with m.State("Idle"):
                m.d.sync += self._area.eq(self._asked)
                with m.If(self._asked.any()):
                    m.next = "Begin"
            with m.State("Begin"):
                address = self._payload.address
                m.d.sync += [
                    self._word.eq(Cat(address[:2], address[2] & ~self._area[1])),
                    self._sets.eq(0),
                ]
                m.next = "Fetch"
            with m.State("Fetch"):
                m.next = "Register"
            with m.State("Register"):
                m.next = "Take"
            with m.State("Take"):
                m.d.sync += self._left.eq(arranged(self._fetched))
                m.next = "Ask"
                with m.If(~write):
                    m.d.sync += Cat(*done).eq(self._area)
                    m.next = "Idle"
                with m.Elif(plain):
                    m.next = "Store"
            with m.State("Ask"):
                m.next = "Read"
            with m.State("Read"):
                with m.If(self._idle):
                    m.next = "Wait"
            with m.State("Wait"):
                m.next = "Change"
            with m.State("Change"):
                m.d.sync += self._value.eq(self._changed)
                m.next = "Put"
            with m.State("Put"):
                with m.If(self._idle):
                    m.d.comb += self._put.eq(1)
                    m.d.sync += [
                        self._left.eq(Cat(self._left[DIGIT:-2], Const(0, DIGIT), self._left[-1:])),
                        self._step.eq(self._step.rotate_left(1)),
                    ]
                    m.next = "Ask"
                    with m.If(last):
                        m.d.sync += self._step.eq(1)
                        m.next = "Store"
                        with m.If(self._sets):
                            m.next = "Next"
            with m.State("Store"):
                m.d.comb += self._write.en.eq(1)
                m.d.sync += self._sets.eq(1)
                m.next = "Fetch"
                with m.If(plain):
                    m.next = "Next"
            with m.State("Next"):
                m.d.sync += [self._word.eq(self._word + 1), self._sets.eq(0)]
                m.next = "Fetch"
                with m.If(self._second | self._word[:2].all()):
                    m.d.sync += Cat(*done).eq(self._area)
                    m.next = "Idle"


assert WORDS[0] == KEYS * PEER.stride and PEER.stride == FENCE.stride == 8 and LOCAL.stride == 4
assert WORDS[0] % WORDS[1] == 0 and sum(WORDS[:2]) % WORDS[2] == 0
