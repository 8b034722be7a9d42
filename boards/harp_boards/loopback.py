"""A board's ports looped back in their PHYs: frames through MAC, pins and delay cells, no cable.

A slot's frames leave by the network port and come back by it. To the host port they come as a plain
wire passes them on; they come back there too and go round, until the port is muted.

Ref: IEEE 802.3 §22.2.4.1 (loopback, forced speed); `harp.tables.registers.BOARD_PAGE`
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harp.offload.client import Client, DeviceFailed
from harp.offload.device import Settings, SlotSpec
from harp.offload.programs import control_words, install_slot
from harp.tables.registers import BY_NAME

BASIC_CONTROL = 0
LOOPBACK = 0x4140
"""Loopback, 1000 Mb/s, full duplex, no auto-negotiation."""
NEGOTIATE = 0x1340
"""Auto-negotiation on, and begun anew."""
MDIO_TRIES = 200
LAST_STEP = 127
LEAST_PERIOD_US = 100
"""Of a slot (offload.md §4)."""
STEP_PS = 25
LEAST_STEPS = 16
"""Margin in one direction that a port must have: 0.4 ns."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take: less where the board is simulated."""

    clock_us: int = 500_000
    """Of the comparison of clocks."""
    dwell_us: int = 20_000
    """At each step of a sweep."""
    stride: int = 4
    """Steps of a delay cell between two looks."""
    settle_us: int = 20_000
    """From a change of the PHYs until they do it."""


class NoPage(Exception):
    """The device has no board around its core."""


class LoopFailed(Exception):
    """The PHY does not do what it is told; one line."""


class Loopback:
    """The ports of one board. `phys`: bus and address of each port's PHY."""

    def __init__(self, client: Client, phys: tuple[tuple[int, int], ...], pace: Pace) -> None:
        self._client, self._phys, self._pace = client, phys, pace

    @property
    def period_us(self) -> int:
        """Of the slot: some frames within a dwell."""
        return max(LEAST_PERIOD_US, self._pace.dwell_us // 20)

    @contextmanager
    def looped(self, slot: SlotSpec) -> Iterator[None]:
        """While the slot sends its frames; the host port is muted. Raises NoPage, LoopFailed."""
        if not self._phys:
            raise NoPage
        try:
            self._client.read("port_test", 0)
        except DeviceFailed as error:
            if "refused" in str(error):
                raise NoPage from None
            raise
        try:
            for port, (bus, phy) in enumerate(self._phys):
                self._write(bus, phy, LOOPBACK)
                self.port(port, mute=port > 0)
            self._client.wait(self._pace.settle_us)
            self._client.run(install_slot(0, 0, slot, ()))
            yield
        finally:
            self._client.write_words(BY_NAME["slot"].offset, (0,))
            for port, (bus, phy) in enumerate(self._phys):
                self._client.write("port_test", port, mute=1)
                self._write(bus, phy, NEGOTIATE)
                self._client.write("port_test", port)
            self.pass_on(True)

    def port(self, number: int, *, steps: int = 0, mute: bool = False) -> None:
        """A looped port, its pins delayed by so many steps more."""
        self._client.write("port_test", number, rx_delay=steps, mute=mute, force=1)

    def pass_on(self, plain: bool) -> None:
        """Whether what comes back by the network port goes on to the host port."""
        settings = Settings(peers_complete=True)
        offset = BY_NAME["control"].offset
        self._client.write_words(offset, control_words(settings, not plain))

    def counted(self, number: int, steps: int) -> tuple[int, int]:
        """Frames that came in and bad ones of them at that delay, within the dwell time."""
        self.port(number, steps=steps, mute=True)
        self._client.wait(self._pace.dwell_us // 10)
        self.port(number, steps=steps)
        before = self._client.read("port", number)
        self._client.kick()
        self._client.wait(self._pace.dwell_us)
        after = self._client.read("port", number)
        grew = {name: after[name] - before[name] for name in after}
        bad = grew["rx_fcs_errors"] + grew["rx_errors"] + grew["rx_runts"]
        return grew["rx_frames"], bad

    def window(self, number: int) -> int:
        """Last step at which frames still come back whole, from 0 on; -1: not even there.

        The network port first: the host port's frames pass it, and it is muted behind its own."""
        self.pass_on(number == 1)
        if number == 1:
            self.port(0)
        last = -1
        for steps in range(0, LAST_STEP + 1, self._pace.stride):
            frames, bad = self.counted(number, steps)
            if bad or not frames:
                break
            last = steps
        self.port(number, mute=True)
        self._client.wait(self._pace.dwell_us // 10)
        return last

    def _write(self, bus: int, phy: int, value: int) -> None:
        """A PHY's basic control register."""
        self._client.write(
            "mdio", data=value, register=BASIC_CONTROL, phy=phy, bus=bus, write=1, go=1
        )
        for _ in range(MDIO_TRIES):
            if not self._client.read("mdio_answer")["busy"]:
                return
        raise LoopFailed("the management of the PHYs does not answer")
