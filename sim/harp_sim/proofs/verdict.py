"""Verdicts stay with their frames: verdict n carries what was said of frame n, 12 clocks later.

Ref: `docs/gateware.md` (exactly one verdict a frame, in order, 12 clocks behind its last word)
"""

from __future__ import annotations

from types import ModuleType

from amaranth import Signal, Value

from harp_gateware.params import CoreParams
from harp_sim.proofs.harness import Harness, implies

CLOCKS = 12
TAG = 4
"""Bits of a frame's length that are free: a tag that its verdict must bring back."""


def verdict(module: ModuleType) -> Harness:
    """Frames end at any rate, one a clock at most; whatever the facts, actions and answers are."""
    dut = module.Verdict(CoreParams(peers=1))
    harness = Harness(dut)
    m = harness.m
    ends, tag, bad = harness.free(1, "ends"), harness.free(TAG, "tag"), harness.free(1, "bad")
    error = harness.free(2, "error")
    m.d.comb += [
        dut.i_end.valid.eq(ends),
        dut.i_end.p.octets.eq(tag),
        dut.i_end.p.error.eq(error),
        dut.i_end.p.bad.eq(bad),
        dut.i_end.p.not_ipv6.eq(harness.free(1, "not_ipv6")),
        dut.cut.eq(harness.free(1, "cut")),
        dut.walk.eq(harness.free(len(dut.walk.as_value()), "walk")),
        dut.facts.eq(harness.free(len(dut.facts.as_value()), "facts")),
        dut.i_peer.valid.eq(harness.free(1, "peer_valid")),
        dut.i_peer.p.eq(harness.free(len(dut.i_peer.p.as_value()), "peer")),
        dut.i_hello.valid.eq(harness.free(1, "hello_valid")),
        dut.i_hello.p.eq(harness.free(2, "hello")),
        dut.action.eq(harness.free(len(dut.action.as_value()), "action")),
        dut.peers_complete.eq(harness.free(1, "peers_complete")),
    ]
    # Frames that are not bad are 7 clocks apart (64 octets).
    good = ends & ~bad
    since = Signal(3, init=7)
    m.d.sync += since.eq(since + (since != 7))
    with m.If(good):
        m.d.sync += since.eq(1)
    harness.assume(implies(good, since == 7))
    ended, tags, errors, bads = ends, tag, error, bad
    for _ in range(CLOCKS):
        ended, tags = harness.past(ended), harness.past(tags)
        errors, bads = harness.past(errors), harness.past(bads)
    out = dut.o_verdict
    outcome, reason = module.OutcomeCode, module.ReasonCode
    passes = (out.p.outcome == outcome.PASS) | (out.p.outcome == outcome.LIMITED_PASS)
    harness.claim(out.valid == ended)
    harness.claim(dut.verdict_next == harness_next(harness, ends))
    harness.claim(implies(out.valid, (out.p.octets == tags) & (Value.cast(out.p.error) == errors)))
    harness.claim(implies(out.valid, out.p.forward == passes))
    harness.claim(implies(out.valid, (out.p.reason == reason.BAD_FRAME) == bads))
    harness.claim(implies(out.valid & bads, out.p.outcome == outcome.DROP))
    harness.cover(out.valid & harness.past(out.valid) & (out.p.octets == 9))
    harness.cover(out.valid & (out.p.reason == reason.HEARTBEAT))
    harness.cover(out.valid & (out.p.outcome == outcome.LIMITED_PASS))
    harness.cover(out.valid & (out.p.outcome == outcome.ABSORB))
    return harness


def harness_next(harness: Harness, ends: Signal) -> Signal:
    """`verdict_next` is a clock before the verdict."""
    for _ in range(CLOCKS - 1):
        ends = harness.past(ends)
    return ends
