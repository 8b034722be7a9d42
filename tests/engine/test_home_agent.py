"""The home agent, playbook by playbook: Binding Update in, exact effects and status out."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harp.engine.config import (
    GroupConfig,
    HomeAgentConfig,
    Key,
    LinkConfig,
    MemberConfig,
    Prefix,
    SwitchMode,
)
from harp.engine.dhaad import Agent
from harp.engine.effects import (
    AnnounceNeighbor,
    Dropped,
    Effect,
    PrepareRoute,
    RemoveRoute,
    SendPacket,
    StartDad,
    SubmitChanges,
)
from harp.engine.home_agent import EXPIRE_BATCH, HomeAgent, Service
from harp.engine.multihoming import MAX_BIDS
from harp.engine.store import BindingStore
from harp.tables.icmpv6 import MOBILE_ROUTER, NEXT_HEADER
from harp.tables.mh import BaFlag, BaStatus, BuFlag
from harp.tables.reasons import Reason
from harp.wire.auth import ntp_from_unix_us, unix_us_from_ntp
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.icmpv6 import parse_icmpv6
from harp.wire.messages import (
    AlternateCareOf,
    Authentication,
    BindingAcknowledgement,
    BindingCache,
    BindingIdentifier,
    BindingRefreshRequest,
    BindingUpdate,
    DhaadReply,
    DhaadRequest,
    MobileNetworkPrefix,
    NonceIndices,
    Option,
    Options,
    RefreshAdvice,
    ReplayProtection,
    SyncPosition,
    UnknownOption,
    Vendor,
)
from harp.wire.mnha import build_mn_ha, verify_mn_ha


def ip(text: str) -> bytes:
    return IPv6Address(text).packed


S = 1_000_000
T0 = 1_000 * S
CLOCK = 1_700_000_000 * S
VIRTUAL = ip("2001:db8::100")
HOME = ip("2001:db8::1:1")
HOME2 = ip("2001:db8::1:2")
COA = ip("2001:db8:f::1")
COA2 = ip("2001:db8:f::2")
COA3 = ip("2001:db8:f::3")
ME, PEER = ip("2001:db8::a"), ip("2001:db8::b")
A, H, L, K, R, OVER = (
    int(flag)
    for flag in (
        BuFlag.ACKNOWLEDGE,
        BuFlag.HOME_REGISTRATION,
        BuFlag.LINK_LOCAL,
        BuFlag.KEY_MANAGEMENT,
        BuFlag.MOBILE_ROUTER,
        BuFlag.OVERWRITE,
    )
)
NET = Prefix(ip("2001:db8:100::"), 48)
NET2 = Prefix(ip("2001:db8:200::"), 48)
KEY = Key(0x1234, b"0123456789abcdef")
GROUP = 7


class Node:
    """A home agent with its store and a log that takes everything."""

    def __init__(self, *, mode: SwitchMode = SwitchMode.VIRTUAL, **home_agent: object) -> None:
        settings: dict[str, object] = {"dad": False, **home_agent}
        self.config = GroupConfig(
            group=GROUP,
            links=(LinkConfig("net0"),),
            members=(MemberConfig("me", (ME,)), MemberConfig("peer", (PEER,))),
            self_index=0,
            mode=mode,
            virtual_address=VIRTUAL if mode is SwitchMode.VIRTUAL else b"",
            home_prefixes=(Prefix(ip("2001:db8::"), 64),),
            home_agent=HomeAgentConfig(**settings),  # type: ignore[arg-type]
        )
        self.store = BindingStore(
            refresh_margin_us=self.config.home_agent.refresh_margin_s * S, tombstone_units=100
        )
        self.position = 0
        self.agent = HomeAgent(
            self.config, self.store, Random(1), self.stamp, clock_offset_us=CLOCK
        )
        assert self.agent.service is Service.OFF
        assert self.agent.activate(T0) == []

    def stamp(self) -> SyncPosition:
        self.position += 1
        return SyncPosition(1, self.position)

    def update(
        self,
        sequence: int,
        *options: Option,
        lifetime: int = 600,
        flags: int = A | H,
        home: bytes = HOME,
        care_of: bytes = COA,
        to: bytes = VIRTUAL,
        now: int = T0,
        key: Key | None = None,
        tag_care_of: bytes | None = None,
    ) -> list[Effect]:
        """A Binding Update from `care_of` with a Home Address option; without if `care_of` is
        empty."""
        message = BindingUpdate(sequence, flags, lifetime, options)
        if key:
            raw = build_mn_ha(
                DEFAULT_CODEC,
                home,
                to,
                message,
                care_of_address=tag_care_of or care_of or home,
                home_address=home,
                spi=key.spi,
                key=key.key,
            )
        else:
            raw = DEFAULT_CODEC.build(home, to, message)
        parsed = DEFAULT_CODEC.parse(home, to, raw)
        assert isinstance(parsed, BindingUpdate)
        return self.agent.receive_binding_update(home, to, care_of, parsed, raw, now)

    def answer(self, effects: list[Effect], now: int = T0) -> BindingAcknowledgement:
        """The one Binding Acknowledgement that follows, durability granted where it is waited
        for."""
        for effect in list(effects):
            if isinstance(effect, SubmitChanges):
                assert effect.token is not None
                assert not [e for e in effects if isinstance(e, SendPacket)], "before durable"
                effects = self.agent.durable(effect.token, True, now)
        (packet,) = effects
        assert isinstance(packet, SendPacket)
        message = DEFAULT_CODEC.parse(packet.source, packet.destination, packet.payload)
        assert isinstance(message, BindingAcknowledgement)
        return message

    def status(self, sequence: int, *options: Option, **keywords: object) -> int:
        return self.answer(self.update(sequence, *options, **keywords)).status  # type: ignore[arg-type]


def reason(effects: list[Effect]) -> Reason:
    (dropped,) = effects
    assert isinstance(dropped, Dropped) and dropped.group == GROUP
    return dropped.reason


def ack(status: int, sequence: int, lifetime: int = 0, flags: int = 0, *options: Option):  # type: ignore[no-untyped-def]
    return BindingAcknowledgement(status, sequence, lifetime, flags, options)


# Registration


def test_a_first_registration_from_packet_to_answer() -> None:
    node = Node()
    effects = node.update(5, lifetime=600)
    change = (BindingCache(HOME, COA, A | H, 5, 600), ())
    assert effects == [
        PrepareRoute(GROUP, HOME, 0, COA),
        AnnounceNeighbor(GROUP, HOME, router=False),
        SubmitChanges((change,), 1),
    ]
    (packet,) = node.agent.durable(1, True, T0 + 5)
    assert isinstance(packet, SendPacket)
    assert (packet.source, packet.destination, packet.via) == (VIRTUAL, HOME, COA)
    assert packet.group == GROUP
    assert node.agent.durable(1, True, T0 + 6) == []
    entry = node.store.get(HOME)
    assert entry and entry.change(T0) == change and entry.position == SyncPosition(1, 1)
    assert node.agent.counters["unprotected"] == 0


def test_a_refresh_announces_nothing_and_moves_the_route() -> None:
    node = Node()
    node.status(5)
    effects = node.update(6, care_of=COA2)
    assert [type(e) for e in effects] == [PrepareRoute, SubmitChanges]
    assert node.answer(effects) == ack(0, 6, 600)
    entry = node.store.get(HOME)
    assert entry and entry.care_of_address == COA2


def test_success_is_answered_even_without_a_flag() -> None:
    """RFC 6275 §10.3.1: "Regardless of the setting of the Acknowledge (A) bit"."""
    assert Node().status(1, flags=H) == BaStatus.ACCEPTED


def test_unprotected_is_counted() -> None:
    node = Node()
    node.update(1)
    assert len(node.agent.durable(1, False, T0)) == 1
    assert node.agent.counters["unprotected"] == 1


@pytest.mark.parametrize(
    ("asked", "granted"), [(4, 4), (3600, 3600), (3604, 3600), (262_140, 3600)]
)
def test_the_lifetime_is_capped(asked: int, granted: int) -> None:
    node = Node(max_lifetime_s=3600)
    assert node.answer(node.update(1, lifetime=asked)) == ack(0, 1, granted)
    entry = node.store.get(HOME)
    assert entry and entry.expires_us == T0 + granted * S


def test_an_absurd_lifetime_fits_where_all_is_allowed() -> None:
    node = Node(max_lifetime_s=262_140)
    assert node.answer(node.update(1, lifetime=262_140)).lifetime_s == 262_140
    assert node.agent.deadline == T0 + (262_140 - 30) * S


@pytest.mark.parametrize(("advice", "options"), [(300, (RefreshAdvice(300),)), (600, ()), (0, ())])
def test_refresh_advice_is_shorter_than_the_lifetime(advice: int, options: Options) -> None:
    node = Node(min_refresh_s=advice)
    assert node.answer(node.update(1)) == ack(0, 1, 600, 0, *options)
    assert node.answer(node.update(2, lifetime=0)) == ack(0, 2, 0)


@pytest.mark.parametrize(
    ("wanted", "able", "granted"), [(K, True, True), (K, False, False), (0, True, False)]
)
def test_k_is_granted_where_ike_follows(wanted: int, able: bool, granted: bool) -> None:
    node = Node(key_mobility=able)
    flags = int(BaFlag.KEY_MANAGEMENT) if granted else 0
    assert node.answer(node.update(1, flags=A | H | wanted)).flags == flags


def test_l_announces_the_link_local_address_too() -> None:
    effects = Node().update(1, flags=A | H | L)
    assert AnnounceNeighbor(GROUP, ip("fe80::1:1"), router=False) in effects


def test_the_alternate_care_of_address_counts_but_the_answer_goes_to_the_source() -> None:
    node = Node()
    effects = node.update(1, AlternateCareOf(COA2))
    assert effects[0] == PrepareRoute(GROUP, HOME, 0, COA2)
    (packet,) = node.agent.durable(1, True, T0)
    assert isinstance(packet, SendPacket) and packet.via == COA


def test_options_that_belong_to_a_binding_stay_with_it_others_do_not() -> None:
    node = Node()
    kept = (Vendor(9, 1, b"v"), UnknownOption(200, b"?"))
    assert node.status(1, AlternateCareOf(COA), *kept, RefreshAdvice(4)) == 0
    entry = node.store.get(HOME)
    assert entry and entry.options == kept


def test_options_too_long_for_the_log_are_refused() -> None:
    long = tuple(Vendor(9, 1, bytes(240)) for _ in range(4))
    assert Node().status(1, *long) == BaStatus.INSUFFICIENT_RESOURCES


# What is dropped in silence


@pytest.mark.parametrize("care_of", ["::", "::1", "fe80::1", "febf::1", "ff02::1", "ff0e::1"])
def test_care_of_addresses_that_cannot_be_are_dropped(care_of: str) -> None:
    """RFC 6275 §6.1.7: "MUST be silently discarded"."""
    node = Node()
    assert reason(node.update(1, AlternateCareOf(ip(care_of)))) is Reason.UNEXPECTED
    assert len(node.store) == 0


@pytest.mark.parametrize("home", ["::", "::1", "fe80::1", "ff02::1"])
def test_home_addresses_that_cannot_be_are_dropped(home: str) -> None:
    assert reason(Node().update(1, home=ip(home))) is Reason.UNEXPECTED


@pytest.mark.parametrize(
    ("source", "to"), [("ff02::1", "2001:db8::100"), ("2001:db8:f::1", "ff02::1")]
)
def test_a_multicast_source_or_destination_is_dropped(source: str, to: str) -> None:
    assert reason(Node().update(1, care_of=ip(source), to=ip(to))) is Reason.UNEXPECTED


def test_nonce_indices_in_a_home_registration_are_dropped() -> None:
    assert reason(Node().update(1, NonceIndices(1, 2))) is Reason.BAD_OPTION


def test_a_registration_needs_the_home_address_option() -> None:
    assert reason(Node().update(1, AlternateCareOf(COA), care_of=b"")) is Reason.BAD_OPTION


def test_no_correspondent_node_lives_here() -> None:
    assert reason(Node().update(1, NonceIndices(1, 2), flags=A)) is Reason.UNEXPECTED


# Statuses


def test_132_for_another_prefix() -> None:
    assert Node().status(1, home=ip("2001:db8:0:1::1")) == BaStatus.NOT_HOME_SUBNET


@pytest.mark.parametrize("home", [VIRTUAL, ME, PEER])
def test_129_for_an_address_of_the_home_agents(home: bytes) -> None:
    assert Node().status(1, home=home) == BaStatus.PROHIBITED


def test_130_when_full_but_a_known_binding_can_be_refreshed() -> None:
    node = Node(max_bindings=1)
    assert node.status(1) == 0
    assert node.status(1, home=HOME2) == BaStatus.INSUFFICIENT_RESOURCES
    assert node.status(2) == 0


def test_133_for_a_de_registration_of_nothing() -> None:
    assert Node().status(1, lifetime=0) == BaStatus.NOT_HOME_AGENT


def test_139_for_another_registration_type() -> None:
    node = Node(mobile_prefixes=((HOME, (NET,)),))
    node.status(1)
    assert node.status(2, flags=A) == BaStatus.REGISTRATION_TYPE_CHANGE
    assert node.status(3, flags=A | H | R) == BaStatus.REGISTRATION_TYPE_CHANGE
    assert node.status(4, lifetime=0, flags=A | H | R) == 0


@given(last=st.integers(0, 65535), step=st.integers(0, 65535))
def test_135_for_a_sequence_number_that_is_not_greater(last: int, step: int) -> None:
    """RFC 6275 §9.5.1: less than or equal are "the last received number and the preceding 32768
    values, inclusive"."""
    node = Node()
    node.status(last)
    sequence = (last + step) % 65536
    got = node.answer(node.update(sequence))
    if 0 < step < 32768:
        assert got == ack(0, sequence, 600)
    else:
        assert got == ack(BaStatus.SEQUENCE_OUT_OF_WINDOW, last)


