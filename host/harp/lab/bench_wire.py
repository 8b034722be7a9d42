"""Benchmark of the codec: figures as ratios in one run, since machines differ and are noisy.

Peers: scapy's dissection of a Binding Update of the same size as the HELLO.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import IPv6Address

from harp.tables.harp_types import HarpFlag, HarpType
from harp.wire import messages as msg
from harp.wire.bulk import BindingRecord, BulkCodec, BulkReply
from harp.wire.codec import DEFAULT_CODEC

SOURCE, DESTINATION = IPv6Address("2001:db8:1::a").packed, IPv6Address("2001:db8:1::b").packed
BINDINGS = 100_000
ROUNDS = 5
MAX_OCTETS = 1_460
"""Of a Mobility Header at the path MTU of 1,500."""


def bench_wire() -> dict[str, float | int | None]:
    """Parse and build rates; None for the ratio where scapy is not installed."""
    hello = msg.Harp(
        HarpType.HELLO,
        7,
        1,
        flags=HarpFlag.A | HarpFlag.V | HarpFlag.S,
        preference=200,
        lifetime_s=3,
        interval_ms=1_000,
    )
    octets = DEFAULT_CODEC.build(SOURCE, DESTINATION, hello)
    parse_s = _seconds(lambda: DEFAULT_CODEC.parse(SOURCE, DESTINATION, octets), 50_000)
    build_s = _seconds(lambda: DEFAULT_CODEC.build(SOURCE, DESTINATION, hello), 50_000)
    scapy_s = _scapy_seconds(len(octets))
    encode_per_s, decode_per_s, messages = _bulk()
    return {
        "hello_octets": len(octets),
        "hello_parse_us": round(parse_s * 1e6, 3),
        "hello_build_us": round(build_s * 1e6, 3),
        "scapy_binding_update_dissect_us": scapy_s and round(scapy_s * 1e6, 1),
        "hello_parse_times_faster_than_scapy": scapy_s and round(scapy_s / parse_s, 1),
        "ss_rep_messages": messages,
        "ss_rep_encode_bindings_per_s": round(encode_per_s),
        "ss_rep_decode_bindings_per_s": round(decode_per_s),
    }


def _seconds(call: Callable[[], object], times: int) -> float:
    """Least processor time of one call over the rounds: what the code needs of one core, not what
    else the machine does."""
    rounds = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        for _ in range(times // ROUNDS):
            call()
        rounds.append((time.process_time() - begin) / (times // ROUNDS))
    return min(rounds)


def _scapy_seconds(octets: int) -> float | None:
    try:
        from scapy.layers.inet6 import MIP6MH_BU, MIP6OptAltCoA
    except ImportError:
        return None
    option = MIP6OptAltCoA(acoa="2001:db8::1")
    update = bytes(MIP6MH_BU(cksum=1, seq=1, mhtime=150, options=[option]))
    # Of like size: the same as the HELLO, or the next that a Binding Update can have.
    update = update if len(update) >= octets else update + bytes(octets - len(update))
    return _seconds(lambda: MIP6MH_BU(update), 2_000)


def _bulk() -> tuple[float, float, int]:
    """Bindings a second encoded and decoded in full-size SS-REPs, and how many messages."""
    bulk = BulkCodec(DEFAULT_CODEC)
    home, care_of = int(IPv6Address("2001:db8:1::")), int(IPv6Address("2001:db8:f::"))
    records = [
        BindingRecord(
            (home + n).to_bytes(16, "big"),
            (care_of + n).to_bytes(16, "big"),
            0xC000,
            n % 65_536,
            150,
        )
        for n in range(BINDINGS)
    ]
    head = msg.Harp(HarpType.SS_REP, 7, 1, flags=HarpFlag.R, options=(msg.SyncPosition(1, 1),))
    each = bulk.capacity(head, MAX_OCTETS)

    def encoded() -> list[bytes]:
        return [
            bulk.build(SOURCE, DESTINATION, head, bulk.pack(records[at : at + each]))
            for at in range(0, BINDINGS, each)
        ]

    messages = encoded()

    def decode() -> None:
        """Message by message, as a standby takes them: none is kept."""
        for octets in messages:
            _records(bulk, octets)

    if [record for octets in messages for record in _records(bulk, octets)] != records:
        raise AssertionError("what was decoded is not what was encoded")
    encode_s, decode_s = _seconds(encoded, ROUNDS), _seconds(decode, ROUNDS)
    return BINDINGS / encode_s, BINDINGS / decode_s, len(messages)


def _records(bulk: BulkCodec, octets: bytes) -> list[BindingRecord]:
    reply = bulk.parse(SOURCE, DESTINATION, octets)
    if not isinstance(reply, BulkReply):
        raise AssertionError(f"not a block: {reply}")
    return list(bulk.unpack(reply.block))
