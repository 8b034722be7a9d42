"""Sessions: each request done once or clearly failed, each event heard once, whatever the wire."""

from __future__ import annotations

from collections import Counter

import pytest

from harp.offload.frames import Answer, Deframer, Pushed, Request, encode
from harp.offload.registers import fields_of, words_of
from harp.offload.session import (
    FIRST_WAIT_US,
    STALE_US,
    TRIES,
    Answered,
    Ask,
    Occurred,
    Over,
    Send,
    Session,
    Urgency,
)
from harp.tables.link import BAUD, LinkOp, LinkStatus
from harp.tables.offload import EVENT_KINDS, EVENT_STRIDE
from harp.tables.registers import BY_NAME
from harp_sim.model.events import EventKind

from .world import World

S = 1_000_000
READ_MAGIC = Ask(LinkOp.READ, 0, 1)
OPERATIONS = 10_000


def sent(outputs: list[object]) -> list[Request | Answer | Pushed]:
    octets = b"".join(output.octets for output in outputs if isinstance(output, Send))
    return list(Deframer().feed(octets))


def test_one_request_at_a_time_the_most_urgent_first() -> None:
    session = Session(99, BAUD)
    tokens = {
        session.ask(Ask(LinkOp.READ, n, 1, urgency=urgency)): urgency
        for n, urgency in enumerate((Urgency.POLL, Urgency.COMMAND, Urgency.KICK, Urgency.NOW))
    }
    now, order = 0, []
    outputs = session.pump(now)
    while outputs:
        (request,) = sent(outputs)
        assert isinstance(request, Request)
        assert session.pump(now) == [], "one at a time"
        found = session.receive(
            encode(Answer(request.op, request.number, LinkStatus.OK, (0,))), now := now + 500
        )
        order += [tokens[o.token] for o in found if isinstance(o, Answered)]
        outputs = [o for o in found if isinstance(o, Send)]
    assert order == [*sorted(Urgency)[:2], Urgency.COMMAND, Urgency.POLL]
    assert session.idle


def test_a_request_is_repeated_octet_for_octet_then_given_up() -> None:
    session = Session(0xFFFF, BAUD)
    session.ask(READ_MAGIC)
    frames = [o.octets for o in session.pump(0) if isinstance(o, Send)]
    ends = []
    while session.deadline is not None:
        now = session.deadline
        assert session.expire(now - 1) == []
        for output in session.expire(now):
            if isinstance(output, Send):
                frames.append(output.octets)
            ends.append(output)
    assert len(frames) == TRIES and len(set(frames)) == 1
    assert ends[-1] == Over(f"no answer to {TRIES} tries")
    assert session.retries == TRIES - 1
    session.ask(READ_MAGIC)
    assert session.pump(now) == [], "over is over"


def test_answers_that_fit_nothing_are_left_alone() -> None:
    session = Session(6, BAUD)
    session.ask(Ask(LinkOp.READ, 0, 2))
    session.pump(0)
    for answer in (
        Answer(LinkOp.READ, 6, LinkStatus.OK, (1, 2)),
        Answer(LinkOp.READ, 7, LinkStatus.OK, (1,)),
        Answer(LinkOp.WRITE, 7, LinkStatus.OK),
        Answer(LinkOp.KICK, 7, LinkStatus.OK, (1, 2)),
    ):
        assert session.receive(encode(answer), 10) == []
    good = session.receive(encode(Answer(LinkOp.READ, 7, LinkStatus.OK, (1, 2))), 20)
    assert [o.words for o in good if isinstance(o, Answered)] == [(1, 2)]
    assert session.receive(encode(Answer(LinkOp.READ, 7, LinkStatus.OK, (1, 2))), 30) == []


def test_the_round_trip_is_measured_without_the_line_and_never_of_a_repeat() -> None:
    session = Session(0, BAUD)
    number = 0
    for elapsed_us in (2000, 2000, 2000):
        session.ask(READ_MAGIC)
        (frame,) = session.pump(0)
        assert isinstance(frame, Send)
        number += 1
        session.receive(encode(Answer(LinkOp.READ, number, LinkStatus.OK, (0,))), elapsed_us)
    assert session.round_trip_us is not None
    assert 1600 < session.round_trip_us < 2000
    before = session.round_trip_us
    session.ask(READ_MAGIC)
    session.pump(0)
    assert session.deadline is not None
    assert session.deadline < FIRST_WAIT_US
    session.expire(session.deadline)
    session.receive(encode(Answer(LinkOp.READ, number + 1, LinkStatus.OK, (0,))), S)
    assert session.round_trip_us == before