def test_135_after_a_de_registration_for_ten_seconds() -> None:
    """RFC 6275 §10.3.2: a delayed Binding Update must not undo it."""
    node = Node()
    node.status(10)
    node.status(12, lifetime=0)
    assert node.status(11, now=T0 + 10 * S - 1) == BaStatus.SEQUENCE_OUT_OF_WINDOW
    assert node.status(11, now=T0 + 10 * S) == 0


def test_any_sequence_number_after_an_expiry() -> None:
    """RFC 6275 §9.5.1: without an entry "it MUST accept any Sequence Number value"."""
    node = Node(refresh_margin_s=0)
    node.status(10, lifetime=4)
    node.agent.expire(T0 + 4 * S)
    assert node.status(3, now=T0 + 4 * S) == 0


def test_174_for_care_of_addresses_that_lead_back() -> None:
    node = Node()
    assert node.status(1, AlternateCareOf(VIRTUAL)) == BaStatus.INVALID_CARE_OF_ADDRESS
    assert node.status(2, AlternateCareOf(HOME2)) == 0
    assert node.status(1, AlternateCareOf(HOME), home=HOME2) == BaStatus.INVALID_CARE_OF_ADDRESS


def test_174_for_a_chain_of_home_addresses_without_end() -> None:
    node = Node()
    chain = [ip(f"2001:db8::2:{n}") for n in range(1, 7)]
    for home, behind in pairwise(chain):
        node.store.apply((BindingCache(home, behind, H, 1, 600), ()), node.stamp(), T0)
    assert node.status(1, AlternateCareOf(chain[3])) == 0
    assert node.status(2, AlternateCareOf(chain[0])) == BaStatus.INVALID_CARE_OF_ADDRESS


