"""The heartbeat monitor: news, sequences, deadlines, modes (offload.md §3)."""

from dataclasses import replace

import pytest

from harp.tables.reasons import Outcome, Reason
from harp_sim.build import Draft, authenticated, harp, pad_n
from harp_sim.model import golden
from harp_sim.model.config import Bucket, Config, Mode, Peer
from harp_sim.model.events import EventKind
from harp_sim.model.model import Judgement, Model
from harp_sim.model.monitor import PeerState

from .kit import FILTERING, GROUP, HELLO, PEER, STRANGER, hello, peers, running, send

NEWS, HEARTBEAT, REPLAY = Reason.HEARTBEAT_NEWS, Reason.HEARTBEAT, Reason.REPLAY
DEADLINE_US, LATE_US = 3000, 2000
TIMED = Peer(PEER, GROUP, deadline_us=DEADLINE_US, late_us=LATE_US)


def _config(peer: Peer = TIMED) -> Config:
    unlimited = (Bucket(),) * (golden.BUCKETS + golden.PEERS)
    return Config(filter_enable=True, peers=peers(peer), buckets=unlimited)


def _model(peer: Peer = TIMED) -> Model:
    return running(_config(peer))


def _kinds(model: Model) -> list[EventKind]:
    """Kinds of the peer's events since the last call, most urgent first."""
    events = [event for event in model.pending() if event.kind != "reset"]
    for event in events:
        assert model.ack(event.kind, event.index, event.count)
    return [event.kind for event in events]


def _reasons(model: Model, *drafts: Draft) -> list[Reason | None]:
    return [send(model, draft, 10 * n).reason for n, draft in enumerate(drafts, start=1)]


# -- matching -------------------------------------------------------------------------------------


def test_the_key_is_source_group_and_vlan_or_any() -> None:
    """Priority bits are no part of the VLAN ID: 0x5005 is VLAN 5."""
    table = peers(Peer(PEER, GROUP, vlan=5), Peer(PEER, GROUP, vlan=0), Peer(PEER, GROUP + 1))
    config = replace(_config(), peers=table)
    other = replace(HELLO, payload=harp(0, GROUP + 1, 1))
    for draft, want in (
        (replace(HELLO, tags=(5,)), 0),
        (replace(HELLO, tags=(9, 5)), 0),
        (replace(HELLO, tags=(0x5005,)), 0),
        (HELLO, 1),
        (replace(HELLO, tags=(0,)), 1),
        (replace(HELLO, tags=(5, 9)), None),
        (replace(other, tags=(5, 9)), 2),
        (other, 2),
    ):
        judgement = send(running(config), draft, 1)
        assert judgement.peer == want
        assert judgement.reason is (Reason.MOBILITY if want is None else NEWS)


def test_the_lowest_index_wins() -> None:
    config = replace(_config(), peers=peers(None, Peer(PEER, GROUP), Peer(PEER, GROUP, vlan=5)))
    assert send(running(config), replace(HELLO, tags=(5,)), 1).peer == 1


def test_other_types_of_a_peer_are_mobility_and_leave_the_monitor_alone() -> None:
    model = _model()
    for harp_type in range(1, 10):
        judgement = send(model, replace(HELLO, payload=harp(harp_type, GROUP, 1)), 1)
        assert (judgement.reason, judgement.peer) == (Reason.MOBILITY, None)
    assert model.watch(0).state is PeerState.UNKNOWN
    assert send(model, replace(HELLO, source=STRANGER), 1).reason is Reason.NOT_A_PEER


# -- news -----------------------------------------------------------------------------------------


def test_the_same_again_is_a_heartbeat() -> None:
    model = _model()
    assert _reasons(model, *(hello(n) for n in range(1, 5))) == [NEWS] + [HEARTBEAT] * 3


@pytest.mark.parametrize("octet", [3, *range(10, 24)])
def test_every_octet_but_sequence_and_checksum_is_news(octet: int) -> None:
    first, second = hello(1), hello(2)
    mh = bytearray(second.payload)
    mh[octet] ^= 0x01
    changed = replace(second, payload=bytes(mh))
    assert _reasons(_model(), first, changed) == [NEWS, NEWS]


