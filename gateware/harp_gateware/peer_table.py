"""The peer table: whose HELLO is this.

Ref: offload.md §3 (key: source address, Group ID, VLAN or any; 32 peers), §1 (one match a frame)
"""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from harp.tables.offload import PEERS
from harp.tables.registers import BY_NAME
from harp_gateware.layouts import (
    ADDRESS,
    PEER_REQUEST,
    PEER_RESPONSE,
    RAM_REQUEST,
    RAM_RESPONSE,
)
from harp_gateware.priority import lowest
from harp_gateware.unit_ram import UnitRam

PARTS = 4
"""Parts of the address that are compared apart, a register between them and the rest."""
PEER = BY_NAME["peer"]
SECOND = data.StructLayout(
    {name: PEER.field(name).width for name in ("group", "vlan", "any_vlan", "mode")}
    | {"authenticate": 1, "_unused": 8, "enable": 1}
)
"""The word of a key behind its address."""


class PeerTable(wiring.Component):
    """Compares a request with every key at once; answers exactly 3 clocks later, one a clock.

    Keys are flops, written by the host through `i_ram_peer`; a RAM holds them for its reads. A
    disabled entry matches nothing. One that must be authenticated and is not `seen` is `known` but
    never hit: its HELLOs are for the host, as there is no HMAC in this build.
    `seen` has a bit a peer: mode `seen` (offload.md §3).
    """

    def __init__(self, peers: int = PEERS) -> None:
        self._peers = peers
        super().__init__(
            {
                "i": In(stream.Signature(PEER_REQUEST, always_ready=True)),
                "o": Out(stream.Signature(PEER_RESPONSE, always_ready=True)),
                "i_ram_peer": In(stream.Signature(RAM_REQUEST, always_ready=True)),
                "o_ram_peer": Out(stream.Signature(RAM_RESPONSE, always_ready=True)),
                "seen": Out(peers),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.copy = self._copy = UnitRam(PEER)
        connect(m, flipped(self.o_ram_peer), self._copy.o)
        connect(m, flipped(self.i_ram_peer), self._copy.i)
        keys = [self._key(m, index) for index in range(self._peers)]
        self._match(m, keys)
        return m

    def _key(self, m: Module, index: int) -> tuple[Value, data.View]:
        """Address and rest of an entry, copied as the host writes them."""
        address = Signal(ADDRESS, name=f"address_{index}")
        rest = Signal(SECOND, name=f"rest_{index}")
        here = self._copy.o_written & (self._copy.o_index == index)
        with m.If(here & (self._copy.o_word == 0)):
            m.d.sync += address.eq(self._copy.o_data)
        with m.If(here & (self._copy.o_word != 0)):
            m.d.sync += rest.eq(self._copy.o_data)
        m.d.comb += self.seen[index].eq(rest.mode)
        return address, rest

    def _match(self, m: Module, keys: list[tuple[Value, data.View]]) -> None:
        """First clock: parts; second: address and whole key; third: the lowest that matches."""
        request = self.i.p
        valid = Signal(2)
        known, hit = Signal(self._peers), Signal(self._peers)
        m.d.sync += Cat(valid, self.o.valid).eq(Cat(self.i.valid, valid))
        for index, (address, rest) in enumerate(keys):
            parts, group, vlan = Signal(PARTS), Signal(), Signal()
            width = ADDRESS // PARTS
            judged = rest.enable & (rest.mode | ~rest.authenticate)
            m.d.sync += [
                *(
                    parts[n].eq(
                        request.source.word_select(n, width) == address.word_select(n, width)
                    )
                    for n in range(PARTS)
                ),
                group.eq((request.group == rest.group) & judged),
                vlan.eq((request.vlan == rest.vlan) | rest.any_vlan),
                known[index].eq(parts.all() & rest.enable),
                hit[index].eq(parts.all() & group & vlan),
            ]
        m.d.sync += [
            self.o.p.hit.eq(hit.any()),
            self.o.p.index.eq(Mux(hit.any(), lowest(hit), 0)),
            self.o.p.known.eq(known.any()),
        ]
