"""The mobile node without I/O: retries, corrections, refreshes, Home Agent Switch, tunnel."""

from random import Random

from tests.lab.netns.stand_in import update_in

from harp.lab.netns import packets, plan
from harp.lab.netns.node import GIVE_UP_AFTER, MobileNode, NodeConfig
from harp.tables.constants import US_PER_S
from harp.tables.ipv6 import ROUTING_TYPE_2, NextHeader
from harp.tables.mh import NEXT_HEADER, BaStatus
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import (
    BindingAcknowledgement,
    BindingError,
    BindingRefreshRequest,
    BindingUpdate,
    HomeAgentSwitch,
    Message,
)

FIRST, SECOND = (port.address.packed for port in list(plan.HOME_PORTS.values())[:2])
HOME, CARE_OF = plan.home_address(5), plan.care_of_address(5)


def node(*agents: bytes) -> MobileNode:
    return MobileNode(NodeConfig(HOME, agents or (FIRST,)), CARE_OF, Random(1))


def sent(out: list[bytes]) -> BindingUpdate:
    """The one Binding Update that was sent."""
    (packet,) = out
    found = update_in(packet)
    assert found is not None
    where, update = found
    assert where.source == HOME
    return update


def told(message: Message, agent: bytes = FIRST, to: bytes = HOME) -> bytes:
    """A message from a home agent, as it arrives at the care-of address."""
    mh = DEFAULT_CODEC.build(agent, to, message)
    routing = bytes((NEXT_HEADER, 2, ROUTING_TYPE_2, 1)) + bytes(4) + to
    return packets.ipv6(agent, CARE_OF, NextHeader.ROUTING, routing + mh)


def accepted(update: BindingUpdate, status: int = 0, agent: bytes = FIRST) -> bytes:
    return told(BindingAcknowledgement(status, update.sequence, 600), agent)


def bound(*agents: bytes) -> tuple[MobileNode, BindingUpdate]:
    one = node(*agents)
    update = sent(one.register(0))
    assert one.receive(accepted(update), 1000) == []
    return one, update


def test_registers_and_refreshes_in_time() -> None:
    one, update = bound()
    assert one.bound == FIRST
    assert one.deadline == 1000 + 450 * US_PER_S
    assert one.expire(one.deadline - 1) == []
    refresh = sent(one.expire(one.deadline))
    assert refresh.sequence == (update.sequence + 1) & 0xFFFF
    assert one.bound == FIRST, "the binding lasts while it is refreshed"


def test_retries_twice_as_late_with_greater_sequence_numbers() -> None:
    one = node()
    numbers, waits, now = [sent(one.register(0)).sequence], [], 0
    for _ in range(7):
        assert one.deadline is not None
        waits.append(one.deadline - now)
        now = one.deadline
        numbers.append(sent(one.expire(now)).sequence)
    assert waits == [US_PER_S << step for step in (0, 1, 2, 3, 4, 5, 5)]
    assert numbers == [(numbers[0] + step) & 0xFFFF for step in range(8)]


def test_binding_ends_when_nobody_refreshes_it() -> None:
    one, _ = bound()
    assert one.deadline is not None
    now = one.deadline
    while now < 700 * US_PER_S:
        one.expire(now)
        now = one.deadline
    assert one.bound is None
    assert one.wrap(packets.ipv6(HOME, FIRST, 59, b"")) is None


def test_goes_on_from_the_sequence_number_that_it_is_told() -> None:
    one = node()
    sent(one.register(0))
    wrong = BindingAcknowledgement(BaStatus.SEQUENCE_OUT_OF_WINDOW, 40_000, 0)
    assert sent(one.receive(told(wrong), 10)).sequence == 40_001


def test_refusal_is_tried_again() -> None:
    one = node()
    update = sent(one.register(0))
    assert one.receive(accepted(update, BaStatus.INSUFFICIENT_RESOURCES), 10) == []
    assert one.bound is None
    assert one.deadline == 10 + US_PER_S
    sent(one.expire(one.deadline))
    assert one.answers == [(10, BaStatus.INSUFFICIENT_RESOURCES)]


def test_ignores_what_is_not_for_it() -> None:
    one = node()
    update = sent(one.register(0))
    stale = BindingUpdate((update.sequence - 1) & 0xFFFF, 0, 0)
    assert one.receive(accepted(stale), 1) == []
    assert one.receive(accepted(update, agent=SECOND), 1) == []
    assert one.receive(told(BindingAcknowledgement(0, update.sequence, 600), to=SECOND), 1) == []
    assert one.receive(accepted(update)[:-1], 1) == []
    assert one.bound is None


def test_refresh_request_and_binding_error_make_it_register() -> None:
    one, _ = bound()
    update = sent(one.receive(told(BindingRefreshRequest()), 2000))
    one.receive(accepted(update), 3000)
    assert sent(one.receive(told(BindingError(1, HOME)), 4000))


def test_moves_and_leaves() -> None:
    one, _ = bound()
    place = plan.care_of_address(5, 1)
    (packet,) = one.move(place, 2000)
    assert packets.source_of(packet) == place
    update = sent(one.deregister(3000))
    assert update.lifetime_s == 0
    one.receive(accepted(update), 4000)
    assert (one.bound, one.deadline) == (None, None)
    assert one.move(CARE_OF, 5000) == []


def test_follows_a_home_agent_switch() -> None:
    one, _ = bound(FIRST, SECOND)
    (packet,) = one.receive(told(HomeAgentSwitch((SECOND,))), 2000)
    assert packets.destination_of(packet) == SECOND
    assert one.bound == FIRST, "the old binding serves until the new one is acknowledged"
    update = sent([packet])
    one.receive(accepted(update, agent=SECOND), 3000)
    assert (one.bound, one.switches) == (SECOND, 1)
    assert one.receive(told(HomeAgentSwitch((HOME,))), 4000) == []


def test_gives_a_mute_home_agent_up() -> None:
    one = node(FIRST, SECOND)
    one.register(0)
    for _ in range(GIVE_UP_AFTER):
        assert one.deadline is not None
        now = one.deadline
        out = one.expire(now)
    assert packets.destination_of(out[0]) == SECOND
    assert one.deadline == now + one.config.first_wait_us, "nor is this one late for that"


def test_tunnel_both_ways() -> None:
    one, _ = bound(FIRST, SECOND)
    own = packets.ipv6(HOME, plan.CN_CORRESPONDENT.address.packed, 59, b"")
    wrapped = one.wrap(own)
    assert wrapped is not None
    assert packets.destination_of(wrapped) == FIRST
    answer = packets.ipv6(plan.CN_CORRESPONDENT.address.packed, HOME, 59, b"")
    assert one.unwrap(packets.tunnelled(FIRST, CARE_OF, answer)) == answer
    stranger = plan.CN_CORRESPONDENT.address.packed
    assert one.unwrap(packets.tunnelled(stranger, CARE_OF, answer)) is None
    assert one.unwrap(packets.tunnelled(FIRST, CARE_OF, own)) is None
    assert one.unwrap(own) is None