# De-registration


@pytest.mark.parametrize("by_lifetime", [True, False])
def test_de_registration(by_lifetime: bool) -> None:
    node = Node()
    node.status(1)
    if by_lifetime:
        effects = node.update(2, lifetime=0)
    else:  # at home, without Home Address option: care-of and home address are the same
        effects = node.update(2, care_of=b"")
    where = COA if by_lifetime else HOME
    assert effects == [
        RemoveRoute(GROUP, HOME, 0),
        SubmitChanges(((BindingCache(HOME, where, A | H, 2, 0), ()),), 2),
    ]
    (packet,) = node.agent.durable(2, True, T0)
    assert isinstance(packet, SendPacket)
    assert packet.via == (COA if by_lifetime else b"")
    assert DEFAULT_CODEC.parse(VIRTUAL, HOME, packet.payload) == ack(0, 2)
    assert len(node.store) == 0 and node.store.tombstones == 1


# Durability


def test_a_duplicate_is_ignored_while_its_answer_waits_and_a_newer_one_is_not() -> None:
    node = Node()
    node.update(1)
    assert reason(node.update(1)) is Reason.REPLAY
    second = node.update(2)
    assert isinstance(second[-1], SubmitChanges) and second[-1].token == 2
    assert len(node.agent.durable(1, True, T0)) == 1
    assert reason(node.update(2)) is Reason.REPLAY
    assert len(node.agent.durable(2, True, T0)) == 1
    assert node.status(2) == BaStatus.SEQUENCE_OUT_OF_WINDOW


