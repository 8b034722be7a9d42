"""A part whose keys the host writes, with the writer beside it."""

from typing import Any

from amaranth import Elaboratable, Module
from amaranth.lib.wiring import connect

from harp_gateware.key_writer import KeyWriter


class WithKeys(Elaboratable):
    """`part` and its writer; `joined` says which ports of the two belong together."""

    def __init__(self, part: Any, joined: dict[str, str]) -> None:
        self.part, self.keys = part, KeyWriter()
        self._joined = joined

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.part, m.submodules.keys = self.part, self.keys
        for ours, theirs in self._joined.items():
            connect(m, getattr(self.keys, ours), getattr(self.part, theirs))
        return m
