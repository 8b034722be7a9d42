"""The peer table: whose HELLO is this.

Ref: offload.md §3 (key: source address, Group ID, VLAN or any; 32 peers), §1 (one match a frame)
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from harp.tables.offload import PEERS
from harp.tables.register_schema import WORD_BITS
from harp.tables.registers import BY_NAME
from harp_gateware.key_cam import DIGIT, KeyCam
from harp_gateware.layouts import (
    ADDRESS,
    PEER_REQUEST,
    PEER_RESPONSE,
    RAM_REQUEST,
    RAM_RESPONSE,
)
from harp_gateware.priority import lowest

PEER = BY_NAME["peer"]
SECOND = PEER.field("group").at // WORD_BITS
"""The word of a key behind its address."""
KEY = ("address", "group", "vlan")
"""Fields that are compared: the register's first, laid out as a request is."""
FLAGS = data.StructLayout({"any_vlan": 1, "mode": 1, "authenticate": 1, "enable": 1})
DIGITS_A_PART = 8
"""Digits of the address between which there is no register."""


def _digits(name: str) -> slice:
    """Where a field's digits lie in the key."""
    field = PEER.field(name)
    return slice(field.at // DIGIT, (field.at + field.width) // DIGIT)


class PeerTable(wiring.Component):
    """Compares a request with every key at once; answers exactly 3 clocks later, one a clock.

    Keys are written by the host through `i_ram_peer` and lie in a `KeyCam`; what is one bit is a
    flop. A write is answered within 100 clocks. A disabled entry matches nothing. One that must be
    authenticated and is not `seen` is `known` but never hit: its HELLOs are for the host, as there
    is no HMAC in this build. `seen` has a bit a peer: mode `seen` (offload.md §3).
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
        m.submodules.keys = self._keys = KeyCam(PEER, PEER_REQUEST.size)
        connect(m, flipped(self.o_ram_peer), self._keys.o)
        connect(m, flipped(self.i_ram_peer), self._keys.i)
        m.d.comb += self._keys.probe.eq(self.i.p)
        flags = [self._flags(m, index) for index in range(self._peers)]
        self._match(m, flags)
        return m

    def _flags(self, m: Module, index: int) -> data.View:
        """The bits of an entry, copied as the host writes them."""
        flags = Signal(FLAGS, name=f"flags_{index}")
        keys = self._keys
        with m.If(keys.o_written & (keys.o_index == index) & (keys.o_word == SECOND)):
            for name in FLAGS.members:
                bit = PEER.field(name).at - WORD_BITS * SECOND
                m.d.sync += flags[name].eq(keys.o_data[bit])
        m.d.comb += self.seen[index].eq(flags.mode)
        return flags

    def _match(self, m: Module, flags: list[data.View]) -> None:
        """First clock: parts; second: address and whole key; third: the lowest that matches."""
        valid = Signal(2)
        known, hit = Signal(self._peers), Signal(self._peers)
        m.d.sync += Cat(valid, self.o.valid).eq(Cat(self.i.valid, valid))
        for index, flag in enumerate(flags):
            digits = Cat(same[index] for same in self._keys.equal)
            judged = flag.enable & (flag.mode | ~flag.authenticate)
            parts, group, vlan = Signal(ADDRESS // DIGIT // DIGITS_A_PART), Signal(), Signal()
            m.d.sync += [
                *(
                    part.eq(digits[n * DIGITS_A_PART : (n + 1) * DIGITS_A_PART].all())
                    for n, part in enumerate(parts)
                ),
                group.eq(digits[_digits("group")].all() & judged),
                vlan.eq(digits[_digits("vlan")].all() | flag.any_vlan),
                known[index].eq(parts.all() & flag.enable),
                hit[index].eq(parts.all() & group & vlan),
            ]
        m.d.sync += [
            self.o.p.hit.eq(hit.any()),
            self.o.p.index.eq(Mux(hit.any(), lowest(hit), 0)),
            self.o.p.known.eq(known.any()),
        ]


assert [(PEER.field(name).at, PEER.field(name).width) for name in KEY] == [
    (field.offset, field.width) for _, field in PEER_REQUEST
]