def test_a_length_that_differs_is_news() -> None:
    assert _reasons(_model(), hello(1), hello(2, options=pad_n(12))) == [NEWS, NEWS]


def test_reply_wanted_is_news_each_time() -> None:
    asking = [hello(n, flags=golden.FLAG_REPLY) for n in range(1, 4)]
    assert _reasons(_model(), *asking) == [NEWS] * 3


@pytest.mark.parametrize(
    ("octets", "want"), [(88, HEARTBEAT), (96, HEARTBEAT), (104, NEWS), (200, NEWS)]
)
def test_longer_than_kept_is_news_each_time(octets: int, want: Reason) -> None:
    long = [hello(n, options=pad_n(octets - 20)) for n in range(1, 4)]
    assert len(long[0].payload) == octets
    assert _reasons(_model(), *long) == [NEWS, want, want]


def test_what_came_before_a_long_one_is_news_after_it() -> None:
    drafts = hello(1), hello(2, options=pad_n(100)), hello(3), hello(4)
    assert _reasons(_model(), *drafts) == [NEWS, NEWS, NEWS, HEARTBEAT]


def _signed(sequence: int, stamp: int, tag: int, spi: int = 256, options: bytes = b"") -> Draft:
    signature = authenticated(bytes((stamp,)) * 8, bytes((tag,)) * 16, options, spi)
    return hello(sequence, options=signature)


def test_timestamp_and_tag_are_no_news_but_the_spi_is() -> None:
    for options in (b"", pad_n(8), pad_n(16)):
        first, same = _signed(1, 1, 1, options=options), _signed(2, 2, 2, options=options)
        other_key = _signed(3, 3, 3, spi=257, options=options)
        assert _reasons(_model(), first, same, other_key) == [NEWS, HEARTBEAT, NEWS]


def test_a_tag_without_timestamp_is_no_news_either() -> None:
    def tagged(sequence: int, fill: bytes, tag: int) -> Draft:
        option = bytes((9, 21, 241)) + bytes(4) + bytes((tag,)) * 16
        return hello(sequence, options=fill + option)

    short, long = pad_n(5), bytes(2) + b"\x0b" + pad_n(18)
    for fill in (short, long):
        assert _reasons(_model(), tagged(1, fill, 1), tagged(2, fill, 2)) == [NEWS, HEARTBEAT]


@pytest.mark.parametrize("fault", [(-23, 8), (-22, 20), (-21, 240), (-38, 11), (-37, 7)])
def test_another_layout_or_subtype_is_content(fault: tuple[int, int]) -> None:
    drafts = []
    for sequence in (1, 2):
        mh = bytearray(_signed(sequence, sequence, sequence).payload)
        mh[fault[0]] = fault[1]
        drafts.append(replace(HELLO, payload=bytes(mh)))
    assert _reasons(_model(), *drafts) == [NEWS, NEWS]


def test_what_a_bucket_drops_stays_news_but_keeps_the_peer_alive() -> None:
    buckets = (Bucket(),) * golden.BUCKETS + (Bucket(1_000_000, 0),) * golden.PEERS
    model = running(replace(_config(), buckets=buckets))
    assert send(model, hello(1), 0).outcome is Outcome.LIMITED_PASS
    dropped = send(model, hello(2, preference=7), 2900)
    assert (dropped.reason, dropped.outcome) == (NEWS, Outcome.LIMITED_DROP)
    assert send(model, hello(3, preference=7), 5800).reason is NEWS
    assert send(model, hello(4), 8700).reason is HEARTBEAT
    assert EventKind.PEER_DOWN not in _kinds(model)


# -- absorbing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [2, 3, 64, 255])
def test_every_so_many_passes(every: int) -> None:
    model = running(replace(_config(), pass_every=every))
    send(model, hello(1), 0)
    outcomes = [send(model, hello(n), n).outcome for n in range(2, 2 + 3 * every)]
    assert outcomes == ([Outcome.ABSORB] * (every - 1) + [Outcome.PASS]) * 3
    assert model.watch(0).absorbed == 3 * (every - 1)
    assert model.watch(0).accepted == 1 + 3 * every


