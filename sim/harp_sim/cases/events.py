"""Events: held until acknowledged with their count, none lost, the most urgent first.

Ref: offload.md §5
"""

from typing import Any

import cocotb

from harp.tables.offload import EVENT_KINDS, EVENT_REPEAT_US, EVENT_STRIDE
from harp_sim.bench.device import Device, Push
from harp_sim.model.config import Port

LINK, RESET = (EVENT_KINDS.index(name) for name in ("link", "reset"))

SETTLE = 2000
"""Clocks in which an event goes its way to the link, or an acknowledgement is done."""


async def started(dut: Any) -> tuple[Device, list[Push]]:
    """A core after reset and the events that it pushes."""
    device, pushes = Device(dut), list[Push]()
    device.events = pushes.append
    await device.start()
    await device.clocks(SETTLE)
    return device, pushes


async def acknowledge(device: Device, push: Push, count: int) -> None:
    """As the host does, with this count."""
    await device.pulse("event_ack", id=push.kind * EVENT_STRIDE + push.index, count=count)
    await device.clocks(SETTLE)


async def flap(device: Device, port: Port) -> None:
    """The link goes and comes: two occurrences."""
    for up in (False, True):
        device.link(port, up)
        await device.clocks(SETTLE)


@cocotb.test()
async def acknowledged_by_count(dut: Any) -> None:
    """An older count clears nothing; the right one does; what follows counts anew."""
    device, pushes = await started(dut)
    (reset,) = pushes
    assert (reset.kind, reset.index, reset.count) == (RESET, 0, 1)
    await flap(device, Port.HOST)
    link = pushes[-1]
    shown = await device.read("event", LINK * EVENT_STRIDE + 1)
    assert (link.kind, link.index) == (LINK, 1)
    assert shown == {"first_us": link.first_us, "count": 2}
    await acknowledge(device, link, 1)
    assert (await device.read("event_pending", LINK))["indexes"] == 2
    await acknowledge(device, link, 2)
    assert (await device.read("event_pending", LINK))["indexes"] == 0
    await flap(device, Port.HOST)
    again = await device.read("event", LINK * EVENT_STRIDE + 1)
    assert again["count"] == 2
    assert again["first_us"] > link.first_us
    assert (await device.read("event_pending", RESET))["indexes"] == 1


@cocotb.test()
async def repeated_until_then(dut: Any) -> None:
    """A push that nobody acknowledges comes again after its time, and then no more."""
    device, pushes = await started(dut)
    (reset,) = pushes
    for times in (2, 3):
        await device.run_time(16, EVENT_REPEAT_US)
        await device.clocks(2 * SETTLE)
        assert pushes == [reset] * times
    await acknowledge(device, reset, reset.count)
    await device.run_time(16, 2 * EVENT_REPEAT_US)
    await device.clocks(2 * SETTLE)
    assert pushes == [reset] * 3