def event(session: Session, push: Pushed, now: int) -> tuple[list[Occurred], list[Request]]:
    outputs = session.receive(encode(push), now)
    asks = [m for m in sent(list(outputs)) if isinstance(m, Request)]
    return [o for o in outputs if isinstance(o, Occurred)], asks


def answer(session: Session, request: Request, now: int) -> list[Request]:
    outputs = session.receive(encode(Answer(request.op, request.number, LinkStatus.OK)), now)
    return [m for m in sent(list(outputs)) if isinstance(m, Request)]


DOWN = EVENT_KINDS.index(EventKind.PEER_DOWN) * EVENT_STRIDE + 5
RESET = EVENT_KINDS.index(EventKind.RESET) * EVENT_STRIDE


def test_an_event_is_heard_once_and_acknowledged_with_its_count() -> None:
    session = Session(0, BAUD)
    heard, asks = event(session, Pushed(DOWN, 2, 77), 0)
    assert heard == [Occurred(EVENT_KINDS[3], 5, 77, 2)]
    assert asks[0].address == BY_NAME["event_ack"].offset
    assert fields_of("event_ack", asks[0].words) == {"id": DOWN, "count": 2}
    assert event(session, Pushed(DOWN, 2, 77), 10) == ([], []), "the acknowledgement is under way"
    assert answer(session, asks[0], 20) == []
    assert event(session, Pushed(DOWN, 2, 77), 30) == ([], []), "crossed it"
    heard, asks = event(session, Pushed(DOWN, 3, 77), 40)
    assert heard == [Occurred(EVENT_KINDS[3], 5, 77, 3)] and len(asks) == 1, "once more"
    answer(session, asks[0], 50)
    heard, asks = event(session, Pushed(DOWN, 1, 99), 60)
    assert heard == [Occurred(EVENT_KINDS[3], 5, 99, 1)], "anew"


def test_an_acknowledgement_that_the_device_did_not_take_is_said_again() -> None:
    session = Session(0, BAUD)
    _, asks = event(session, Pushed(DOWN, 1, 77), 0)
    answer(session, asks[0], 10)
    heard, asks = event(session, Pushed(DOWN, 1, 77), 10 + STALE_US)
    assert heard == [] and len(asks) == 1


def test_events_that_come_faster_than_they_are_answered_keep_nothing_waiting() -> None:
    """One acknowledgement an event, of its last count; a command has its turn between two."""
    session = Session(0, BAUD)
    _, asks = event(session, Pushed(DOWN, 1, 77), 0)
    for count in range(2, 9):
        for number in (DOWN, DOWN + 1):
            assert event(session, Pushed(number, count, 77), count) == (
                [Occurred(EVENT_KINDS[3], number - DOWN + 5, 77, count)],
                [],
            )
    command = session.ask(READ_MAGIC)
    session.ask(Ask(LinkOp.READ, 0x20, 1, (), Urgency.POLL))
    order: list[object] = []
    while asks:
        (request,) = asks
        acknowledged = fields_of("event_ack", request.words) if request.words else {}
        order.append(
            (acknowledged["id"], acknowledged["count"])
            if request.address == BY_NAME["event_ack"].offset
            else request.address
        )
        words = (0,) if request.op == LinkOp.READ else ()
        done = Answer(request.op, request.number, LinkStatus.OK, words)
        asks = [m for m in sent(list(session.receive(encode(done), 20))) if isinstance(m, Request)]
    assert command and order == [(DOWN, 1), 0, (DOWN, 8), 0x20, (DOWN + 1, 8)]
    assert session.idle


def test_a_second_reset_looks_like_the_first_and_is_told() -> None:
    session = Session(0, BAUD)
    heard, asks = event(session, Pushed(RESET, 1, 1), 0)
    assert len(heard) == 1
    assert event(session, Pushed(RESET, 1, 1), 5) == ([], [])
    answer(session, asks[0], 10)
    heard, asks = event(session, Pushed(RESET, 1, 1), 20)
    assert len(heard) == 1 and len(asks) == 1