@pytest.mark.parametrize(("every", "outcome"), [(0, Outcome.ABSORB), (1, Outcome.PASS)])
def test_none_and_all_of_them_pass(every: int, outcome: Outcome) -> None:
    model = running(replace(_config(), pass_every=every))
    send(model, hello(1), 0)
    assert {send(model, hello(n), n).outcome for n in range(2, 300)} == {outcome}


def test_a_plain_wire_neither_absorbs_nor_counts() -> None:
    model = Model(replace(_config(), pass_every=2))
    assert {send(model, hello(n), n).outcome for n in range(1, 10)} == {Outcome.PASS}
    assert model.watch(0).heartbeats == 0
    assert model.counters.snapshot()["reason.heartbeat"] == 8


# -- sequence -------------------------------------------------------------------------------------


def _after(last: int, new: int, peer: Peer = TIMED, **fields: int) -> Judgement:
    model = _model(peer)
    send(model, hello(last), 1)
    return send(model, hello(new, **fields), 2)


@pytest.mark.parametrize(
    ("last", "new", "want"),
    [
        (100, 101, HEARTBEAT),
        (100, 164, HEARTBEAT),
        (100, 165, REPLAY),
        (100, 100, REPLAY),
        (100, 99, REPLAY),
        (100, 100 + (1 << 15), REPLAY),
        (65535, 1, HEARTBEAT),
        (65535, 63, HEARTBEAT),
        (65535, 64, REPLAY),
        (1, 65535, REPLAY),
        (65500, 28, HEARTBEAT),
        (65500, 29, REPLAY),
    ],
)
def test_the_window_of_64(last: int, new: int, want: Reason) -> None:
    assert _after(last, new).reason is want


@pytest.mark.parametrize(("multiplier", "window"), [(0, 64), (32, 64), (33, 66), (255, 510)])
def test_the_window_grows_with_the_multiplier(multiplier: int, window: int) -> None:
    peer = replace(TIMED, multiplier=multiplier)
    assert _after(9, 9 + window, peer).reason is HEARTBEAT
    assert _after(9, 10 + window, peer).reason is REPLAY


def test_out_of_sequence_with_news_passes_and_re_arms_nothing() -> None:
    model = _model()
    send(model, hello(1000), 0)
    judgement = send(model, hello(3, preference=9), 1500)
    assert (judgement.reason, judgement.outcome) == (NEWS, Outcome.LIMITED_PASS)
    assert send(model, hello(1001), 1600).reason is HEARTBEAT
    model.write_sequence(0, True, 3, 1700)
    assert send(model, hello(4, preference=9), 1800).reason is NEWS
    assert send(model, hello(5, preference=9), 1900).reason is HEARTBEAT


def test_a_replay_is_dropped_reported_and_no_sign_of_life() -> None:
    model = _model()
    send(model, hello(5), 0)
    for at in range(500, 3000, 500):
        judgement = send(model, hello(5), at)
        assert (judgement.reason, judgement.outcome) == (REPLAY, Outcome.DROP)
    model.advance(3000)
    assert _kinds(model) == ["peer_down", "peer_up", "peer_news", "peer_late", "replay"]


def test_multicast_and_unicast_have_their_own() -> None:
    model = _model()
    drafts = hello(500), hello(3, multicast=False), hello(501), hello(4, multicast=False)
    assert _reasons(model, *drafts) == [NEWS, HEARTBEAT, HEARTBEAT, HEARTBEAT]
    assert model.watch(0).last == {True: 501, False: 4}
    assert _reasons(_model(), hello(500), hello(3, False), hello(3)) == [NEWS, HEARTBEAT, REPLAY]


def test_after_peer_down_any_sequence_once() -> None:
    model = _model()
    send(model, hello(500), 0)
    model.advance(DEADLINE_US)
    assert send(model, hello(7), DEADLINE_US).reason is HEARTBEAT
    assert send(model, hello(6), DEADLINE_US).reason is REPLAY
    assert _kinds(model) == ["peer_down", "peer_up", "peer_news", "peer_late", "replay"]


