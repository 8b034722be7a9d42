"""The stream rules of every component whose output may have to wait, whatever its inputs do.

A word that is offered stays as it is until it is taken: no `valid` drops, no payload changes.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from amaranth import Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from harp.tables.offload import PEERS
from harp_gateware.params import CoreParams
from harp_sim.proofs.harness import Harness
from harp_sim.proofs.sources import Edit

SENDER = (Edit("slot_sender", "ROWS = TEMPLATE_OCTETS // WORD_OCTETS", "ROWS = 2"),)


def rules(dut: wiring.Component[Any]) -> Harness:
    """All inputs are free but that streams into `dut` keep the rule too."""
    harness = Harness(dut)
    for path, member, value in dut.signature.flatten(dut):
        value = Value.cast(value)
        if member.flow is In and isinstance(value, Signal) and len(value):
            name = "__".join(map(str, path))
            harness.m.d.comb += value.eq(harness.free(value.shape(), f"in__{name}"))
    for name, member in dut.signature.members.items():
        if not isinstance(member.signature if member.is_signature else None, stream.Signature):
            continue
        port = getattr(dut, name)
        if member.signature.always_ready:
            continue
        if member.flow is In:
            harness.assume(harness.held(port))
        else:
            harness.claim(harness.held(port))
            harness.cover(harness.past(harness.past(port.valid & ~port.ready)) & port.ready)
    return harness


def buffer_rules(module: ModuleType) -> Harness:
    """The frame buffer, 16 words."""
    return rules(module.FrameBuffer(words=16, frames=64))


def arbiter_rules(module: ModuleType) -> Harness:
    """The arbiter as it is."""
    return rules(module.Arbiter())


def event_rules(module: ModuleType) -> Harness:
    """The events of a few ids."""
    return rules(module.Events(2))


def sender_rules(module: ModuleType) -> Harness:
    """The slot sender, templates of two rows."""
    return rules(module.SlotSender())


def bank_rules(module: ModuleType) -> Harness:
    """The register bank as it is built."""
    return rules(module.RegisterBank(CoreParams(peers=PEERS)))