def test_what_no_device_sends_is_noise() -> None:
    session = Session(0, BAUD)
    assert session.receive(encode(Request(LinkOp.READ, 1, 0, 1)), 0) == []
    assert session.receive(encode(Pushed(15 * EVENT_STRIDE, 1, 1)), 0) == []
    assert session.deframer.bad_frames == 1


@pytest.mark.parametrize("seed", [1, 2])
def test_every_operation_is_done_once_or_fails_clearly_on_a_hostile_wire(seed: int) -> None:
    """offload.md §6: 1 % of the octets dropped, flipped, doubled or held up, both ways."""
    world = World(seed, rate=0.01)
    rng, counts = world.rng, Counter[str]()
    answers: dict[int, Answered] = {}
    raised: Counter[tuple[str, int]] = Counter()
    heard: dict[tuple[str, int], dict[int, int]] = {}
    over: list[Over] = []

    def take(output: Answered | Occurred | Over) -> None:
        match output:
            case Answered():
                answers[output.token] = output
            case Occurred():
                times = heard.setdefault((output.kind, output.index), {})
                times[output.first_us] = max(output.count, times.get(output.first_us, 0))
            case Over():
                over.append(output)

    world.heard = take
    mirror = dict(world.registers.held)
    for _ in range(OPERATIONS // 2):
        if rng.random() < 0.05:
            kind, index = EventKind.PEER_DOWN, rng.randrange(32)
            world.occur(kind, index)
            raised[kind, index] += 1
        written = len(world.registers.written)
        index, value = rng.randrange(32), rng.getrandbits(40)
        name, write = "peer_timing", rng.random() < 0.5
        address = BY_NAME[name].address(index)
        if write:
            words = words_of(name, index, deadline_us=value)[:2]
            token = world.ask(Ask(LinkOp.WRITE, address, 2, words))
        else:
            token = world.ask(Ask(LinkOp.READ, address, 2))
        assert world.run(lambda t=token: t in answers or bool(over), 60 * S), "neither nor"
        done = world.registers.written[written:]
        if token in answers:
            counts["done"] += 1
            if write:
                assert [fields["deadline_us"] for _, _, fields in done] == [value], "once"
                mirror[name, index, "deadline_us"] = value
            else:
                assert done == []
                read = answers[token].words[0] | answers[token].words[1] << 32
                assert read == mirror[name, index, "deadline_us"]
        else:
            counts["failed"] += 1
            assert len(done) <= write, "at most once"
            mirror = dict(world.registers.held)
            over.clear()
            world.connect()
    assert world.run(lambda: not world.registers.events.pending() and world.session.idle, 60 * S)
    assert counts["done"] >= 0.99 * OPERATIONS / 2
    assert world.up.faults + world.down.faults > 1000
    assert world.end.repeats > 100
    for key, times in raised.items():
        assert sum(heard[key].values()) == times, "every occurrence, none twice"


def test_replugged_a_hundred_times() -> None:
    """Octets of the conversation before are still on the line; none is taken for an answer."""
    world = World(7, rate=0.01)
    answers: dict[int, Answered] = {}
    over: list[Over] = []
    world.heard = lambda o: answers.update({o.token: o}) if isinstance(o, Answered) else None
    for n in range(100):
        for at in range(3):
            world.ask(Ask(LinkOp.READ, at, 1))
        world.run(lambda: False, world.rng.randrange(3000))
        world.connect()
        answers.clear()
        token = world.ask(Ask(LinkOp.READ, BY_NAME["magic"].offset, 1))
        assert world.run(lambda t=token: t in answers, S), f"plug {n}: {over}"
        assert answers[token].words == (0x48415250,)


def test_long_noise_then_a_word() -> None:
    world = World(3, rate=0.0)
    answers: dict[int, Answered] = {}
    world.heard = lambda o: answers.update({o.token: o}) if isinstance(o, Answered) else None
    noise = world.rng.randbytes(200_000)
    world.session.receive(noise, 0)
    assert world.end.receive(noise) == b""
    token = world.ask(READ_MAGIC)
    assert world.run(lambda: token in answers, S)
    assert world.session.retries <= 1
    assert world.session.deframer.bad_frames > 100
    assert world.end.bad_frames > 100