# -- times ----------------------------------------------------------------------------------------


def test_down_and_late_at_their_time() -> None:
    model = _model()
    send(model, hello(1), 100)
    assert _kinds(model) == ["peer_up", "peer_news"]
    model.advance(100 + LATE_US - 1)
    assert (_kinds(model), model.watch(0).state) == ([], PeerState.UP)
    model.advance(100 + LATE_US)
    assert (_kinds(model), model.watch(0).state) == (["peer_late"], PeerState.LATE)
    model.advance(100 + DEADLINE_US - 1)
    assert _kinds(model) == []
    model.advance(99_999)
    event = model.pending()[0]
    assert (event.kind, event.index, event.first_us) == ("peer_down", 0, 100 + DEADLINE_US)
    assert model.watch(0).state is PeerState.DOWN


def test_a_heartbeat_in_time_re_arms_and_late_is_not_up_again() -> None:
    model = _model()
    for n in range(1, 20):
        send(model, hello(n), n * (DEADLINE_US - 1))
    assert _kinds(model) == ["peer_up", "peer_news", "peer_late"]
    assert model.watch(0).state is PeerState.UP


def test_one_at_the_deadline_is_too_late() -> None:
    model = _model()
    send(model, hello(1), 0)
    send(model, hello(2), DEADLINE_US)
    assert _kinds(model) == ["peer_down", "peer_up", "peer_news", "peer_late"]


def test_without_a_deadline_nothing_comes_due() -> None:
    model = _model(Peer(PEER, GROUP))
    send(model, hello(1), 0)
    model.advance(10**12)
    assert _kinds(model) == ["peer_up", "peer_news", "lease_lost"]


def test_the_filter_off_or_no_lease_does_not_stop_the_clock() -> None:
    model = Model(replace(_config(), filter_enable=False))
    send(model, hello(1), 0)
    model.advance(DEADLINE_US)
    assert _kinds(model) == ["peer_down", "peer_up", "peer_news", "peer_late"]


def test_new_times_count_from_the_next_hello() -> None:
    model = _model()
    send(model, hello(1), 0)
    model.write(1, peers=peers(replace(TIMED, deadline_us=500, late_us=0)))
    model.advance(1000)
    assert EventKind.PEER_DOWN not in _kinds(model)
    send(model, hello(2), 1000)
    model.advance(1500)
    assert _kinds(model) == ["peer_down"]


def test_bad_frames_are_no_sign_of_life() -> None:
    model = _model()
    send(model, hello(1), 0)
    send(model, replace(hello(2), fcs_ok=False), 1000)
    model.advance(DEADLINE_US)
    assert "peer_down" in _kinds(model)
    assert model.watch(0).accepted == 1


def test_many_peers_come_due_each_at_its_time() -> None:
    table = tuple(
        Peer(bytes((n,)) * 16, GROUP, deadline_us=1000 + 10 * n) for n in range(golden.PEERS)
    )
    model = running(replace(_config(), peers=table))
    for n in range(golden.PEERS):
        send(model, replace(HELLO, source=bytes((n,)) * 16), n)
    model.advance(5000)
    downs = [(e.index, e.first_us) for e in model.pending() if e.kind == "peer_down"]
    assert downs == [(n, 1000 + 11 * n) for n in range(golden.PEERS)]


@pytest.mark.parametrize("at", [2998, 3000, 3002])
def test_near_an_edge_hardware_may_be_on_either_side(at: int) -> None:
    model = _model(replace(TIMED, late_us=0))
    send(model, hello(1), 0)
    assert model.near_edge(at)
    assert not model.near_edge(2990)
    model.advance(at)
    assert model.near_edge(at)
    assert not model.near_edge(3010)


# -- leaving, modes, commands ---------------------------------------------------------------------


