"""The page of the register map that belongs to the board, not to the core: tests of its ports.

Ref: `harp.tables.registers.BOARD_PAGE`; offload.md §6
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.registers import BOARD_PAGE, PAGE_WORDS
from harp_gateware.layouts import REGISTER_REQUEST, REGISTER_RESPONSE
from harp_gateware.mac.mdio import MDIO_REQUEST
from harp_gateware.mac.pin_delay import PinDelay
from harp_gateware.params import CoreParams
from harp_gateware.register_bank import RegisterBank

PAGE_BITS = PAGE_WORDS.bit_length() - 1


class BoardPage(wiring.Component):
    """Stands between the serial link and the core: accesses of its own page stay here.

    One access at a time, as the link does them. `mute[n]`, `force[n]`, `load_n[n]` and `move[n]`
    are for port n; `o_mdio` asks the manager of bus `o_bus` and holds until `answered`.
    """

    def __init__(self, params: CoreParams) -> None:
        self._params = params
        request, response = stream.Signature(REGISTER_REQUEST), stream.Signature(REGISTER_RESPONSE)
        super().__init__(
            {
                "i_request": In(request),
                "o_response": Out(response),
                "o_core": Out(request),
                "i_core": In(response),
                "mute": Out(params.ports),
                "force": Out(params.ports),
                "load_n": Out(params.ports, init=-1),
                "move": Out(params.ports),
                "o_mdio": Out(MDIO_REQUEST),
                "o_bus": Out(1),
                "o_asked": Out(1),
                "answered": In(1),
                "answer": In(16),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bank = bank = RegisterBank(self._params, BOARD_PAGE)
        self._route(m, bank)
        for n in range(self._params.ports):
            m.submodules[f"delay_{n}"] = delay = PinDelay()
            m.d.comb += [
                delay.steps.eq(bank.port_test__rx_delay[n]),
                self.load_n[n].eq(delay.load_n),
                self.move[n].eq(delay.move),
                self.mute[n].eq(bank.port_test__mute[n]),
                self.force[n].eq(bank.port_test__force[n]),
            ]
        m.d.comb += [
            self.o_mdio.phy.eq(bank.mdio__phy),
            self.o_mdio.register.eq(bank.mdio__register),
            self.o_mdio.write.eq(bank.mdio__write),
            self.o_mdio.data.eq(bank.mdio__data),
            self.o_bus.eq(bank.mdio__bus),
            bank.mdio_answer__data.eq(self.answer),
            bank.mdio_answer__busy.eq(self.o_asked),
        ]
        with m.If(self.answered):
            m.d.sync += self.o_asked.eq(0)
        with m.Elif(bank.mdio__go):
            m.d.sync += self.o_asked.eq(1)
        return m

    def _route(self, m: Module, bank: RegisterBank) -> None:
        """By the page of the address; answers are those of whoever was asked."""
        page = BOARD_PAGE[0].offset >> PAGE_BITS
        own = Signal()
        request = self.i_request
        m.d.comb += [
            own.eq(request.p.address[PAGE_BITS:] == page),
            self.o_core.payload.eq(request.payload),
            bank.i_request.payload.eq(request.payload),
            self.o_core.valid.eq(request.valid & ~own),
            bank.i_request.valid.eq(request.valid & own),
            request.ready.eq(Mux(own, bank.i_request.ready, self.o_core.ready)),
            self.o_response.valid.eq(self.i_core.valid | bank.o_response.valid),
            self.o_response.payload.eq(
                Mux(bank.o_response.valid, bank.o_response.payload, self.i_core.payload)
            ),
            self.i_core.ready.eq(self.o_response.ready),
            bank.o_response.ready.eq(self.o_response.ready),
        ]
