"""The link between octets and the core: everything but the bits on the line.

Ref: offload.md §5 (events are pushed), §6
"""

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from harp.tables.link import EVENT_HEAD, WORD_OCTETS, LinkOp, octets_of
from harp.tables.register_schema import WORD_BITS
from harp.tables.registers import BY_NAME
from harp_gateware.layouts import EVENT_PUSH, REGISTER_REQUEST, REGISTER_RESPONSE
from harp_gateware.link.composer import Composer
from harp_gateware.link.executor import Executor
from harp_gateware.link.frame_sender import FrameSender
from harp_gateware.link.layouts import LENGTH, OCTET
from harp_gateware.link.request_receiver import DEPTH, RequestReceiver

COUNTER = BY_NAME["uart"].field("bad_frames").width
EVENT_OCTETS = octets_of(EVENT_HEAD)
EVENT_PIECES = -(-EVENT_OCTETS // WORD_OCTETS)
LAST_OCTETS = EVENT_OCTETS - WORD_OCTETS * (EVENT_PIECES - 1)


class OctetLink(wiring.Component):
    """Requests on `i` are done and answered on `o`; events are pushed on `o` between answers.

    An answer and an event take turns when both wait. Octets on `i` come at least 16 clocks apart;
    `spoil`: one was lost. `bad_frames` and `repeats` wrap.
    """

    i: In(stream.Signature(OCTET, always_ready=True))
    spoil: In(1)
    o: Out(stream.Signature(OCTET))
    o_request: Out(stream.Signature(REGISTER_REQUEST))
    i_response: In(stream.Signature(REGISTER_RESPONSE))
    i_event: In(stream.Signature(EVENT_PUSH))
    bad_frames: Out(COUNTER)
    repeats: Out(COUNTER)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = RequestReceiver()
        m.submodules.executor = self._executor = executor = Executor()
        m.submodules.composer = self._composer = Composer()
        m.submodules.sender = self._sender = FrameSender()
        connect(m, executor.o_request, flipped(self.o_request))
        connect(m, flipped(self.i_response), executor.i_response)
        connect(m, self._sender.o, flipped(self.o))
        m.d.comb += [
            receiver.i.valid.eq(self.i.valid),
            receiver.i.payload.eq(self.i.payload),
            receiver.spoil.eq(self.spoil),
            receiver.done.eq(executor.request_done),
            receiver.address.eq(executor.address),
            executor.request_valid.eq(receiver.valid),
            executor.head.eq(receiver.head),
            executor.length.eq(receiver.length),
            executor.crc.eq(receiver.crc),
            executor.data.eq(receiver.data),
        ]
        repeat = Signal()
        m.d.sync += repeat.eq(executor.repeat)
        with m.If(receiver.bad):
            m.d.sync += self.bad_frames.eq(self.bad_frames + 1)
        with m.If(executor.repeat & ~repeat):
            m.d.sync += self.repeats.eq(self.repeats + 1)
        self._send(m)
        return m

    def _send(self, m: Module) -> None:
        """One message after the other, from two pages of a RAM: the answer is kept for repeats."""
        executor, composer, sender = self._executor, self._composer, self._sender
        m.submodules.ram = ram = memory.Memory(shape=OCTET, depth=2 * DEPTH, init=[])
        write, read = ram.write_port(), ram.read_port()
        event = Signal()  # what is composed or sent is one
        turn = Signal()  # an event goes first
        part = Signal(range(EVENT_PIECES))
        lengths = Array(Signal(LENGTH, name=f"length_{n}") for n in range(2))
        m.d.comb += [
            write.addr.eq(Cat(composer.at[: DEPTH.bit_length() - 1], event)),
            write.data.eq(composer.data),
            write.en.eq(composer.write),
            read.addr.eq(Cat(sender.address[: DEPTH.bit_length() - 1], event)),
            sender.length.eq(lengths[event]),
        ]
        m.d.sync += sender.data.eq(read.data)  # a block RAM takes most of a clock
        waits = executor.o.valid | executor.repeat
        with m.FSM():
            with m.State("Idle"):
                m.d.sync += [event.eq(self.i_event.valid & (turn | ~waits)), part.eq(0)]
                with m.If(self.i_event.valid & (turn | ~waits)):
                    m.next = "Event"
                with m.Elif(executor.repeat):
                    m.next = "Start"
                with m.Elif(executor.o.valid):
                    m.next = "Answer"
            with m.State("Answer"):
                connect(m, executor.o, composer.i)
                self._keep_length(m, lengths, event)
            with m.State("Event"):
                self._give(m, part)
                with m.If(composer.i.ready):
                    m.d.sync += part.eq(part + 1)
                    with m.If(part == EVENT_PIECES - 1):
                        m.d.comb += self.i_event.ready.eq(1)
                        m.next = "Close"
            with m.State("Close"):
                self._keep_length(m, lengths, event)
            with m.State("Start"):
                m.d.comb += sender.start.eq(1)
                m.d.sync += turn.eq(~event)
                m.next = "Send"
            with m.State("Send"):
                with m.If(~sender.busy):
                    m.d.comb += executor.answered.eq(~event)
                    m.next = "Idle"

    def _keep_length(self, m: Module, lengths: Array, event: Value) -> None:
        with m.If(self._composer.done):
            m.d.sync += lengths[event].eq(self._composer.at)
            m.next = "Start"

    def _give(self, m: Module, part: Value) -> None:
        """The event's octets, four by four."""
        push, piece = self.i_event.p, self._composer.i
        number = Cat(Value.cast(push.index), Value.cast(push.kind))
        padding = Const(0, 16 - len(number))
        octets = Cat(Const(LinkOp.EVENT, OCTET), number, padding, push.count, push.first_us)
        words = Array(octets[at : at + WORD_BITS] for at in range(0, len(octets), WORD_BITS))
        last = part == EVENT_PIECES - 1
        m.d.comb += [
            piece.valid.eq(1),
            piece.p.data.eq(words[part]),
            piece.p.octets.eq(
                Mux(last, EVENT_OCTETS - WORD_OCTETS * (EVENT_PIECES - 1), WORD_OCTETS)
            ),
            piece.p.last.eq(last),
        ]
