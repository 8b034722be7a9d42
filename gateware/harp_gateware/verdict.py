"""From the facts of a frame to its reason, its outcome and its one verdict.

Ref: offload.md §2 (order of reasons, actions, buckets), §3 (HELLO, absorb)
"""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from harp.tables.offload import BUCKETS, FLOOD_PEERS_INDEX
from harp.tables.reasons import ACTIONS, OFFLOAD_REASONS, Action, Reason
from harp_gateware.buckets import Buckets
from harp_gateware.frame_counters import FrameCounters
from harp_gateware.layouts import (
    BUCKET_INDEX,
    EVENT,
    HELLO_COMMIT,
    HELLO_REQUEST,
    HELLO_RESPONSE,
    PEER_RESPONSE,
    RAM_REQUEST,
    RAM_RESPONSE,
    TIME_US,
    VERDICT,
    EventCode,
    FrameError,
    HelloVerdict,
    OutcomeCode,
    ReasonCode,
)
from harp_gateware.mh_check import MH_FACTS
from harp_gateware.params import CoreParams
from harp_gateware.release import WALK_END
from harp_gateware.walk import Found

FACTS_STAGE = 6
"""Clocks from a frame's last word at `align`'s output until all its facts are there."""
CUT_STAGE = 2
"""Until it is known that it is too short."""
LAST_STAGE = 11
"""The verdict leaves a clock later."""
IN_FLIGHT = 16
HELLO = "hello"
"""Stands for `heartbeat`, `heartbeat_news` and `replay` until the monitor has answered."""
REPLAY_LAG, NEWS_LAG, HEARTBEAT_LAG = range(3)
"""Clocks by which the bucket of each is looked up before that of the reason."""

FRAME_END = data.StructLayout(
    {"octets": VERDICT["octets"].shape, "error": FrameError, "bad": 1, "not_ipv6": 1}
)
"""With a frame's last word."""

ROW = data.StructLayout({"drop": 1, "limit": 1, "bucket": 3})
"""An action as it is used: neither = pass."""

JUDGED = data.StructLayout(
    {
        "bad": 1,
        "free": 1,  # leaves in any case: nothing enforced, or left early
        "reason": ReasonCode,
        "drop": 1,
        "ask": 1,
        "shared": 3,  # bucket asked
        "hello": 1,
    }
)
"""A frame on its way to its verdict."""


