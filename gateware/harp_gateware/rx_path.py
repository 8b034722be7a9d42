"""The receive path: network → host, from words to one verdict a frame.

Ref: offload.md §1 (cut-through, 10 clocks a frame), §2 (verdicts), §3 (heartbeats)
"""

from amaranth import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.reasons import OFFLOAD_REASONS
from harp_gateware.layouts import (
    ADDRESS,
    EVENT,
    HELLO_COMMIT,
    HELLO_REQUEST,
    HELLO_RESPONSE,
    MH_WORD,
    PEER_REQUEST,
    PEER_RESPONSE,
    RAM_REQUEST,
    RAM_RESPONSE,
    TIME_US,
    VERDICT,
    WORD,
)
from harp_gateware.params import CoreParams

RAM_AREAS = ("mh_type", "bucket", "reason_frames", "outcome_frames")
"""Areas of the register map whose RAM lies here."""


def _stream(payload: data.Layout) -> stream.Signature:
    return stream.Signature(payload, always_ready=True)


class RxPath(wiring.Component):
    """Judges every frame from the network.

    `i` is words back to back or with gaps, without back-pressure; every frame has one `o_verdict`
    in order, at most one `o_early` before it. The other streams and their times are those of the
    table "What passes between the two owners" in `docs/gateware.md`. `control__*`, `action__*` and
    `local__address` are the bank's registers, `plain` says that nothing is enforced (no
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
                "o_peer": Out(_stream(PEER_REQUEST)),
                "i_peer": In(_stream(PEER_RESPONSE)),
                "o_hello": Out(_stream(HELLO_REQUEST)),
                "i_hello": In(_stream(HELLO_RESPONSE)),
                "o_hello_done": Out(_stream(HELLO_COMMIT)),
                "o_flood": Out(_stream(EVENT)),
                "plain": In(1),
                "now_us": In(TIME_US),
                "control__peers_complete": In(1),
                "control__demand_hop_limit": In(1, init=1),
                "control__harp_mh_type": In(8),
                "control__harp_types": In(32),
                "action__action": In(data.ArrayLayout(2, reasons)),
                "action__bucket": In(data.ArrayLayout(3, reasons)),
                "local__address": In(data.ArrayLayout(ADDRESS, params.local_addresses)),
                **{f"i_ram_{area}": In(_stream(RAM_REQUEST)) for area in RAM_AREAS},
                **{f"o_ram_{area}": Out(_stream(RAM_RESPONSE)) for area in RAM_AREAS},
            }
        )

    def elaborate(self, platform: object) -> Module:
        return Module()
