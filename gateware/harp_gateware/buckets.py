"""Token buckets: eight shared ones and one a peer.

Ref: ITU-T I.371 (generic cell rate algorithm); `harp.tables.offload.Bucket`; offload.md §2
"""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.offload import BUCKETS
from harp.tables.register_schema import WORD_BITS
from harp.tables.registers import BY_NAME
from harp_gateware.layouts import BUCKET_INDEX, RAM_REQUEST, RAM_RESPONSE, TIME_US

BUCKET = BY_NAME["bucket"]
LAGS = 3
"""Look-ups of a frame, one a clock; one of them at most takes its token."""
LAG_BITS = 2
SPAN = 48
"""Bits of a time; the sign of a difference tells what is past."""

NEXT = data.StructLayout({"due": SPAN, "index": BUCKET_INDEX, "limited": 1})
"""What is written if the token is taken."""


class Buckets(wiring.Component):
    """Says of any bucket whether a frame at `now_us` conforms; takes the token if told to.

    A look-up is `index` in a clock with `busy`. 4 clocks later `o_conforms` is its answer. 5 clocks
    later, or `lag` more, `take` writes its bucket back; look-ups from then on see it. `now_us`
    must hold from 2 to 3 clocks after the look-up.

    A bucket conforms if `now_us + tolerance_us >= due`; then `due` = max(now_us, due) + period_us.
    `due` starts at 0. Period 0: always conforms, `due` stays. The host's accesses wait for a clock
    that is not `busy`; settings count from the next look-up on. Times are kept in 48 bits: a bucket
    that was not asked for over 4 years may refuse frames.
    """

    def __init__(self, peers: int) -> None:
        self._depth = BUCKETS + peers
        super().__init__(
            {
                "index": In(BUCKET_INDEX),
                "busy": In(1),
                "now_us": In(TIME_US),
                "o_conforms": Out(1),
                "take": In(1),
                "lag": In(range(LAGS)),
                "i_ram_bucket": In(stream.Signature(RAM_REQUEST, always_ready=True)),
                "o_ram_bucket": Out(stream.Signature(RAM_RESPONSE, always_ready=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._at, self._index = Signal(BUCKET_INDEX), Signal(BUCKET_INDEX)
        self._period = Signal(WORD_BITS, reset_less=True)
        self._tolerance = Signal(WORD_BITS, reset_less=True)
        self._due = Signal(SPAN, reset_less=True)
        self._settings(m)
        self._dues(m)
        self._judge(m)
        return m

    def _ram(self, m: Module, name: str, rows: list[int], value: Signal) -> memory.WritePort:
        """A block RAM, its output in `value`, 2 clocks behind `self._at`.

        The row that is written is never one that counts and is read in the same clock.
        """
        ram = memory.Memory(
            shape=len(value),
            depth=self._depth,
            init=rows,
            attrs={"no_rw_check": 1, "ram_style": "block"},
        )
        m.submodules[name] = ram
        write, read = ram.write_port(), ram.read_port()
        m.d.comb += read.addr.eq(self._at)
        m.d.sync += value.eq(read.data)
        return write

    def _settings(self, m: Module) -> None:
        """The host's two words a bucket, in a RAM each."""
        request, waits = Signal(RAM_REQUEST), Signal()
        at, late = self._at, Signal(BUCKET_INDEX)
        m.d.comb += at.eq(Mux(self.busy, self.index, request.address[1 : 1 + BUCKET_INDEX]))
        m.d.sync += [late.eq(at), self._index.eq(late)]
        done = waits & ~self.busy
        answer = Signal(3)
        with m.If(self.i_ram_bucket.valid):
            m.d.sync += [request.eq(self.i_ram_bucket.p), waits.eq(1)]
        with m.Elif(done):
            m.d.sync += waits.eq(0)
        for word, (name, value) in enumerate(
            (("period_us", self._period), ("tolerance_us", self._tolerance))
        ):
            field = BUCKET.field(name)
            rows = [BUCKET.reset_of(field, n) for n in range(self._depth)]
            write = self._ram(m, name, rows, value)
            m.d.comb += [
                write.addr.eq(request.address[1 : 1 + BUCKET_INDEX]),
                write.data.eq(request.data[:WORD_BITS]),
                write.en.eq(done & request.write & (request.address[0] == word)),
            ]
        m.d.sync += [
            answer.eq(Cat(done, answer[0], answer[0] & ~request.write)),
            self.o_ram_bucket.valid.eq(answer[1]),
            self.o_ram_bucket.p.data.eq(
                Mux(answer[2], Mux(request.address[0], self._tolerance, self._period), 0)
            ),
        ]

    def _dues(self, m: Module) -> None:
        """The state: read beside the settings, written when a token is taken."""
        self._write = self._ram(m, "due", [0] * self._depth, self._due)

    def _judge(self, m: Module) -> None:
        """Lead over now, then conformance, then the time that is due next."""
        lead = Signal(signed(SPAN))
        tolerance, period = Signal(WORD_BITS), Signal(WORD_BITS)
        now, due = self.now_us[:SPAN], Signal(SPAN)
        base = Signal(SPAN)
        token = Signal(WORD_BITS)
        index = [Signal(BUCKET_INDEX, name=f"index_{n}") for n in range(2)]
        limited = Signal()
        far = lead[WORD_BITS : SPAN - 1].any()
        m.d.sync += [
            # First clock behind the settings: how far the bucket is ahead of now.
            lead.eq(self._due - now),
            due.eq(self._due),
            tolerance.eq(self._tolerance),
            period.eq(self._period),
            index[0].eq(self._index),
            # Second: is that tolerable; and from where the next period counts.
            self.o_conforms.eq(
                (lead < 0) | (~far & (lead[:WORD_BITS] <= tolerance)) | (period == 0)
            ),
            base.eq(Mux(lead < 0, now, due)),
            token.eq(period),
            index[1].eq(index[0]),
            limited.eq(period != 0),
        ]
        # Third: kept for the one that takes its token.
        m.submodules.after = after = memory.Memory(shape=NEXT, depth=1 << LAG_BITS, init=[])
        write, read = after.write_port(), after.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(1),
            write.data.due.eq(base + token),
            write.data.index.eq(index[1]),
            write.data.limited.eq(limited),
            read.addr.eq(write.addr - 1 - self.lag),
            self._write.addr.eq(read.data.index),
            self._write.data.eq(read.data.due),
            self._write.en.eq(self.take & read.data.limited),
        ]
        m.d.sync += write.addr.eq(write.addr + 1)
