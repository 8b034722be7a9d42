"""The serial link of a board: UART and `OctetLink`.

Ref: offload.md §6
"""

from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from harp.tables.link import BAUD
from harp.tables.registers import BY_NAME
from harp_gateware.layouts import EVENT_PUSH, REGISTER_REQUEST, REGISTER_RESPONSE
from harp_gateware.link.octet_link import OctetLink
from harp_gateware.link.uart_receiver import UartReceiver
from harp_gateware.link.uart_sender import UartSender

UART = BY_NAME["uart"]


class SerialLink(wiring.Component):
    """Pins on one side, the core's `i_request`, `o_response`, `o_event` and `uart__*` on the other.

    Raises ValueError for a baud rate that the clock cannot make.
    """

    def __init__(self, clock_hz: int, baud: int = BAUD) -> None:
        self._clock_hz, self._baud = clock_hz, baud
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "o_request": Out(stream.Signature(REGISTER_REQUEST)),
                "i_response": In(stream.Signature(REGISTER_RESPONSE)),
                "i_event": In(stream.Signature(EVENT_PUSH)),
                **{f"uart__{field.name}": Out(field.width) for field in UART.fields},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self._clock_hz, self._baud)
        m.submodules.sender = sender = UartSender(self._clock_hz, self._baud)
        m.submodules.link = link = OctetLink()
        connect(m, receiver.o, link.i)
        connect(m, link.o, sender.i)
        connect(m, link.o_request, flipped(self.o_request))
        connect(m, flipped(self.i_response), link.i_response)
        connect(m, flipped(self.i_event), link.i_event)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(sender.tx),
            link.spoil.eq(receiver.error),
            self.uart__divisor.eq(round(self._clock_hz / self._baud)),
            self.uart__bad_frames.eq(link.bad_frames),
            self.uart__repeats.eq(link.repeats),
        ]
        return m