def test_answers_that_wait_are_dropped_with_the_role() -> None:
    node = Node()
    node.update(1)
    node.agent.deactivate(T0)
    assert node.agent.durable(1, True, T0) == []
    node.agent.activate(T0)
    assert node.status(1) == BaStatus.SEQUENCE_OUT_OF_WINDOW


# The role


def test_a_standby_and_a_pausing_active_drop() -> None:
    node = Node()
    node.update(1)
    node.agent.pause(T0)
    assert reason(node.update(2)) is Reason.UNEXPECTED
    assert len(node.agent.durable(1, True, T0)) == 1, "what was taken before is still answered"
    node.agent.deactivate(T0)
    assert reason(node.update(2)) is Reason.UNEXPECTED


def test_a_draining_home_agent_refuses_with_129() -> None:
    node = Node(mode=SwitchMode.HARD)
    node.status(1, to=ME)
    node.agent.drain(T0)
    assert node.status(2, to=ME) == BaStatus.PROHIBITED
    assert node.status(3, to=ME, lifetime=0) == BaStatus.PROHIBITED
    assert len(node.store) == 1
    assert node.agent.expire(T0 + 1000 * S) == [], "only the active's log ends bindings"


# Duplicate address detection


def test_dad_comes_before_the_first_registration_only() -> None:
    node = Node(dad=True)
    assert node.update(1, flags=A | H | L) == [
        StartDad(GROUP, HOME),
        StartDad(GROUP, ip("fe80::1:1")),
    ]
    assert node.update(2, flags=A | H | L) == [], "a newer one takes its place"
    assert node.agent.dad_finished(HOME, False, T0 + S) == []
    effects = node.agent.dad_finished(ip("fe80::1:1"), False, T0 + S)
    assert node.answer(effects) == ack(0, 2, 600)
    assert node.agent.dad_finished(HOME, False, T0 + S) == []
    assert node.status(3) == 0


def test_134_for_a_duplicate() -> None:
    node = Node(dad=True)
    node.update(1, flags=A | H | L)
    effects = node.agent.dad_finished(ip("fe80::1:1"), True, T0)
    assert node.answer(effects) == ack(BaStatus.DAD_FAILED, 1)
    assert len(node.store) == 0 and node.agent.deadline is None


def test_dad_that_nobody_runs_ends() -> None:
    node = Node(dad=True, dad_timeout_us=2 * S)
    node.update(1)
    assert node.agent.deadline == T0 + 2 * S
    assert node.agent.expire(T0 + 2 * S - 1) == []
    assert node.answer(node.agent.expire(T0 + 2 * S)).status == BaStatus.UNSPECIFIED
    assert node.agent.counters["dad_timeouts"] == 1
    assert node.agent.dad_finished(HOME, False, T0 + 3 * S) == []


def test_dad_that_ends_during_a_switch_registers_nothing() -> None:
    node = Node(dad=True)
    node.update(1)
    node.agent.pause(T0)
    assert reason(node.agent.dad_finished(HOME, False, T0)) is Reason.UNEXPECTED
    assert len(node.store) == 0


def test_waiting_for_dad_counts_as_taken() -> None:
    node = Node(dad=True, max_bindings=1)
    assert node.update(1) == [StartDad(GROUP, HOME)]
    assert node.status(1, home=HOME2) == BaStatus.INSUFFICIENT_RESOURCES


# Time


def test_expiry_goes_through_the_log() -> None:
    node = Node(refresh_margin_s=0)
    node.status(9, lifetime=8)
    node.status(9, BindingIdentifier(3, care_of_address=COA2), home=HOME2, lifetime=8)
    assert node.agent.deadline == T0 + 8 * S
    assert node.agent.expire(T0 + 8 * S - 1) == []
    effects = node.agent.expire(T0 + 8 * S)
    routes, submitted = effects[:-1], effects[-1]
    assert sorted(routes, key=str) == [RemoveRoute(GROUP, HOME, 0), RemoveRoute(GROUP, HOME2, 3)]
    assert isinstance(submitted, SubmitChanges) and submitted.token is None
    assert sorted(submitted.changes, key=str) == [
        (BindingCache(HOME, COA, 0, 9, 0), ()),
        (BindingCache(HOME2, COA2, 0, 9, 0), (BindingIdentifier(3),)),
    ]
    assert node.agent.counters["expired"] == 2
    assert node.agent.expire(T0 + 9 * S) == []


