"""Small parts of the home agent: detection queue, Binding Errors, addresses, routes."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest

from harp.engine.addresses import is_multicast, is_unicast, is_unicast_routable, link_local_of
from harp.engine.binding_error import BURST, RATE_PER_S, BindingErrors
from harp.engine.config import HomeAgentConfig
from harp.engine.dad import DadQueue
from harp.engine.effects import SendPacket
from harp.engine.request import Request
from harp.tables.mh import BeStatus, BuFlag
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import BindingError, BindingUpdate


def ip(text: str) -> bytes:
    return IPv6Address(text).packed


HOME, OTHER = ip("2001:db8::1"), ip("2001:db8:0:1::1")
LINK_LOCAL = ip("fe80::1")
COA, HA = ip("2001:db8:f::1"), ip("2001:db8::100")
S = 1_000_000


@pytest.mark.parametrize(
    ("address", "unicast", "routable"),
    [
        ("::", False, False),
        ("::1", True, False),
        ("::2", True, True),
        ("2001:db8::1", True, True),
        ("fe7f::1", True, True),
        ("fe80::1", True, False),
        ("febf:ffff::1", True, False),
        ("fec0::1", True, True),
        ("fd00::1", True, True),
        ("ff00::", False, False),
        ("ffff::1", False, False),
    ],
)
def test_kinds_of_addresses(address: str, unicast: bool, routable: bool) -> None:
    assert is_unicast(ip(address)) == unicast
    assert is_unicast_routable(ip(address)) == routable
    assert is_multicast(ip(address)) == address.startswith("ff")


def test_the_link_local_address_keeps_the_interface_identifier() -> None:
    assert link_local_of(ip("2001:db8:1:2:a:b:c:d")) == ip("fe80::a:b:c:d")


def request(home: bytes, sequence: int = 1, flags: int = 0) -> Request:
    message = BindingUpdate(sequence, flags, 600)
    return Request(message, b"", home, COA, HA, COA, has_home_address_option=True)


L = BuFlag.LINK_LOCAL.value


def test_two_home_addresses_may_share_a_link_local_one() -> None:
    queue = DadQueue(HomeAgentConfig(dad_timeout_us=2 * S))
    first, second = request(HOME, flags=L), request(OTHER, flags=L)
    assert queue.wait(first, 0) == [HOME, LINK_LOCAL]
    assert queue.wait(second, S) == [OTHER], "detection of the shared one runs already"
    assert queue.finished(LINK_LOCAL, False) == []
    assert queue.finished(OTHER, False) == [second]
    assert len(queue) == 1 and queue.deadline == 2 * S
    assert queue.finished(LINK_LOCAL, True) == [first]
    assert len(queue) == 0 and queue.deadline is None


def test_a_duplicate_link_local_address_refuses_all_that_share_it() -> None:
    queue = DadQueue(HomeAgentConfig(dad_timeout_us=2 * S))
    first, second = request(HOME, flags=L), request(OTHER, flags=L)
    queue.wait(first, 0)
    queue.wait(second, 0)
    assert queue.finished(LINK_LOCAL, True) == [first, second]
    assert queue.finished(HOME, True) == []


def test_those_that_waited_too_long_and_the_rest() -> None:
    queue = DadQueue(HomeAgentConfig(dad_timeout_us=2 * S))
    first, second = request(HOME), request(OTHER)
    queue.wait(first, 0)
    queue.wait(second, S)
    assert queue.overdue(2 * S - 1) == []
    assert queue.overdue(2 * S) == [first]
    queue.clear()
    assert queue.overdue(9 * S) == [] and queue.finished(OTHER, False) == []


def test_a_binding_error_and_where_it_goes() -> None:
    errors = BindingErrors(DEFAULT_CODEC)
    packet = errors.about(BeStatus.UNRECOGNIZED_MH_TYPE, COA, HA, HOME, 0)
    assert isinstance(packet, SendPacket)
    assert (packet.source, packet.destination, packet.via) == (HA, COA, b"")
    message = DEFAULT_CODEC.parse(HA, COA, packet.payload)
    assert message == BindingError(BeStatus.UNRECOGNIZED_MH_TYPE, HOME)


@pytest.mark.parametrize(
    ("source", "destination"),
    [(ip("ff02::1"), HA), (bytes(16), HA), (COA, ip("ff02::114"))],
)
def test_no_binding_error_for_multicast(source: bytes, destination: bytes) -> None:
    """RFC 6275 §9.3.3: "MUST NOT be sent"."""
    errors = BindingErrors(DEFAULT_CODEC)
    unknown = BeStatus.UNKNOWN_HOME_ADDRESS_BINDING
    assert errors.about(unknown, source, destination, HOME, 0) is None


def test_binding_errors_are_rate_limited() -> None:
    errors, unknown = BindingErrors(DEFAULT_CODEC), BeStatus.UNKNOWN_HOME_ADDRESS_BINDING
    sent = 0
    for now in range(0, 10 * S, S // 100):
        sent += errors.about(unknown, COA, HA, HOME, now) is not None
    assert sent == BURST + 10 * RATE_PER_S - 1