def test_lifetime_0_is_left_at_once_and_once() -> None:
    model = _model()
    send(model, hello(1), 0)
    leaving = [send(model, hello(n, lifetime=0), n).reason for n in (2, 3, 4)]
    assert leaving == [NEWS, HEARTBEAT, HEARTBEAT]
    assert model.watch(0).state is PeerState.LEFT
    model.advance(99_999)
    assert _kinds(model) == ["peer_left", "peer_up", "peer_news"]


def test_left_without_ever_being_up_and_up_again_with_any_sequence() -> None:
    model = _model()
    send(model, hello(900, lifetime=0), 1)
    assert _kinds(model) == ["peer_left", "peer_news"]
    assert send(model, hello(5), 2).reason is NEWS
    assert _kinds(model) == ["peer_up", "peer_news"]


def test_lifetime_0_out_of_sequence_is_for_the_host() -> None:
    model = _model()
    send(model, hello(900), 0)
    assert send(model, hello(5, lifetime=0), 1).reason is NEWS
    assert model.watch(0).state is PeerState.UP


def test_seen_absorbs_nothing_and_lifetime_0_is_only_news() -> None:
    model = _model(replace(TIMED, mode=Mode.SEEN))
    send(model, hello(1), 0)
    beat = send(model, hello(2), 2900)
    assert (beat.reason, beat.outcome) == (HEARTBEAT, Outcome.PASS)
    leaving = [send(model, hello(n, lifetime=0), 1000 * n).reason for n in (3, 4, 5)]
    assert leaving == [NEWS] * 3
    assert model.watch(0).state is PeerState.UP
    assert _kinds(model) == ["peer_up", "peer_news", "peer_late"]


def test_a_verified_peer_that_must_sign_is_the_host_s_without_hmac() -> None:
    model = _model(replace(TIMED, authenticated=True))
    for n in (1, 2):
        judgement = send(model, _signed(n, n, n), n)
        assert (judgement.reason, judgement.outcome) == (Reason.MOBILITY, Outcome.PASS)
    assert (_kinds(model), model.watch(0).state) == ([], PeerState.UNKNOWN)


def test_a_peer_that_must_sign_hides_no_other_entry_of_its_address() -> None:
    plain = replace(TIMED, vlan=None)
    model = running(replace(FILTERING, peers=peers(replace(TIMED, authenticated=True), plain)))
    judgement = send(model, hello(1), 1)
    assert (judgement.reason, judgement.peer) == (NEWS, 1)
    assert model.watch(0).state is PeerState.UNKNOWN


def test_a_seen_peer_that_must_sign_counts() -> None:
    model = _model(replace(TIMED, authenticated=True, mode=Mode.SEEN))
    assert _reasons(model, _signed(1, 1, 1), _signed(2, 2, 2)) == [NEWS, HEARTBEAT]


def test_forget_and_arm() -> None:
    model = _model()
    send(model, hello(900), 0)
    model.forget(0, 10)
    assert model.watch(0).state is PeerState.UNKNOWN
    model.advance(5000)
    assert _kinds(model) == ["peer_up", "peer_news"]
    model.arm(0, 6000)
    model.advance(6000 + DEADLINE_US)
    assert _kinds(model) == ["peer_down", "peer_late"]
    assert send(model, hello(3), 20_000).reason is NEWS
    assert model.watch(0).accepted == 2


def test_a_removed_peer_is_forgotten_and_cannot_be_armed() -> None:
    model = _model()
    send(model, hello(1), 0)
    model.write(1, peers=peers())
    model.advance(99_999)
    assert _kinds(model) == ["peer_up", "peer_news"]
    with pytest.raises(LookupError):
        model.arm(0, 99_999)


def test_time_does_not_go_back() -> None:
    model = _model()
    model.advance(10)
    with pytest.raises(ValueError, match="back"):
        send(model, hello(1), 9)


@pytest.mark.parametrize(
    "changes",
    [
        {"source": b""},
        {"group": 256},
        {"vlan": 4096},
        {"deadline_us": 1 << 40, "late_us": 0},
        {"late_us": DEADLINE_US},
        {"multiplier": 256},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_wrong_peer_is_refused_by_name(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        replace(TIMED, **changes)