def test_a_standby_expires_nothing_and_a_new_active_at_once() -> None:
    node = Node(refresh_margin_s=0)
    node.status(9, lifetime=8)
    node.agent.deactivate(T0)
    assert node.agent.deadline is None
    assert node.agent.expire(T0 + 60 * S) == [] and len(node.store) == 1
    node.agent.activate(T0 + 60 * S)
    assert node.agent.deadline is not None and node.agent.deadline <= T0 + 60 * S
    assert RemoveRoute(GROUP, HOME, 0) in node.agent.expire(T0 + 60 * S)


def test_tombstones_are_forgotten_on_every_member() -> None:
    node = Node(refresh_margin_s=0)
    node.status(9, lifetime=8)
    node.status(10, lifetime=0)
    node.agent.deactivate(T0)
    assert node.agent.deadline == T0 + 8 * S
    assert node.agent.expire(T0 + 8 * S) == [] and node.store.tombstones == 0


def test_expiry_comes_in_batches() -> None:
    node = Node(refresh_margin_s=0)
    for n in range(EXPIRE_BATCH + 1):
        home = ip("2001:db8::")[:8] + (n + 65536).to_bytes(8, "big")
        node.store.apply((BindingCache(home, COA, H, 1, 4), ()), node.stamp(), T0)
    now = T0 + 4 * S
    assert len(node.agent.expire(now)) == EXPIRE_BATCH + 1
    assert node.agent.deadline == now
    assert len(node.agent.expire(now)) == 2
    assert len(node.store) == 0


def test_a_binding_refresh_request_before_the_end() -> None:
    node = Node(refresh_margin_s=30)
    node.status(1, lifetime=120)
    node.status(1, BindingIdentifier(3, care_of_address=COA2), home=HOME2, lifetime=120)
    assert node.agent.deadline == T0 + 90 * S
    packets = node.agent.expire(T0 + 90 * S)
    got = {}
    for packet in packets:
        assert isinstance(packet, SendPacket)
        message = DEFAULT_CODEC.parse(packet.source, packet.destination, packet.payload)
        got[packet.source, packet.destination, packet.via] = message
    assert got == {
        (VIRTUAL, HOME, COA): BindingRefreshRequest(()),
        (VIRTUAL, HOME2, COA2): BindingRefreshRequest((BindingIdentifier(3),)),
    }
    assert node.agent.expire(T0 + 119 * S) == [], "asked once"
    assert node.status(2, lifetime=120, now=T0 + 119 * S) == 0
    assert len(node.agent.expire(T0 + 120 * S)) == 2, "the other one is over"
    assert len(node.agent.expire(T0 + 209 * S)) == 1, "asked again for the new lifetime"


def test_no_refresh_request_for_short_bindings() -> None:
    node = Node(refresh_margin_s=30)
    node.status(1, lifetime=116)
    assert node.agent.deadline == T0 + 116 * S


# NEMO (RFC 3963)


def option_of(prefix: Prefix) -> MobileNetworkPrefix:
    return MobileNetworkPrefix(prefix.length, prefix.address)


@pytest.mark.parametrize("explicit", [True, False])
def test_a_mobile_router_registers_its_prefixes(explicit: bool) -> None:
    node = Node(mobile_prefixes=((HOME, (NET, NET2)),))
    dirty = MobileNetworkPrefix(48, NET2.address[:-1] + b"\x01")
    options = (option_of(NET), dirty, option_of(NET)) if explicit else ()
    effects = node.update(1, *options, flags=A | H | R)
    assert effects[:2] == [
        PrepareRoute(GROUP, HOME, 0, COA, (NET, NET2)),
        AnnounceNeighbor(GROUP, HOME, router=True),
    ]
    assert node.answer(effects) == ack(0, 1, 600, int(BaFlag.MOBILE_ROUTER))
    entry = node.store.get(HOME)
    assert entry and entry.options == (option_of(NET), option_of(NET2))


def test_a_mobile_node_has_no_prefixes() -> None:
    effects = Node(mobile_prefixes=((HOME, (NET,)),)).update(1, option_of(NET))
    assert effects[0] == PrepareRoute(GROUP, HOME, 0, COA, ())


ROUTER = A | H | R


@pytest.mark.parametrize(
    ("status", "flags", "table", "options"),
    [
        (BaStatus.MOBILE_ROUTER_NOT_PERMITTED, ROUTER, (), ()),
        (BaStatus.MOBILE_ROUTER_NOT_PERMITTED, A | R, ((HOME, (NET,)),), ()),
        (BaStatus.INVALID_PREFIX, ROUTER, ((HOME, (NET,)),), (MobileNetworkPrefix(0, bytes(16)),)),
        (
            BaStatus.INVALID_PREFIX,
            ROUTER,
            ((HOME, (NET,)),),
            (MobileNetworkPrefix(64, ip("fe80::")),),
        ),
        (BaStatus.NOT_AUTHORIZED_FOR_PREFIX, ROUTER, ((HOME, (NET,)),), (option_of(NET2),)),
        (BaStatus.FORWARDING_SETUP_FAILED, ROUTER, ((HOME, ()),), ()),
    ],
)
def test_mobile_routers_are_refused(
    status: BaStatus,
    flags: int,
    table: tuple[tuple[bytes, tuple[Prefix, ...]], ...],
    options: Options,
) -> None:
    node = Node(mobile_prefixes=table)
    assert node.status(1, *options, flags=flags) == status
    assert len(node.store) == 0


