"""The receive path: network → host, from words to one verdict a frame.

Ref: offload.md §1 (cut-through, 10 clocks a frame), §2 (verdicts), §3 (heartbeats)
"""

from amaranth import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from harp.tables.reasons import OFFLOAD_REASONS
from harp_gateware import mh_check
from harp_gateware.align import Align
from harp_gateware.digit_tables import KEY_WORD, key_rows
from harp_gateware.layouts import (
    EVENT,
    HELLO_COMMIT,
    HELLO_REQUEST,
    HELLO_RESPONSE,
    L3_WORD,
    MH_WORD,
    PEER_RESPONSE,
    RAM_REQUEST,
    RAM_RESPONSE,
    TIME_US,
    VERDICT,
    VLAN,
    WORD,
)
from harp_gateware.length import Length
from harp_gateware.local_table import LOCAL
from harp_gateware.mh_check import MhCheck
from harp_gateware.params import CoreParams
from harp_gateware.release import Release
from harp_gateware.verdict import Verdict
from harp_gateware.walk import Walk

RAM_AREAS = ("mh_type", "bucket", "reason_frames", "outcome_frames")
"""Areas of the register map whose RAM lies here."""


def _stream(payload: data.Layout) -> stream.Signature:
    return stream.Signature(payload, always_ready=True)


class RxPath(wiring.Component):
    """Judges every frame from the network.

    `i` is words back to back or with gaps, without back-pressure; every frame has one `o_verdict`
    in order, at most one `o_early` before it. The other streams and their times are those of the
    table "What passes between the two owners" in `docs/gateware.md`. `control__*` and `action__*`
    are the bank's registers, `plain` says that nothing is enforced (no
    `filter_enable`, or no lease); they are sampled once a frame.
    """

    def __init__(self, params: CoreParams) -> None:
        self._params = params
        reasons = len(OFFLOAD_REASONS)
        super().__init__(
            {
                "i": In(_stream(WORD)),
                "o_early": Out(_stream(data.StructLayout({}))),
                "o_verdict": Out(_stream(VERDICT)),
                "o_mh": Out(_stream(MH_WORD)),
                "o_words": Out(_stream(L3_WORD)),
                "o_vlan": Out(VLAN["id"].shape),
                "o_peer": Out(_stream(data.StructLayout({}))),
                "i_peer": In(_stream(PEER_RESPONSE)),
                "o_hello": Out(_stream(HELLO_REQUEST)),
                "i_hello": In(_stream(HELLO_RESPONSE)),
                "o_hello_done": Out(_stream(HELLO_COMMIT)),
                "o_flood": Out(_stream(EVENT)),
                "local_rows": In(key_rows(LOCAL.count)),
                "local_word": In(KEY_WORD),
                "plain": In(1),
                "now_us": In(TIME_US),
                "arrival_us": Out(TIME_US),
                "control__peers_complete": In(1),
                "control__demand_hop_limit": In(1, init=1),
                "control__harp_mh_type": In(8),
                "control__harp_types": In(32),
                "action__action": In(data.ArrayLayout(2, reasons)),
                "action__bucket": In(data.ArrayLayout(3, reasons)),
                **{f"i_ram_{area}": In(_stream(RAM_REQUEST)) for area in RAM_AREAS},
                **{f"o_ram_{area}": Out(_stream(RAM_RESPONSE)) for area in RAM_AREAS},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.align = self._align = Align()
        m.submodules.walk = self._walk = Walk()
        m.submodules.length = self._length = Length()
        m.submodules.mh_check = self._mh_check = MhCheck()
        m.submodules.release = self._release = Release()
        m.submodules.verdict = self._verdict = Verdict(self._params)
        connect(m, flipped(self.i), self._align.i)
        self._words(m)
        self._streams(m)
        self._settings(m)
        self._ends(m)
        return m

    def _words(self, m: Module) -> None:
        """The L3 words go to all who look at them."""
        align, check = self._align, self._mh_check
        for sink in (self._walk.i, self._length.i, check.i):
            m.d.comb += [sink.valid.eq(align.o.valid), sink.payload.eq(align.o.payload)]
        connect(m, self._walk.o, check.walked)
        connect(m, flipped(self.local_rows), check.local_rows)
        connect(m, flipped(self.local_word), check.local_word)
        connect(m, self._walk.o_found, self._release.i_found)
        m.d.comb += [
            self.o_words.valid.eq(align.o.valid),
            self.o_words.payload.eq(align.o.payload),
            self.o_vlan.eq(align.meta.vlan.id),
            check.coming.eq(align.coming),
            self._length.meta.eq(align.meta),
        ]

    def _streams(self, m: Module) -> None:
        """What comes and goes as it is."""
        for name in ("o_mh", "o_peer"):
            connect(m, flipped(getattr(self, name)), getattr(self._mh_check, name))
        for name in ("i_peer", "o_hello", "i_hello", "o_hello_done", "o_verdict", "o_flood"):
            connect(m, flipped(getattr(self, name)), getattr(self._verdict, name))
        connect(m, flipped(self.o_early), self._release.o_early)
        for area in RAM_AREAS:
            owner = self._mh_check if area in mh_check.RAM_AREAS else self._verdict
            for name in (f"i_ram_{area}", f"o_ram_{area}"):
                connect(m, flipped(getattr(self, name)), getattr(owner, name))

    def _settings(self, m: Module) -> None:
        check, verdict = self._mh_check, self._verdict
        m.d.comb += [
            check.demand_hop_limit.eq(self.control__demand_hop_limit),
            check.harp_mh_type.eq(self.control__harp_mh_type),
            check.harp_types.eq(self.control__harp_types),
            verdict.peers_complete.eq(self.control__peers_complete),
            verdict.action.eq(self.action__action),
            verdict.bucket.eq(self.action__bucket),
            self._release.action.eq(self.action__action),
            self._release.plain.eq(self.plain),
        ]

    def _ends(self, m: Module) -> None:
        """Where frames begin and end, when, and what is known of them."""
        align, release, verdict = self._align, self._release, self._verdict
        ends = align.o.valid & align.o.p.last
        with m.If(align.o_good):
            m.d.sync += verdict.arrival_us.eq(self.now_us)
        m.d.comb += [
            release.i_first.eq(align.o.valid & align.o.p.first),
            release.i_not_ipv6.eq(align.meta.not_ipv6),
            release.i_bad.eq(ends & align.meta.bad),
            release.verdict_next.eq(verdict.verdict_next),
            release.verdict.eq(verdict.o_verdict.valid),
            self.arrival_us.eq(verdict.arrival_us),
            verdict.walk.eq(release.o_end),
            verdict.facts.eq(self._mh_check.facts),
            verdict.cut.eq(self._length.cut),
            verdict.i_end.valid.eq(ends),
            verdict.i_end.p.octets.eq(align.meta.octets),
            verdict.i_end.p.error.eq(align.meta.error),
            verdict.i_end.p.bad.eq(align.meta.bad),
            verdict.i_end.p.not_ipv6.eq(align.meta.not_ipv6),
        ]