class Verdict(wiring.Component):
    """A pipeline of fixed length: the verdict leaves 12 clocks after the frame's last L3 word.

    Frames that are not bad come at least 7 clocks apart, bad ones at any rate: their facts are not
    looked at, so it does not matter that there is but one set.

    `i_end` is a frame's last word, `cut` 2 clocks later says that it is shorter than its Payload
    Length says (or than an IPv6 header). `walk`, `facts` and `peer` are read 6 clocks after
    `i_end`. `o_hello` leaves at 7; the answer is read until 11. `arrival_us` is the time at which
    the last good frame ended; it is taken at 6. The bucket of `heartbeat` is looked up at 5, of
    `heartbeat_news` at 6, of any other reason at 7, so that the answer only selects.
    """

    def __init__(self, params: CoreParams) -> None:
        self._params = params
        reasons = len(OFFLOAD_REASONS)
        areas = ("bucket", "reason_frames", "outcome_frames")
        super().__init__(
            {
                "i_end": In(stream.Signature(FRAME_END, always_ready=True)),
                "cut": In(1),
                "walk": In(WALK_END),
                "facts": In(MH_FACTS),
                "i_peer": In(stream.Signature(PEER_RESPONSE, always_ready=True)),
                "arrival_us": In(TIME_US),
                "o_hello": Out(stream.Signature(HELLO_REQUEST, always_ready=True)),
                "i_hello": In(stream.Signature(HELLO_RESPONSE, always_ready=True)),
                "o_hello_done": Out(stream.Signature(HELLO_COMMIT, always_ready=True)),
                "o_verdict": Out(stream.Signature(VERDICT, always_ready=True)),
                "o_flood": Out(stream.Signature(EVENT, always_ready=True)),
                "verdict_next": Out(1),
                "peers_complete": In(1),
                "action": In(data.ArrayLayout(2, reasons)),
                "bucket": In(data.ArrayLayout(3, reasons)),
                **{
                    f"i_ram_{a}": In(stream.Signature(RAM_REQUEST, always_ready=True))
                    for a in areas
                },
                **{
                    f"o_ram_{a}": Out(stream.Signature(RAM_RESPONSE, always_ready=True))
                    for a in areas
                },
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.buckets = self._buckets = Buckets(self._params.peers)
        m.submodules.counters = self._counters = FrameCounters()
        connect(m, flipped(self.i_ram_bucket), self._buckets.i_ram_bucket)
        connect(m, flipped(self.o_ram_bucket), self._buckets.o_ram_bucket)
        for area in ("reason_frames", "outcome_frames"):
            for port in (f"i_ram_{area}", f"o_ram_{area}"):
                connect(m, flipped(getattr(self, port)), getattr(self._counters, port))
        self._rows = {reason: self._row(m, reason) for reason in OFFLOAD_REASONS}
        self._follow(m)
        self._first_reason(m)
        self._ask_monitor(m)
        self._action(m)
        self._look_up(m)
        self._outcome(m)
        self._leave(m)
        return m

    def _row(self, m: Module, reason: Reason) -> data.View:
        """A reason's action, a clock behind the registers."""
        row = Signal(ROW, name=f"row_{reason}")
        index = OFFLOAD_REASONS.index(reason)
        drop = self.action[index] == ACTIONS.index(Action.DROP)
        limit = self.action[index] == ACTIONS.index(Action.LIMIT)
        always = {Reason.BAD_FRAME: Const(1), Reason.NOT_A_PEER: self.peers_complete}
        m.d.sync += [
            row.drop.eq(drop | always.get(reason, 0)),
            row.limit.eq(limit & ~Value.cast(always.get(reason, 0))),
            row.bucket.eq(self.bucket[index]),
        ]
        return row

    def _follow(self, m: Module) -> None:
        """Frames that have ended, a bit a clock; `self._stage[n]`: n clocks ago."""
        self._stage: list[Value] = [self.i_end.valid]
        self._bad: list[Value] = [self.i_end.p.bad]
        other, cut = [self.i_end.p.not_ipv6], [self.cut]
        for n in range(1, LAST_STAGE + 1):
            for line, name in ((self._stage, "stage"), (self._bad, "bad"), (other, "not_ipv6")):
                line.append(Signal(name=f"{name}_{n}"))
                m.d.sync += line[n].eq(line[n - 1])
        for n in range(1, FACTS_STAGE - CUT_STAGE + 1):
            cut.append(Signal(name=f"cut_{n}"))
            m.d.sync += cut[n].eq(cut[n - 1])
        self._not_ipv6, self._cut = other[FACTS_STAGE], cut[FACTS_STAGE - CUT_STAGE]
        m.d.comb += self.verdict_next.eq(self._stage[LAST_STAGE])

    def _first_reason(self, m: Module) -> None:
        """Stage 6: the first that applies, in the order of offload.md §2; one bit each."""
        facts, found = self.facts, self.walk.found
        peer = self._peer = Signal(PEER_RESPONSE)
        with m.If(self.i_peer.valid):
            m.d.sync += peer.eq(self.i_peer.p)
        at_mh = (found == Found.MOBILITY) | (found == Found.TRUNCATED)
        before_peer: list[tuple[Reason, Value]] = [
            (Reason.BAD_FRAME, self._bad[FACTS_STAGE]),
            (Reason.NOT_IPV6, self._not_ipv6),
            (Reason.BAD_IPV6, self._cut | (found == Found.BAD_VERSION)),
            (Reason.CHAIN_TOO_LONG, found == Found.CHAIN_TOO_LONG),
            (Reason.BAD_CHAIN, found == Found.BAD_CHAIN),
            (Reason.FRAGMENTED, found == Found.FRAGMENTED),
            (Reason.NOT_MOBILITY, (found == Found.NOT_MOBILITY) | (at_mh & facts.transit)),
            (Reason.TRUNCATED, found == Found.TRUNCATED),
            (Reason.BAD_LENGTH, facts.long),
            (Reason.UNCHECKED, facts.unchecked),
            (Reason.BAD_CHECKSUM, facts.bad_checksum),
            (Reason.UNKNOWN_TYPE, facts.unknown_type),
            (Reason.BAD_PAYLOAD_PROTO, facts.bad_proto),
            (Reason.BAD_LENGTH, facts.short),
            (Reason.TYPE_BLOCKED, facts.blocked),
            (Reason.UNKNOWN_HARP_TYPE, facts.harp & facts.unknown_harp_type),
            (Reason.BAD_SEQUENCE, facts.harp & facts.no_sequence),
            (Reason.BAD_HOP_LIMIT, facts.harp & facts.bad_hop_limit),
            (Reason.NOT_A_PEER, facts.harp & ~peer.known),
        ]
        applies = Cat(condition for _, condition in before_peer)
        heard = facts.harp & facts.hello & peer.hit
        self._first: dict[str, Value] = {}
        earlier: Value = Const(0)
        for n, (reason, condition) in enumerate(before_peer):
            first = Signal(name=f"first_{n}")
            m.d.sync += first.eq(condition & ~earlier)
            earlier = applies[: n + 1].any()
            self._first[reason] = self._first.get(reason, 0) | first
        hello, other, self._asks = Signal(), Signal(), Signal()
        m.d.sync += [
            hello.eq(~applies.any() & heard),
            other.eq(~applies.any() & ~heard),
            self._asks.eq(~applies.any() & heard & self._stage[FACTS_STAGE]),
        ]
        self._first[HELLO], self._first[Reason.MOBILITY] = hello, other

    def _ask_monitor(self, m: Module) -> None:
        """Stage 7: a HELLO that is good but for what the monitor knows."""
        request, facts = self.o_hello, self.facts
        m.d.comb += request.valid.eq(self._asks)
        m.d.sync += [
            request.p.peer.eq(self._peer.index),
            request.p.multicast.eq(facts.multicast),
            request.p.sequence.eq(facts.sequence),
            request.p.reply.eq(facts.reply),
            request.p.lifetime_zero.eq(facts.lifetime_zero),
        ]

    def _action(self, m: Module) -> None:
        """Stage 7: the row of the one reason."""
        rows: dict[str, Value] = dict(self._rows)
        mobility, typed = self._rows[Reason.MOBILITY], Signal(ROW)
        limited = Signal()
        free = Signal()
        m.d.comb += limited.eq(self.facts.limited & ~mobility.drop)
        m.d.sync += [
            free.eq(self.walk.plain | self.walk.open),
            typed.drop.eq(mobility.drop),
            typed.limit.eq(mobility.limit | limited),
            typed.bucket.eq(Mux(limited, self.facts.bucket, mobility.bucket)),
        ]
        rows[Reason.MOBILITY], rows[HELLO] = typed, rows[Reason.REPLAY]
        row = Signal(ROW)
        code = Signal(ReasonCode)
        m.d.comb += row.eq(self._select({name: rows[name] for name in self._first}))
        m.d.comb += code.eq(
            self._select({name: Const(_code(name).value, ReasonCode) for name in self._first})
        )
        self._judged = [Signal(JUDGED, name=f"judged_{n}") for n in range(8, LAST_STAGE + 1)]
        first = self._judged[0]
        self._free = free
        m.d.sync += [
            first.bad.eq(self._bad[FACTS_STAGE + 1]),
            first.free.eq(free & ~self._bad[FACTS_STAGE + 1]),
            first.reason.eq(code),
            first.drop.eq(row.drop),
            first.ask.eq(row.limit),
            first.shared.eq(row.bucket),
            first.hello.eq(self._first[HELLO]),
            *(self._judged[n].eq(self._judged[n - 1]) for n in range(1, len(self._judged))),
        ]
        self._shared = row.bucket

    def _select(self, values: dict[str, Value]) -> Value:
        """The value of the reason that is the first."""
        result: Value = Const(0)
        for name, value in values.items():
            value = Value.cast(value)
            result = result | (value & self._first[name].replicate(len(value)))
        return result

    def _look_up(self, m: Module) -> None:
        """Stages 5, 6 and 7: the bucket of `heartbeat`, of the peer, of the reason."""
        buckets, stage, bad = self._buckets, self._stage, self._bad
        now = Signal(TIME_US)
        busy = [stage[n] & ~bad[n] for n in (5, 6, 7)]
        with m.If(busy[1]):
            m.d.sync += now.eq(self.arrival_us)
        m.d.comb += [
            buckets.now_us.eq(now),
            buckets.busy.eq(Cat(busy).any()),
            buckets.index.eq(
                Mux(
                    busy[2],
                    self._shared,
                    Mux(
                        busy[1],
                        BUCKETS + self._peer.index,
                        self._rows[Reason.HEARTBEAT].bucket,
                    ),
                )
            ),
        ]

    def _outcome(self, m: Module) -> None:
        """Stage 11: the buckets have answered, the monitor too; one of four ends is the frame's."""
        frame = self._judged[-1]
        conforms = [self._buckets.o_conforms, Signal(), Signal()]
        m.d.sync += [conforms[n].eq(conforms[n - 1]) for n in (1, 2)]
        held, answer = Signal(HelloVerdict), Signal(HelloVerdict)
        m.d.comb += answer.eq(Mux(self.i_hello.valid, self.i_hello.p.verdict, held))
        m.d.sync += held.eq(answer)
        heartbeat = self._rows[Reason.HEARTBEAT]
        absorbs = Signal()
        m.d.sync += absorbs.eq(
            self.action[OFFLOAD_REASONS.index(Reason.HEARTBEAT)] == ACTIONS.index(Action.ABSORB)
        )
        news = self._rows[Reason.HEARTBEAT_NEWS]
        self._reason, self._out = Signal(ReasonCode), Signal(OutcomeCode)
        self._ask, self._lag = Signal(), Signal(range(3))
        self._index = Signal(BUCKET_INDEX)
        drop, absorb, conform = Signal(), Signal(), Signal()
        m.d.comb += [
            self._reason.eq(frame.reason),
            drop.eq(frame.drop),
            self._ask.eq(frame.ask),
            self._index.eq(frame.shared),
            conform.eq(conforms[REPLAY_LAG]),
            self._lag.eq(REPLAY_LAG),
        ]
        is_news = frame.hello & (answer == HelloVerdict.NEWS)
        is_heartbeat = frame.hello & (
            (answer == HelloVerdict.HEARTBEAT) | (answer == HelloVerdict.HEARTBEAT_PASS)
        )
        self._counted = is_heartbeat & absorbs & ~frame.free
        with m.If(is_news):
            m.d.comb += [
                self._reason.eq(_code(Reason.HEARTBEAT_NEWS)),
                drop.eq(news.drop),
                self._ask.eq(~news.drop),
                self._index.eq(BUCKETS),
                conform.eq(conforms[NEWS_LAG]),
                self._lag.eq(NEWS_LAG),
            ]
        with m.If(is_heartbeat):
            m.d.comb += [
                self._reason.eq(_code(Reason.HEARTBEAT)),
                drop.eq(heartbeat.drop),
                absorb.eq(absorbs & (answer == HelloVerdict.HEARTBEAT)),
                self._ask.eq(heartbeat.limit),
                self._index.eq(heartbeat.bucket),
                conform.eq(conforms[HEARTBEAT_LAG]),
                self._lag.eq(HEARTBEAT_LAG),
            ]
        self._drowned = Signal()
        with m.If(frame.bad | (drop & ~frame.free)):
            m.d.comb += self._out.eq(_OUTCOME["drop"])
        with m.Elif(frame.free):
            m.d.comb += self._out.eq(_OUTCOME["pass"])
        with m.Elif(self._ask):
            m.d.comb += [
                self._out.eq(Mux(conform, _OUTCOME["limited_pass"], _OUTCOME["limited_drop"])),
                self._drowned.eq(~conform),
            ]
        with m.Else():
            m.d.comb += self._out.eq(Mux(absorb, _OUTCOME["absorb"], _OUTCOME["pass"]))

    def _leave(self, m: Module) -> None:
        """Stage 12: the verdict, the counters, the token, the end of the HELLO, the event."""
        frame, here = self._judged[-1], self._stage[LAST_STAGE]
        stored = data.StructLayout({"octets": VERDICT["octets"].shape, "error": FrameError})
        m.submodules.ends = ends = memory.Memory(shape=stored, depth=IN_FLIGHT, init=[])
        write, read = ends.write_port(), ends.read_port(domain="comb")
        out = self.o_verdict
        goes = (self._out == _OUTCOME["pass"]) | (self._out == _OUTCOME["limited_pass"])
        m.d.comb += [
            write.en.eq(self.i_end.valid),
            write.data.octets.eq(self.i_end.p.octets),
            write.data.error.eq(self.i_end.p.error),
            self._counters.i.valid.eq(out.valid),
            self._counters.i.p.reason.eq(out.p.reason),
            self._counters.i.p.outcome.eq(out.p.outcome),
            self._counters.i.p.bad.eq(out.p.reason == _code(Reason.BAD_FRAME)),
        ]
        m.d.sync += [
            write.addr.eq(write.addr + self.i_end.valid),
            read.addr.eq(read.addr + here),
            out.valid.eq(here),
            out.p.reason.eq(self._reason),
            out.p.outcome.eq(self._out),
            out.p.forward.eq(goes),
            out.p.octets.eq(read.data.octets),
            out.p.error.eq(read.data.error),
            self._buckets.take.eq(here & (self._out == _OUTCOME["limited_pass"])),
            self._buckets.lag.eq(self._lag),
            self.o_hello_done.valid.eq(here & frame.hello),
            self.o_hello_done.p.store.eq(goes | (self._out == _OUTCOME["absorb"])),
            self.o_hello_done.p.absorbed.eq(self._out == _OUTCOME["absorb"]),
            self.o_hello_done.p.counted.eq(self._counted),
            self.o_flood.valid.eq(here & self._drowned),
            self.o_flood.p.kind.eq(EventCode.FLOOD),
            self.o_flood.p.index.eq(self._index),
        ]


_OUTCOME = {name.lower(): code for name, code in OutcomeCode.__members__.items()}


def _code(name: str) -> ReasonCode:
    """A reason's code; of a HELLO it stays if the monitor says `replay`."""
    return ReasonCode[(Reason.REPLAY if name == HELLO else Reason(name)).name]


assert FLOOD_PEERS_INDEX == BUCKETS