# Several care-of addresses (RFC 5648)


def bid(number: int, care_of: bytes = b"", flags: int = 0) -> BindingIdentifier:
    return BindingIdentifier(number, 0, flags, care_of)


def test_bids_live_side_by_side_and_are_deleted_one_by_one() -> None:
    node = Node()
    effects = node.update(1, bid(1, COA))
    assert effects == [
        PrepareRoute(GROUP, HOME, 1, COA),
        AnnounceNeighbor(GROUP, HOME, router=False),
        SubmitChanges(((BindingCache(HOME, COA, A | H, 1, 600), (bid(1),)),), 1),
    ]
    assert node.answer(effects) == ack(0, 1, 600, 0, bid(1))
    assert node.status(1, bid(2, COA2)) == 0, "each BID has its own sequence"
    assert node.status(1, bid(1, COA)) == BaStatus.SEQUENCE_OUT_OF_WINDOW
    effects = node.update(2, bid(1), lifetime=0)
    assert effects[0] == RemoveRoute(GROUP, HOME, 1)
    assert node.answer(effects) == ack(0, 2, 0, 0, bid(1))
    assert node.store.bids(HOME) == (2,)
    assert node.answer(node.update(3, bid(1), lifetime=0)) == ack(133, 3, 0, 0, bid(1))


def test_a_known_bid_needs_no_care_of_address() -> None:
    node = Node()
    assert node.status(1, bid(1)) == BaStatus.MCOA_UNKNOWN_COA
    node.status(1, bid(1, COA2))
    assert node.update(2, bid(1))[0] == PrepareRoute(GROUP, HOME, 1, COA2)


def test_bulk_registration_and_partial_success() -> None:
    node = Node()
    effects = node.update(1, bid(1, COA), bid(2), bid(3, COA3), bid(4, COA, flags=0x80))
    assert [e for e in effects if isinstance(e, PrepareRoute)] == [
        PrepareRoute(GROUP, HOME, 1, COA),
        PrepareRoute(GROUP, HOME, 3, COA3),
    ]
    assert node.answer(effects) == ack(
        BaStatus.MCOA_NOT_COMPLETE,
        1,
        600,
        0,
        bid(1),
        BindingIdentifier(2, BaStatus.MCOA_UNKNOWN_COA),
        bid(3),
        BindingIdentifier(4, BaStatus.MCOA_HOME_AND_FOREIGN_PROHIBITED),
    )
    gone = node.update(2, bid(1), bid(9), lifetime=0)
    assert node.answer(gone) == ack(
        BaStatus.MCOA_NOT_COMPLETE, 2, 0, 0, bid(1), BindingIdentifier(9, 133)
    )
    assert node.store.bids(HOME) == (3,)


def test_bulk_registration_of_which_nothing_is_right() -> None:
    node = Node()
    assert node.answer(node.update(1, bid(1), bid(2))) == ack(167, 1, 0, 0, bid(1), bid(2))
    mixed = node.answer(node.update(1, bid(1), bid(2, COA, flags=0x80)))
    assert mixed == ack(128, 1, 0, 0, BindingIdentifier(1, 167), BindingIdentifier(2, 169))
    assert len(node.store) == 0


@pytest.mark.parametrize(
    ("status", "options", "settings"),
    [
        (BaStatus.MCOA_MALFORMED, (bid(0, COA),), {}),
        (BaStatus.MCOA_MALFORMED, (bid(1, bytes(4)),), {}),
        (BaStatus.MCOA_MALFORMED, (bid(1, ip("ff02::1")),), {}),
        (BaStatus.MCOA_MALFORMED, (bid(1, COA), bid(1, COA2)), {}),
        (BaStatus.MCOA_PROHIBITED, (bid(1, COA),), {"multiple_care_of": False}),
        (
            BaStatus.MCOA_BULK_REGISTRATION_PROHIBITED,
            (bid(1, COA), bid(2, COA2)),
            {"bulk_registration": False},
        ),
        (BaStatus.MCOA_HOME_AND_FOREIGN_PROHIBITED, (bid(1, COA, flags=0x80),), {}),
    ],
)
def test_bids_are_refused(
    status: BaStatus, options: tuple[BindingIdentifier, ...], settings: dict[str, object]
) -> None:
    node = Node(**settings)  # type: ignore[arg-type]
    copies = tuple(bid(option.bid) for option in options)
    assert node.answer(node.update(1, *options)) == ack(status, 1, 0, 0, *copies)


def test_130_for_more_bids_than_one_home_address_may_use() -> None:
    """Those deleted lately count: their tombstones are looked through too."""
    node = Node()
    for number in range(1, MAX_BIDS):
        node.status(1, bid(number, COA))
        node.status(2, bid(number), lifetime=0)
    assert node.status(1, bid(MAX_BIDS, COA), bid(MAX_BIDS + 1, COA)) == 130
    assert node.status(1, bid(MAX_BIDS, COA)) == 0
    assert node.status(1, bid(MAX_BIDS + 1, COA)) == BaStatus.INSUFFICIENT_RESOURCES
    assert node.status(3, bid(1, COA)) == 0


