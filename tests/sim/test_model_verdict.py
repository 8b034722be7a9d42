"""Reasons in their order, actions, the type table and the buckets (offload.md §2)."""

import json
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from harp.tables.reasons import Action, Outcome, Reason
from harp_sim.build import checksum, harp, mobility, with_fcs
from harp_sim.faults import BLOCKED_TYPE, FAULTS, Fault, pairs, plant
from harp_sim.model import golden
from harp_sim.model.buckets import Buckets
from harp_sim.model.config import (
    Bucket,
    Config,
    Port,
    Rule,
    TypeEntry,
    default_rules,
    default_types,
)
from harp_sim.model.mobility import checksum_good
from harp_sim.model.model import Egress, Model

from .kit import (
    BINDING_UPDATE,
    FILTERING,
    GROUP,
    HELLO,
    HOME,
    OWN,
    PEER,
    STRANGER,
    hello,
    reason,
    running,
    send,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/harp.json").read_text("utf-8"))
BLOCKING = replace(
    FILTERING,
    types=default_types() | {BLOCKED_TYPE: TypeEntry(2, allowed=False)},
    local=(OWN,),
)
BASE = replace(HELLO, destination=OWN)
UNLIMITED = (Bucket(),) * len(Config().buckets)
HOST_ONLY = {Reason.BAD_OPTION}
"""Reasons of the vectors that only the host judges; here such a message is sound."""


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_golden_messages(vector: dict[str, object]) -> None:
    source, destination = (IPv6Address(str(vector[key])).packed for key in ("src", "dst"))
    mh = bytes.fromhex(str(vector["mh"]))
    fixed = bytes.fromhex("60000000") + len(mh).to_bytes(2, "big") + bytes((135, 255))
    frame = bytes(12) + b"\x86\xdd" + fixed + source + destination + mh
    model = Model(Config(filter_enable=True))
    got = model.frame(Port.NETWORK, with_fcs(frame.ljust(60, b"\0")), 1).reason
    want = vector["expect"]
    assert isinstance(want, dict)
    if want.get("reason", Reason.BAD_OPTION) == Reason.BAD_OPTION:
        valid = Reason.NOT_A_PEER if mh[2] == golden.MH_TYPE_HARP else Reason.MOBILITY
        assert got is valid
    else:
        assert got == want["reason"]


def test_base_is_without_fault() -> None:
    assert reason(BASE, BLOCKING) is Reason.HEARTBEAT_NEWS


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_fault_alone(fault: Fault) -> None:
    assert reason(plant(BASE, fault), BLOCKING) is fault.reason


@pytest.mark.parametrize("pair", list(pairs()), ids=lambda pair: f"{pair[0].name}+{pair[1].name}")
def test_of_two_faults_the_first_in_order_decides(pair: tuple[Fault, Fault]) -> None:
    assert pair[0].rank <= pair[1].rank
    assert reason(plant(BASE, *pair), BLOCKING) is pair[0].reason


def test_every_stateless_reason_has_a_fault() -> None:
    stateful = {Reason.AUTH, Reason.REPLAY, Reason.HEARTBEAT, Reason.HEARTBEAT_NEWS}
    sound = {Reason.MOBILITY}
    assert {fault.reason for fault in FAULTS} == set(golden.DEFAULT_ACTION) - stateful - sound


@pytest.mark.parametrize("octets", range(12))
def test_truncated_up_to_7_octets(octets: int) -> None:
    draft = replace(BINDING_UPDATE, payload=bytes.fromhex("3b00000000000000ffff")[:octets])
    assert reason(draft) is (Reason.TRUNCATED if octets < 8 else Reason.MOBILITY)


@pytest.mark.parametrize(
    ("header_len", "want"), [(0, "bad_length"), (1, "mobility"), (2, "bad_length")]
)
def test_length_against_payload_and_minimum(header_len: int, want: str) -> None:
    mh = BINDING_UPDATE.payload
    draft = replace(BINDING_UPDATE, payload=mh[:1] + bytes((header_len,)) + mh[2:])
    assert reason(draft) == want


@pytest.mark.parametrize("mh_type", range(256))
def test_types_and_their_minimum(mh_type: int) -> None:
    least = golden.MH_MIN_HEADER_LEN.get(mh_type)
    body = bytes((9, GROUP, 0, 1))
    for header_len in range(4):
        draft = replace(HELLO, payload=mobility(mh_type, body.ljust(8 * header_len + 2, b"\0")))
        if header_len == 0:
            draft = replace(draft, payload=mobility(mh_type, body[:2]))
        got = reason(draft)
        if least is None:
            assert got is Reason.UNKNOWN_TYPE
        else:
            assert got is (Reason.BAD_LENGTH if header_len < least else Reason.MOBILITY)


@pytest.mark.parametrize("bit", range(16))
def test_every_bit_of_the_checksum_counts(bit: int) -> None:
    assert reason(replace(BINDING_UPDATE, sum_error=1 << bit)) is Reason.BAD_CHECKSUM


@pytest.mark.parametrize("header_len", [0, 1, 30, 254, 255])
def test_checksum_of_every_length(header_len: int) -> None:
    mh = bytes((59, header_len, 5)) + bytes(3) + b"\xff" * (8 * header_len + 2)
    value = checksum(OWN, HOME, mh)
    for error in (0, 1, 0x8000):
        checked = mh[:4] + (value ^ error).to_bytes(2, "big") + mh[6:]
        assert checksum_good(OWN, HOME, checked) is (error == 0)


@pytest.mark.parametrize("harp_type", [*range(12), 31, 32, 42, 255])
def test_harp_types(harp_type: int) -> None:
    draft = replace(HELLO, payload=harp(harp_type, GROUP, 1))
    known = {0: Reason.HEARTBEAT_NEWS} | dict.fromkeys(range(1, 10), Reason.MOBILITY)
    assert reason(draft) is known.get(harp_type, Reason.UNKNOWN_HARP_TYPE)


def test_configured_harp_types_and_mh_type() -> None:
    config = replace(FILTERING, harp_types=1 << 31, harp_type=13)
    mh = harp(31, GROUP, 1)
    draft = replace(HELLO, payload=mh[:2] + b"\x0d" + mh[3:])
    assert reason(draft, config) is Reason.MOBILITY
    assert reason(replace(draft, source=STRANGER), config) is Reason.NOT_A_PEER
    assert reason(HELLO, config) is Reason.MOBILITY


def test_a_harp_message_shorter_than_its_fields_reads_as_zeros() -> None:
    short = replace(HELLO, payload=mobility(11, bytes((1, GROUP))))
    config = replace(FILTERING, types=default_types() | {11: TypeEntry(0)})
    assert reason(short, config) is Reason.BAD_SEQUENCE


@pytest.mark.parametrize("demanded", [True, False])
def test_hop_limit_where_demanded(demanded: bool) -> None:
    config = replace(FILTERING, demand_hop_limit=demanded)
    want = Reason.BAD_HOP_LIMIT if demanded else Reason.HEARTBEAT_NEWS
    assert reason(replace(HELLO, hop_limit=254), config) is want
    assert reason(replace(BINDING_UPDATE, hop_limit=1), config) is Reason.MOBILITY


# -- what becomes of them -------------------------------------------------------------------------


def _ruled(draft_reason: Reason, action: Action, **changes: object) -> Config:
    rules = default_rules() | {draft_reason: Rule(action, 5)}
    return replace(BLOCKING, rules=rules, buckets=UNLIMITED, **changes)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@pytest.mark.parametrize(
    ("action", "outcome"),
    [
        (Action.PASS, Outcome.PASS),
        (Action.LIMIT, Outcome.LIMITED_PASS),
        (Action.DROP, Outcome.DROP),
        (Action.ABSORB, Outcome.PASS),
    ],
)
def test_action_of_every_reason(fault: Fault, action: Action, outcome: Outcome) -> None:
    model = running(_ruled(fault.reason, action))
    judgement = send(model, plant(BASE, fault), 1)
    if fault.reason is Reason.BAD_FRAME:
        outcome = Outcome.DROP
    assert judgement.outcome is outcome
    counters = model.counters.snapshot()
    assert counters[f"reason.{fault.reason}"] == counters[f"outcome.{outcome}"] == 1
    assert sum(value for name, value in counters.items() if name.startswith("reason.")) == 1
    assert sum(value for name, value in counters.items() if name.startswith("outcome.")) == 1


@pytest.mark.parametrize("action", [Action.PASS, Action.LIMIT, Action.DROP])
def test_strangers_are_dropped_when_the_peers_are_complete(action: Action) -> None:
    config = _ruled(Reason.NOT_A_PEER, action, peers_complete=True)
    assert send(running(config), replace(BASE, source=STRANGER), 1).outcome is Outcome.DROP


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_without_filter_or_lease_every_good_frame_passes(fault: Fault) -> None:
    for model in (Model(BLOCKING), running(replace(BLOCKING, filter_enable=False))):
        for at in range(40):
            judgement = send(model, plant(BASE, fault), at)
            assert judgement.reason is fault.reason
            if fault.reason is not Reason.BAD_FRAME:
                assert (judgement.outcome, judgement.egress) == (Outcome.PASS, Egress.WHOLE)


def test_a_monitor_forwards_nothing_and_counts_as_if_it_acted() -> None:
    model = running(replace(BLOCKING, ports=1))
    judgement = send(model, replace(BASE, sum_error=1), 1)
    assert (judgement.reason, judgement.outcome) == (Reason.BAD_CHECKSUM, Outcome.DROP)
    assert judgement.egress is Egress.NOTHING


def test_heartbeats_of_rfc_5847_are_limited_and_others_not() -> None:
    model = running()
    beat = replace(BINDING_UPDATE, payload=mobility(golden.MH_TYPE_HEARTBEAT, bytes(6)))
    outcomes = [send(model, beat, 1).outcome for _ in range(17)]
    assert outcomes == [Outcome.LIMITED_PASS] * 16 + [Outcome.LIMITED_DROP]
    assert {send(model, BINDING_UPDATE, 1).outcome for _ in range(100)} == {Outcome.PASS}
    assert [(e.kind, e.index, e.count) for e in model.pending()] == [
        ("flood", 3, 1),
        ("reset", 0, 1),
    ]


@pytest.mark.parametrize(
    ("action", "outcome"), [(Action.LIMIT, Outcome.LIMITED_PASS), (Action.DROP, Outcome.DROP)]
)
def test_action_of_mobility_and_of_news(action: Action, outcome: Outcome) -> None:
    for draft, why in ((BINDING_UPDATE, Reason.MOBILITY), (HELLO, Reason.HEARTBEAT_NEWS)):
        assert send(running(_ruled(why, action)), draft, 1).outcome is outcome


def test_a_limited_type_goes_before_the_reason_s_own_bucket() -> None:
    types = default_types() | {5: TypeEntry(1, bucket=6)}
    config = replace(_ruled(Reason.MOBILITY, Action.LIMIT), types=types)
    assert send(running(config), BINDING_UPDATE, 1).bucket == 6
    assert send(running(_ruled(Reason.MOBILITY, Action.LIMIT)), BINDING_UPDATE, 1).bucket == 5


def test_news_asks_the_peer_s_bucket_and_a_flood_names_them_together() -> None:
    model = running()
    outcomes = [send(model, hello(n, preference=n), 1).outcome for n in range(1, 7)]
    assert outcomes == [Outcome.LIMITED_PASS] * 4 + [Outcome.LIMITED_DROP] * 2
    floods = [(e.index, e.count) for e in model.pending() if e.kind == "flood"]
    assert floods == [(golden.FLOOD_PEERS_INDEX, 2)]


# -- buckets --------------------------------------------------------------------------------------


def test_a_bucket_gives_its_burst_and_then_its_rate_exactly() -> None:
    buckets, settings = Buckets(1), Bucket.of(10, 4)
    assert settings == Bucket(100_000, 300_000)
    taken = [at for at in range(0, 1_000_000, 50) if buckets.take(0, settings, 1_000_000 + at)]
    assert taken == [0, 50, 100, 150, *range(100_000, 1_000_000, 100_000)]


@pytest.mark.parametrize(("early_us", "want"), [(0, True), (1, False)])
def test_a_token_is_there_at_its_microsecond_and_not_before(early_us: int, want: bool) -> None:
    buckets, settings = Buckets(1), Bucket(7, 0)
    assert buckets.take(0, settings, 100)
    assert buckets.take(0, settings, 107 - early_us) is want


def test_a_refusal_takes_nothing_and_an_idle_bucket_saves_no_more_than_its_burst() -> None:
    buckets, settings = Buckets(1), Bucket(10, 20)
    for start in (0, 10_000):
        assert [buckets.take(0, settings, start) for _ in range(5)] == [True] * 3 + [False] * 2
        assert buckets.take(0, settings, start + 10)


def test_period_0_is_no_limit() -> None:
    buckets = Buckets(1)
    assert all(buckets.take(0, Bucket(0, 0), 1) for _ in range(1000))


def test_nothing_is_taken_on_a_plain_wire() -> None:
    model = Model(FILTERING)
    flood = replace(BINDING_UPDATE, payload=mobility(99, b""))
    for _ in range(50):
        send(model, flood, 1)
    model.kick(2)
    assert [send(model, flood, 2).outcome for _ in range(11)][9:] == [
        "limited_pass",
        "limited_drop",
    ]


def test_counters_wrap_at_48_bits() -> None:
    model = running()
    model.counters.reasons[Reason.MOBILITY].value = (1 << 48) - 1
    send(model, BINDING_UPDATE, 1)
    assert model.counters.snapshot()["reason.mobility"] == 0


def test_port_counters() -> None:
    model = running()
    send(model, replace(BINDING_UPDATE, fcs_ok=False, cut=63), 1)
    send(model, replace(BINDING_UPDATE, rx_er=True, size=9217), 1)
    send(model, BINDING_UPDATE, 1, Port.HOST)
    counters = model.counters.snapshot()
    names = ("frames", "octets", "fcs_errors", "errors", "runts", "oversize")
    assert [counters[f"port.network.{name}"] for name in names] == [2, 63 + 9217, 1, 1, 1, 1]
    size = len(BINDING_UPDATE.octets())
    assert [counters[f"port.host.{name}"] for name in names] == [1, size, 0, 0, 0, 0]
    assert sum(value for name, value in counters.items() if name.startswith("outcome")) == 2


def test_the_source_of_harp_is_the_ipv6_source() -> None:
    judgement = send(running(), replace(HELLO, source=PEER), 1)
    assert judgement.peer == 0


# -- settings that hardware cannot hold -----------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"ports": 3},
        {"hmac": True},
        {"pass_every": 256},
        {"lease_ms": 256},
        {"host_link_grace_us": -1},
        {"rules": {}},
        {"types": {256: TypeEntry(0)}},
        {"peers": ()},
        {"buckets": ()},
        {"slots": ()},
        {"local": (OWN,) * 17},
        {"local": (b"",)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_wrong_setting_is_refused_by_name(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        replace(Config(), **changes)


def test_wrong_entries_are_refused() -> None:
    for wrong in (
        lambda: Bucket(-1, 0),
        lambda: Bucket(0, 1 << 32),
        lambda: Rule(Action.LIMIT, 8),
        lambda: TypeEntry(256),
        lambda: TypeEntry(0, bucket=8),
    ):
        with pytest.raises(ValueError, match=r"bits|there are|min_header_len|bucket"):
            wrong()
