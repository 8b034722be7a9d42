"""The core: receive path, buffer, monitor, slots, guard, events and registers joined.

Ref: offload.md §1; `docs/gateware.md` (parts, streams, latencies)
"""

from dataclasses import dataclass

from amaranth import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from harp.tables.register_schema import Home
from harp.tables.registers import BY_NAME, MAGIC, MAP_VERSION, REGISTERS
from harp_gateware.arbiter import Arbiter
from harp_gateware.events import Events
from harp_gateware.fence import Fence
from harp_gateware.frame_buffer import FrameBuffer
from harp_gateware.guard import Guard
from harp_gateware.key_writer import KeyWriter
from harp_gateware.layouts import (
    EVENT_PUSH,
    PORT_STATE,
    REGISTER_REQUEST,
    REGISTER_RESPONSE,
    TIME_US,
    WORD,
)
from harp_gateware.monitor import Monitor
from harp_gateware.params import WORD_OCTETS, CoreParams
from harp_gateware.peer_table import PeerTable
from harp_gateware.port_counters import PortCounters
from harp_gateware.register_bank import RegisterBank
from harp_gateware.rx_path import RxPath
from harp_gateware.slots import Slots


@dataclass(frozen=True, slots=True)
class Identity:
    """What the first registers say of a build."""

    version: tuple[int, int, int] = (0, 0, 0)
    git_hash: int = 0
    """First 8 hexadecimal digits of the commit."""
    dirty: bool = False
    board: int = 0
    """As listed by `harp_boards`; 0: simulated."""