def test_165_while_a_binding_without_bid_exists_unless_it_is_overwritten() -> None:
    node = Node()
    node.status(1)
    assert node.status(2, bid(1, COA)) == BaStatus.MCOA_NON_MCOA_BINDING_EXISTS
    effects = node.update(3, bid(1, COA), bid(2, COA2), flags=A | H | OVER)
    assert RemoveRoute(GROUP, HOME, 0) in effects
    assert node.answer(effects).status == 0
    assert node.store.bids(HOME) == (1, 2)


def test_o_replaces_all_others() -> None:
    node = Node()
    node.status(1, bid(1, COA), bid(2, COA2))
    effects = node.update(2, bid(3, COA3), bid(2, COA2), flags=A | H | OVER)
    assert node.answer(effects).status == 0
    assert node.store.bids(HOME) == (2, 3)
    (submitted,) = (e for e in effects if isinstance(e, SubmitChanges))
    flags = [cache.flags for cache, _ in submitted.changes]
    assert flags == [A | H | OVER, A | H], "where the log cuts a message must not matter"
    standby = BindingStore()
    for position, change in enumerate(submitted.changes):
        standby.apply(change, SyncPosition(1, position), T0)
    assert standby.bids(HOME) == (2, 3)


def test_a_binding_update_without_bid_replaces_all() -> None:
    node = Node()
    node.status(1, bid(1, COA), bid(2, COA2))
    effects = node.update(2, care_of=COA3)
    assert {RemoveRoute(GROUP, HOME, 1), RemoveRoute(GROUP, HOME, 2)} < set(
        e for e in effects if isinstance(e, RemoveRoute | PrepareRoute)
    )
    assert node.answer(effects).status == 0 and node.store.bids(HOME) == (0,)


def test_a_de_registration_without_bid_deletes_all() -> None:
    node = Node()
    node.status(1, bid(1, COA), bid(2, COA2))
    assert node.status(1, lifetime=0) == BaStatus.SEQUENCE_OUT_OF_WINDOW
    effects = node.update(2, lifetime=0)
    assert effects[:2] == [RemoveRoute(GROUP, HOME, 1), RemoveRoute(GROUP, HOME, 2)]
    assert node.answer(effects).status == 0 and node.store.bids(HOME) == ()


# RFC 4285


def keyed(**settings: object) -> Node:
    return Node(mn_keys=((HOME, KEY),), mn_auth=True, **settings)  # type: ignore[arg-type]


def test_an_authentic_binding_update_gets_an_authentic_answer() -> None:
    node = keyed()
    effects = node.update(1, AlternateCareOf(COA2), key=KEY, tag_care_of=COA2)
    assert isinstance(effects[-1], SubmitChanges)
    (packet,) = node.agent.durable(1, True, T0)
    assert isinstance(packet, SendPacket)
    assert verify_mn_ha(packet.payload, COA2, HOME, KEY.key)


def test_146_for_a_wrong_tag_and_the_answer_is_signed() -> None:
    node = keyed()
    (packet,) = node.update(1, key=Key(KEY.spi, b"another key here"))
    assert isinstance(packet, SendPacket)
    message = DEFAULT_CODEC.parse(VIRTUAL, HOME, packet.payload)
    assert isinstance(message, BindingAcknowledgement) and message.status == BaStatus.AUTH_FAIL
    assert verify_mn_ha(packet.payload, COA, HOME, KEY.key)
    assert len(node.store) == 0


def test_without_a_security_association_it_is_dropped() -> None:
    node = keyed()
    assert reason(node.update(1)) is Reason.AUTH
    assert reason(node.update(1, key=Key(0x999, KEY.key))) is Reason.AUTH
    assert reason(node.update(1, key=KEY, home=HOME2)) is Reason.AUTH
    other = Authentication(2, KEY.spi, bytes(12))
    assert reason(node.update(1, other)) is Reason.AUTH


def test_esp_needs_no_option_where_it_is_not_demanded() -> None:
    assert Node(mn_keys=((HOME, KEY),)).status(1) == 0


def test_a_draining_home_agent_refuses_authentic_ones_only() -> None:
    node = keyed(mode=SwitchMode.HARD)
    node.agent.drain(T0)
    assert reason(node.update(1, to=ME)) is Reason.AUTH
    assert node.status(1, to=ME, key=KEY) == BaStatus.PROHIBITED


def stamp_of(unix_us: int) -> ReplayProtection:
    return ReplayProtection(ntp_from_unix_us(unix_us))


def test_145_where_timestamps_are_demanded() -> None:
    node = keyed(mn_timestamps=True)
    assert node.status(1, key=KEY) == BaStatus.MESG_ID_REQUIRED


def test_a_timestamp_takes_the_place_of_the_sequence_number_and_is_returned() -> None:
    node = keyed()
    first, second = stamp_of(CLOCK + T0), stamp_of(CLOCK + T0 + 1)
    got = node.answer(node.update(9, first, key=KEY))
    assert got.status == 0 and first in got.options
    assert node.answer(node.update(3, second, key=KEY)).status == 0


@pytest.mark.parametrize("off", [-7 * S - 1, 7 * S + 1])
def test_144_for_a_clock_that_is_off(off: int) -> None:
    node = keyed()
    theirs = stamp_of(CLOCK + T0 + off)
    got = node.answer(node.update(1, theirs, key=KEY))
    (returned,) = (o for o in got.options if isinstance(o, ReplayProtection))
    assert got.status == BaStatus.ID_MISMATCH
    assert returned.timestamp & 0xFFFF_FFFF == theirs.timestamp & 0xFFFF_FFFF
    assert abs(unix_us_from_ntp(returned.timestamp) - (CLOCK + T0)) <= 2 * S
    node.agent.clock_stepped(CLOCK + off)
    assert node.status(1, theirs, key=KEY) == 0


