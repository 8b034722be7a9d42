"""The peer table: whose HELLO is this.

Ref: offload.md §3 (key: source address, Group ID, VLAN or any; 32 peers), §1 (one match a frame)
"""

from amaranth import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from harp.tables.offload import PEERS
from harp.tables.register_schema import WORD_BITS
from harp.tables.registers import BY_NAME
from harp_gateware.digit_tables import ALL, KEY_WORD, KEYS, RAMS, DigitTables, key_rows
from harp_gateware.layouts import L3_WORD, PEER_RESPONSE, VLAN
from harp_gateware.priority import lowest

PEER = BY_NAME["peer"]
SECOND = PEER.field("group").at // WORD_BITS
"""The word of a key behind its address."""
FLAGS = data.StructLayout({"any_vlan": 1, "mode": 1, "enable": 1, "judged": 1})
"""Of an entry. `judged`: its HELLOs may be hit."""


class PeerTable(wiring.Component):
    """Compares each frame's source address, VLAN and Group ID with every key.

    `i_words` are all frames' L3 words, `vlan` is that of their frame. `i` says, 3 clocks
    behind the word, that it begins a Mobility Header of HARP's form: answered exactly 3 clocks
    later. The next frame's word 1 comes 5 clocks behind that word at the soonest.

    Keys are written by the host through `KeyWriter` and lie in `DigitTables`; what is one bit is a
    flop. A disabled entry matches nothing. One that must be authenticated and is not `seen`
    is `known` but never hit: its HELLOs are for the host, as there is no HMAC in this build. `seen`
    has a bit a peer: mode `seen` (offload.md §3).
    """

    def __init__(self, peers: int = PEERS) -> None:
        self._peers = peers
        super().__init__(
            {
                "i_words": In(stream.Signature(L3_WORD, always_ready=True)),
                "vlan": In(VLAN["id"].shape),
                "i": In(stream.Signature(data.StructLayout({}), always_ready=True)),
                "o": Out(stream.Signature(PEER_RESPONSE, always_ready=True)),
                "rows": In(key_rows(KEYS)),
                "word": In(KEY_WORD),
                "seen": Out(peers),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.tables = self._tables = tables = DigitTables()
        connect(m, flipped(self.i_words), tables.i)
        connect(m, flipped(self.rows), tables.access)
        m.d.comb += tables.vlan.eq(self.vlan)
        self._match(m, [self._flags(m, index) for index in range(self._peers)])
        return m

    def _flags(self, m: Module, index: int) -> data.View:
        """The bits of an entry, copied as the host writes them."""
        flags = Signal(FLAGS, name=f"flags_{index}")
        word = self.word
        bit = {
            name: word.data[PEER.field(name).at - WORD_BITS * SECOND]
            for name in ("any_vlan", "mode", "authenticate", "enable")
        }
        with m.If(word.written & (word.index == index) & (word.number == SECOND)):
            m.d.sync += [
                flags.any_vlan.eq(bit["any_vlan"]),
                flags.mode.eq(bit["mode"]),
                flags.enable.eq(bit["enable"]),
                flags.judged.eq(bit["enable"] & (bit["mode"] | ~bit["authenticate"])),
            ]
        m.d.comb += self.seen[index].eq(flags.mode)
        return flags

    def _match(self, m: Module, flags: list[data.View]) -> None:
        """The rows as they come; then address and whole key; then the lowest that matches."""
        rows, raw, valid = self._tables.rows, self._tables.raw, Signal(2)
        any_vlan, enable, judged = (
            Cat(flag[name] for flag in flags) for name in ("any_vlan", "enable", "judged")
        )
        address, judge = Signal(KEYS, init=ALL), Signal(self._peers)
        tagged = Signal(KEYS)
        m.d.comb += tagged.eq(raw[2] & raw[3])
        known, hit = Signal(self._peers), Signal(self._peers)
        m.d.sync += [
            address.eq(address & rows[0] & rows[1] & rows[2] & rows[3]),
            Cat(valid, self.o.valid).eq(Cat(self.i.valid, valid)),
            known.eq(address & rows[2] & rows[3] & enable),
            hit.eq(address & rows[2] & rows[3] & raw[0] & raw[1] & judge),
            self.o.p.hit.eq(hit.any()),
            self.o.p.index.eq(lowest(hit)),
            self.o.p.known.eq(known.any()),
        ]
        with m.If(self._tables.fresh):
            m.d.sync += address.eq(ALL)
        with m.If(self._tables.vlan_now):
            m.d.sync += judge.eq(judged & (any_vlan | tagged))


assert RAMS == SECOND
