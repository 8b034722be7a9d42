"""A board in plain Python with PHYs that loop back, and what can be wrong with their pins."""

from __future__ import annotations

from collections.abc import Mapping

from harp.tables.registers import BOARD_PAGE, REGISTERS
from harp_sim.device.board import Board, BoardRegisters, Departure
from harp_sim.model.config import Port

PORTS = (Port.NETWORK, Port.HOST)
PHYS = ((0, 0), (0, 1))
"""Bus and address of each port's."""
BASIC_CONTROL, LOOPBACK_BIT = 0, 1 << 14
LAPS = 5
"""Frames of one turn that go round: enough to be counted, few enough to end."""


class PhyRegisters(BoardRegisters):
    """The board's page too; a PHY holds what is written to it."""

    declared = (*REGISTERS, *BOARD_PAGE)
    deaf = False
    """The management never ends."""

    def __init__(self, peers: int, map_version: int) -> None:
        super().__init__(peers, map_version)
        self.phys: dict[int, dict[int, int]] = {phy: {} for _, phy in PHYS}
        self._answer = 0

    def _commit_mdio(self, index: int, fields: Mapping[str, int]) -> None:
        registers = self.phys.get(fields["phy"], {})
        if fields["go"]:
            if fields["write"]:
                registers[fields["register"]] = fields["data"]
            self._answer = registers.get(fields["register"], 0xFFFF)

    def _sample_mdio_answer(self, index: int, field: str) -> int:
        return self.deaf if field == "busy" else self._answer

    def test(self, port: int, field: str) -> int:
        """Of register `port_test`."""
        return self.held["port_test", port, field]


class LoopedBoard(Board):
    """Frames that leave by a looped port come in by it again, if the pins are read in the eye."""

    registers_of = PhyRegisters
    registers: PhyRegisters

    def __init__(self) -> None:
        super().__init__()
        self.eyes = [(0, 60), (0, 60)]
        """First and last delay at which a port's frames are whole."""
        self.dead: set[int] = set()
        """Ports whose PHY loops nothing back."""

    def loop(self, frames: list[Departure], now: int) -> list[Departure]:
        """Some of these frames on their way back; the others go out by the cable."""
        out = []
        for number, frame in enumerate(frames):
            port = PORTS.index(frame.port)
            if not self.registers.phys[PHYS[port][1]].get(BASIC_CONTROL, 0) & LOOPBACK_BIT:
                out.append(frame)
            elif number < LAPS and port not in self.dead and not self.registers.test(port, "mute"):
                first, last = self.eyes[port]
                whole = first <= self.registers.test(port, "rx_delay") <= last
                self.frame(frame.port, frame.octets, now, whole)
        return out