@pytest.mark.parametrize("after_s", [0, 1, 14, 15, 28])
def test_144_for_a_timestamp_that_comes_again(after_s: int) -> None:
    """Whatever generation the last one is kept in, and when it is kept no more."""
    node = keyed()
    ahead = stamp_of(CLOCK + T0 + 7 * S)
    assert node.status(1, ahead, key=KEY) == 0
    node.status(1, stamp_of(CLOCK + T0 + 7 * S), home=HOME, key=KEY)
    later = T0 + after_s * S
    assert node.status(2, ahead, key=KEY, now=later) == BaStatus.ID_MISMATCH
    assert node.status(3, stamp_of(CLOCK + later + 7 * S + 1), key=KEY, now=later + 1) == 0


# Discovery


def discover(node: Node, request: DhaadRequest, *agents: Agent) -> DhaadReply:
    (packet,) = node.agent.dhaad(request, COA, T0, agents)
    assert isinstance(packet, SendPacket)
    assert (packet.destination, packet.protocol) == (COA, NEXT_HEADER)
    reply = parse_icmpv6(packet.source, COA, packet.payload)
    assert isinstance(reply, DhaadReply)
    return reply


def test_discovery_names_the_virtual_address() -> None:
    assert discover(Node(), DhaadRequest(77)) == DhaadReply(77, (VIRTUAL,), 0)
    routers = discover(Node(), DhaadRequest(77, MOBILE_ROUTER))
    assert routers.flags == MOBILE_ROUTER


def test_discovery_in_hard_mode_goes_by_preference_and_equals_at_random() -> None:
    node = Node(mode=SwitchMode.HARD)
    agents = (Agent(PEER, 5), Agent(ME, 9), Agent(COA2, 5))
    orders = {discover(node, DhaadRequest(1), *agents).addresses for _ in range(40)}
    assert orders == {(ME, PEER, COA2), (ME, COA2, PEER)}


def test_discovery_fits_the_least_mtu() -> None:
    node = Node(mode=SwitchMode.HARD)
    agents = [Agent(ip(f"2001:db8::{n:x}"), n) for n in range(1, 101)]
    (packet,) = node.agent.dhaad(DhaadRequest(1), COA, T0, agents)
    assert isinstance(packet, SendPacket)
    assert 1280 - 16 < 40 + len(packet.payload) <= 1280
    assert discover(node, DhaadRequest(1), *agents).addresses[0] == agents[-1].address


def test_discovery_is_the_actives_and_for_unicast() -> None:
    node = Node()
    assert reason(node.agent.dhaad(DhaadRequest(1), ip("ff02::1"), T0)) is Reason.UNEXPECTED
    node.agent.deactivate(T0)
    assert reason(node.agent.dhaad(DhaadRequest(1), COA, T0)) is Reason.UNEXPECTED


# Never an exception


@given(data=st.data())
def test_whatever_arrives_there_is_an_answer_or_a_reason(data: st.DataObject) -> None:
    """Any mixture of options, flags and addresses: no exception, nothing half done."""
    node = Node(
        mn_keys=((HOME, KEY),),
        mobile_prefixes=((HOME, (NET,)), (HOME2, ())),
        mn_auth=data.draw(st.booleans()),
        dad=data.draw(st.booleans()),
        max_bindings=3,
    )
    address = st.sampled_from((HOME, HOME2, COA, VIRTUAL, bytes(16), ip("ff02::1"), ip("fe80::1")))
    option = st.one_of(
        st.builds(AlternateCareOf, address),
        st.builds(
            BindingIdentifier,
            st.integers(0, 3),
            st.just(0),
            st.sampled_from((0, 0x80)),
            st.one_of(st.just(b""), st.just(bytes(4)), address),
        ),
        st.builds(MobileNetworkPrefix, st.integers(0, 128), address),
        st.builds(ReplayProtection, st.integers(0, 2**64 - 1)),
        st.builds(Authentication, st.just(1), st.sampled_from((KEY.spi, 5)), st.just(bytes(12))),
        st.builds(NonceIndices, st.just(1), st.just(1)),
        st.builds(Vendor, st.just(1), st.just(1), st.binary(max_size=30)),
    )
    for _ in range(6):
        before = node.store.digest
        effects = node.update(
            data.draw(st.integers(0, 65535)),
            *data.draw(st.lists(option, max_size=4)),
            lifetime=4 * data.draw(st.sampled_from((0, 1, 900, 65535))),
            flags=data.draw(st.sampled_from((A | H, A | H | OVER, A | H | R, A, A | R, 0xFFFF))),
            home=data.draw(address),
            care_of=data.draw(st.one_of(st.just(b""), address)),
        )
        submitted = [e for e in effects if isinstance(e, SubmitChanges)]
        if not submitted:
            assert node.store.digest == before
            assert all(isinstance(e, Dropped | SendPacket | StartDad) for e in effects)
        assert len(node.store) <= 3


def test_configuration_says_what_is_wrong() -> None:
    for wrong in ({"refresh_margin_s": -1}, {"mn_clock_window_us": 3 * S}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            replace(HomeAgentConfig(), **wrong)  # type: ignore[arg-type]