class Core(wiring.Component):
    """A bump in the wire: network → host judged, host → network arbitrated.

    `i_net` and `i_host` take a word a clock, always; `o_host` and `o_net` may wait. After reset a
    plain wire both ways. `now_us` never runs back. `uart__*` come from the serial link. A monitor
    (one port) has neither `i_host` nor `o_host`.

    Latency, words back to back, buffers empty, outputs ready: the table in `docs/gateware.md`;
    host → network 7 clocks.
    """

    def __init__(self, params: CoreParams, identity: Identity | None = None) -> None:
        self._params = params
        self._identity = identity or Identity()
        word_in = In(stream.Signature(WORD, always_ready=True))
        host = {"i_host": word_in, "o_host": Out(stream.Signature(WORD))}
        super().__init__(
            {
                "i_net": word_in,
                "o_net": Out(stream.Signature(WORD)),
                **({} if params.monitor else host),
                "i_request": In(stream.Signature(REGISTER_REQUEST)),
                "o_response": Out(stream.Signature(REGISTER_RESPONSE)),
                "o_event": Out(stream.Signature(EVENT_PUSH)),
                "now_us": In(TIME_US),
                "net_state": In(PORT_STATE),
                "host_state": In(PORT_STATE),
                "host_link_enable": Out(1),
                "lease": Out(1),
                "fenced": Out(1),
                **{f"uart__{f.name}": In(f.width) for f in BY_NAME["uart"].fields},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        params = self._params
        self._now = Signal(TIME_US)
        m.d.sync += self._now.eq(self.now_us)
        m.submodules.bank = self._bank = RegisterBank(params)
        m.submodules.rx = self._rx = RxPath(params)
        m.submodules.peers = self._peers = PeerTable(params.peers)
        m.submodules.keys = self._keys = KeyWriter()
        m.submodules.monitor = self._monitor = Monitor(params.peers)
        m.submodules.guard = self._guard = Guard()
        m.submodules.slots = self._slots = Slots(params.slots)
        m.submodules.events = self._events = Events(sources=4)
        m.submodules.counters = self._counters = PortCounters()
        m.submodules.arbiter = self._arbiter = Arbiter()
        connect(m, self._bank.i_request, flipped(self.i_request))
        connect(m, self._bank.o_response, flipped(self.o_response))
        self._receive(m)
        self._watch(m)
        self._transmit(m)
        self._report(m)
        if params.monitor:
            m.d.comb += self._bank.i_ram_fence.valid.eq(0)
        else:
            self._network_to_host(m)
            self._host_to_network(m)
        self._identify(m)
        self._join_rams(m)
        return m

    def _receive(self, m: Module) -> None:
        """Frames from the network, their settings, and who is asked about HELLOs."""
        rx, bank = self._rx, self._bank
        tap(m, self.i_net, rx.i)
        tap(m, self.i_net, self._counters.rx_0)
        connect(m, rx.o_words, self._peers.i_words)
        connect(m, rx.o_peer, self._peers.i)
        connect(m, self._keys.peer_rows, self._peers.rows)
        connect(m, self._keys.peer_word, self._peers.word)
        connect(m, self._keys.local_rows, rx.local_rows)
        connect(m, self._keys.local_word, rx.local_word)
        m.d.comb += self._peers.vlan.eq(rx.o_vlan)
        tap(m, self._peers.o, rx.i_peer)
        tap(m, self._peers.o, self._monitor.i_peer)
        connect(m, rx.o_mh, self._monitor.i_mh)
        connect(m, rx.o_hello, self._monitor.i_hello)
        connect(m, self._monitor.o_hello, rx.i_hello)
        connect(m, rx.o_hello_done, self._monitor.i_hello_done)
        for name in ("peers_complete", "demand_hop_limit", "harp_mh_type", "harp_types"):
            m.d.comb += getattr(rx, f"control__{name}").eq(getattr(bank, f"control__{name}"))
        m.d.comb += [
            rx.plain.eq(self._guard.plain),
            rx.now_us.eq(self.now_us),
            rx.action__action.eq(bank.action__action),
            rx.action__bucket.eq(bank.action__bucket),
        ]

    def _watch(self, m: Module) -> None:
        """Monitor and guard: their settings, and what they see."""
        bank, guard, monitor = self._bank, self._guard, self._monitor
        host_link = 1 if self._params.monitor else self.host_state.link
        m.d.comb += [
            monitor.now_us.eq(self._now),
            monitor.arrival_us.eq(self._rx.arrival_us),
            monitor.seen.eq(self._peers.seen),
            monitor.arm.eq(bank.peer_command__arm.as_value()),
            monitor.forget.eq(bank.peer_command__forget.as_value()),
            monitor.auth_subtype.eq(bank.control__auth_subtype),
            monitor.pass_every.eq(bank.control__pass_every),
            guard.now_us.eq(self._now),
            guard.filter_enable.eq(bank.control__filter_enable),
            guard.link_mirror.eq(bank.control__link_mirror),
            guard.kick.eq(bank.guard__kick),
            guard.unfence.eq(bank.guard__unfence),
            guard.armed.eq(bank.guard__armed),
            guard.action.eq(bank.guard__action),
            guard.lease_ms.eq(bank.guard__lease_ms),
            guard.host_link_grace_us.eq(bank.guard__host_link_grace_us),
            guard.resigns.eq(self._slots.resigns),
            guard.links.eq(Cat(self.net_state.link, host_link)),
            self.host_link_enable.eq(guard.host_link_enable),
            self.lease.eq(guard.lease),
            self.fenced.eq(guard.fenced),
            bank.guard_state__lease.eq(guard.lease),
            bank.guard_state__fired.eq(guard.fired),
            bank.guard_state__fenced.eq(guard.fenced),
            bank.guard_state__lease_left_us.eq(guard.lease_left_us),
            bank.sticky__reset.eq(guard.reset),
            bank.sticky__lease_lost.eq(guard.lease_lost),
            bank.sticky__watchdog_fired.eq(guard.watchdog_fired),
        ]

    def _transmit(self, m: Module) -> None:
        """Slots and the line to the network."""
        slots, arbiter = self._slots, self._arbiter
        connect(m, slots.o, arbiter.i_slot)
        connect(m, arbiter.o, flipped(self.o_net))
        passed(m, arbiter.o, self._counters.tx_0)
        m.d.comb += [
            arbiter.request.eq(slots.request),
            slots.grant.eq(arbiter.grant),
            slots.now_us.eq(self._now),
            slots.run.eq(self._guard.run),
            slots.resign.eq(self._guard.resign),
            slots.speed.eq(self.net_state.speed),
        ]

    def _report(self, m: Module) -> None:
        """Events to the link, and the state of the ports."""
        bank, events = self._bank, self._events
        # Those that raise events as fast as in 4 clocks one go first.
        sources = (
            self._monitor.o_due,
            self._monitor.o_heard,
            self._rx.o_flood,
            self._guard.o_event,
        )
        for n, source in enumerate(sources):
            connect(m, source, getattr(events, f"i_{n}"))
        connect(m, events.o, flipped(self.o_event))
        m.d.comb += [
            events.now_us.eq(self._now),
            events.ack.eq(bank.event_ack__id__strobe[0]),
            events.ack_id.eq(bank.event_ack__id),
            events.ack_count.eq(bank.event_ack__count),
            bank.now__us.eq(self._now),
        ]
        for n, state in enumerate((self.net_state, self.host_state)):
            for name in PORT_STATE.members:
                m.d.comb += getattr(bank, f"port_state__{name}")[n].eq(state[name])
        for field in BY_NAME["uart"].fields:
            name = f"uart__{field.name}"
            m.d.comb += getattr(bank, name).eq(getattr(self, name))

    def _network_to_host(self, m: Module) -> None:
        params, bank, rx = self._params, self._bank, self._rx
        m.submodules.buffer = buffer = FrameBuffer(words=params.buffer_words, frames=params.frames)
        tap(m, self.i_net, buffer.i)
        connect(m, rx.o_early, buffer.i_early)
        connect(m, rx.o_verdict, buffer.i_verdict)
        connect(m, buffer.o, flipped(self.o_host))
        passed(m, buffer.o, self._counters.tx_1)
        m.d.comb += [
            self._counters.overrun[0].eq(buffer.o_overrun),
            bank.sticky__buffer_full.eq(buffer.o_overrun),
            bank.sticky__verdict_late.eq(buffer.o_late),
            bank.port_state__high_water[0].eq(buffer.high_water * WORD_OCTETS),
            bank.port_state__latency_max[0].eq(buffer.latency_max),
        ]

    def _host_to_network(self, m: Module) -> None:
        params, bank = self._params, self._bank
        m.submodules.fence = fence = Fence()
        m.submodules.host_buffer = buffer = FrameBuffer(
            words=params.host_buffer_words, frames=params.frames
        )
        tap(m, self.i_host, fence.i)
        tap(m, self.i_host, buffer.i)
        tap(m, self.i_host, self._counters.rx_1)
        connect(m, fence.o_early, buffer.i_early)
        connect(m, fence.o_verdict, buffer.i_verdict)
        connect(m, buffer.o, self._arbiter.i_host)
        connect(m, self._keys.fence_word, fence.word)
        fenced_frames = Signal(BY_NAME["guard_state"].field("fenced_frames").width)
        m.d.sync += fenced_frames.eq(fenced_frames + buffer.o_refused)
        m.d.comb += [
            fence.fenced.eq(self._guard.fenced),
            fence.harp_mh_type.eq(bank.control__harp_mh_type),
            buffer.i_mark.eq(fence.mark),
            buffer.refuse.eq(self._guard.fenced),
            self._counters.overrun[1].eq(buffer.o_overrun),
            bank.sticky__host_overrun.eq(buffer.o_overrun),
            bank.guard_state__fenced_frames.eq(fenced_frames),
            bank.port_state__high_water[1].eq(buffer.high_water * WORD_OCTETS),
            bank.port_state__latency_max[1].eq(buffer.latency_max),
        ]

    def _identify(self, m: Module) -> None:
        """The constants of this build."""
        params, identity, bank = self._params, self._identity, self._bank
        for name, value in {
            "magic__value": MAGIC,
            "map_version__value": MAP_VERSION,
            "gateware_version__major": identity.version[0],
            "gateware_version__minor": identity.version[1],
            "gateware_version__patch": identity.version[2],
            "gateware_version__dirty": int(identity.dirty),
            "git_hash__value": identity.git_hash,
            "parameter_hash__value": params.hash,
            "board__id": identity.board,
            "capabilities__flags": int(params.capabilities),
            "capabilities__ports": params.ports,
            "capabilities__slots": params.slots,
            "capabilities__peers": params.peers,
            "capabilities__clock_hz": params.clock_hz,
            "capabilities__buffer_octets": params.buffer_octets,
        }.items():
            m.d.comb += getattr(bank, name).eq(value)

    def _join_rams(self, m: Module) -> None:
        """Each RAM area of the map to its owner."""
        owners = [self._rx, self._keys, self._monitor, self._slots, self._events, self._counters]
        for register in REGISTERS:
            if register.home is not Home.RAM:
                continue
            if register.name == "fence" and self._params.monitor:
                continue  # not there: see above
            for owner in owners:
                if hasattr(owner, f"i_ram_{register.name}"):
                    request = getattr(self._bank, f"o_ram_{register.name}")
                    response = getattr(self._bank, f"i_ram_{register.name}")
                    connect(m, request, getattr(owner, f"i_ram_{register.name}"))
                    connect(m, getattr(owner, f"o_ram_{register.name}"), response)


def tap(m: Module, source: stream.Interface, sink: stream.Interface) -> None:
    """Gives `sink` what passes on `source`; both are always ready."""
    m.d.comb += [sink.valid.eq(source.valid), sink.payload.eq(source.payload)]


def passed(m: Module, source: stream.Interface, sink: stream.Interface) -> None:
    """Gives `sink` each word that is taken from `source`."""
    m.d.comb += [
        sink.valid.eq(source.valid & source.ready),
        sink.payload.eq(source.payload),
    ]
