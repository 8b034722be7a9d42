"""Events, lease, watchdog, fence and slots (offload.md introduction, §4 and §5)."""

from dataclasses import replace
from typing import Any

import pytest

from harp.tables.reasons import Outcome
from harp_sim.build import Draft, harp, options_header, pad_n
from harp_sim.model import golden
from harp_sim.model.config import Config, Fenced, Port, Slot, WatchdogAction
from harp_sim.model.events import EventKind, Events
from harp_sim.model.mobility import checksum_good
from harp_sim.model.model import Egress, Judgement, Model
from harp_sim.model.slots import patched, step

from .kit import BINDING_UPDATE, GROUP, GROUP_ADDRESS, HOME, OWN, STRANGER, running, send

TEMPLATE = Draft(OWN, GROUP_ADDRESS, harp(0, GROUP, 0), size=0).octets()[:-4]
SLOT = Slot(TEMPLATE, period_us=1000)
RESIGN = Slot(TEMPLATE, resign=True, sequence_slot=0)


def _slots(*slots: Slot | None) -> tuple[Slot | None, ...]:
    return (*slots, *(None,) * (golden.SLOTS - len(slots)))


def _events(model: Model) -> list[tuple[str, int]]:
    return [(event.kind, event.first_us) for event in model.pending() if event.kind != "reset"]


# -- events ---------------------------------------------------------------------------------------


def test_after_power_up_reset_is_pending() -> None:
    (event,) = Model(now_us=7).pending()
    assert (event.kind, event.index, event.first_us, event.count) == ("reset", 0, 7, 1)


def test_flags_coalesce_and_come_by_priority_and_index() -> None:
    events = Events()
    for at, kind in enumerate(reversed(EventKind)):
        for index in (2, 0, 2):
            events.occur(kind, index, at)
    got = [(event.kind, event.index, event.count) for event in events.pending()]
    assert got == [(kind, *rest) for kind in EventKind for rest in ((0, 1), (2, 2))]
    assert events.pending()[0].first_us == len(EventKind) - 1
    assert events.raised[EventKind.LINK] == 3


def test_an_acknowledgement_of_an_older_count_clears_nothing() -> None:
    events = Events()
    events.occur(EventKind.LINK, 1, 5)
    events.occur(EventKind.LINK, 1, 6)
    assert not events.acknowledge(EventKind.LINK, 1, 1)
    assert not events.acknowledge(EventKind.LINK, 0, 0)
    assert events.pending()[0].count == 2
    assert events.acknowledge(EventKind.LINK, 1, 2)
    assert not events.acknowledge(EventKind.LINK, 1, 2)
    events.occur(EventKind.LINK, 1, 9)
    assert (events.pending()[0].first_us, events.pending()[0].count) == (9, 1)


def test_a_count_saturates() -> None:
    events = Events()
    for at in range(65_540):
        events.occur(EventKind.FLOOD, 0, at)
    assert events.pending()[0].count == 65_535


@pytest.mark.parametrize("kind", [EventKind.REPLAY, EventKind.FLOOD])
def test_a_limited_kind_is_pushed_ten_times_a_second(kind: EventKind) -> None:
    events, pushed = Events(), []
    for at in range(0, 1_000_000, 1000):
        events.occur(kind, at // 1000 % 5, at)
        if (event := events.next_push(at)) is not None:
            pushed.append(at)
            events.acknowledge(event.kind, event.index, event.count)
    assert pushed == list(range(0, 1_000_000, 100_000))


def test_what_is_not_limited_is_pushed_before_and_in_between() -> None:
    events = Events()
    assert events.next_push(0) is None
    events.occur(EventKind.FLOOD, 0, 0)
    assert events.next_push(0) == events.pending()[0]
    events.occur(EventKind.RESET, 0, 1)
    pushed = events.next_push(1)
    assert pushed is not None
    assert pushed.kind is EventKind.RESET


# -- lease ----------------------------------------------------------------------------------------


def test_the_lease_is_live_up_to_its_end_and_then_the_wire_is_plain() -> None:
    model = Model(Config(filter_enable=True))
    bad = replace(BINDING_UPDATE, sum_error=1)
    assert send(model, bad, 0).outcome is Outcome.PASS
    model.kick(1000)
    assert send(model, bad, 1000).outcome is Outcome.DROP
    assert send(model, bad, 200_999).outcome is Outcome.DROP
    assert send(model, bad, 201_000).outcome is Outcome.PASS
    assert _events(model) == [("lease_lost", 201_000)]


@pytest.mark.parametrize(("lease_ms", "length_us"), [(1, 1000), (200, 200_000), (255, 200_000)])
def test_the_lease_s_length(lease_ms: int, length_us: int) -> None:
    model = Model(Config(filter_enable=True, lease_ms=lease_ms))
    model.kick(5)
    model.advance(5 + length_us - 1)
    assert model.enforced
    model.advance(5 + length_us)
    assert not model.enforced


def test_a_kick_in_time_renews_and_a_later_one_revives() -> None:
    model = running()
    for at in range(100_000, 1_000_000, 100_000):
        model.kick(at)
    assert model.enforced
    model.advance(2_000_000)
    assert not model.enforced
    model.kick(2_000_000)
    assert model.enforced
    assert _events(model) == [("lease_lost", 1_100_000)]


# -- watchdog and fence ---------------------------------------------------------------------------

ARMED = Config(filter_enable=True, watchdog_armed=True, slots=_slots(SLOT, None, RESIGN))


def test_the_end_of_the_lease_fires_resigns_and_fences() -> None:
    model = running(ARMED)
    model.advance(1_000_000)
    fired = 200_000
    assert _events(model) == [
        ("watchdog_fired", fired),
        ("fenced", fired + 2000),
        ("lease_lost", fired),
    ]
    assert (model.guard.fired, model.guard.fenced, model.guard.armed) == (True, True, False)
    owed = [(due.slot, due.earliest_us, due.latest_us) for due in model.slots.due()]
    assert owed == [(2, fired + n * 1000, fired + n * 1000 + 1) for n in range(3)]


def test_without_resign_slots_the_fence_closes_at_once() -> None:
    model = running(replace(ARMED, slots=_slots()))
    model.advance(200_000)
    assert ("fenced", 200_000) in _events(model)


def test_disarmed_nothing_follows_the_lease() -> None:
    model = running(replace(ARMED, watchdog_armed=False))
    model.advance(1_000_000)
    assert _events(model) == [("lease_lost", 200_000)]


def test_action_event_fires_and_does_no_more() -> None:
    model = running(replace(ARMED, watchdog_action=WatchdogAction.EVENT))
    model.advance(1_000_000)
    assert _events(model) == [("watchdog_fired", 200_000), ("lease_lost", 200_000)]
    assert not model.guard.fenced
    assert model.slots.due() == []


@pytest.mark.parametrize("changes", [{}, {"watchdog_armed": False, "fence": (Fenced(bytes(16)),)}])
def test_a_monitor_has_no_fence(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="monitor has no"):
        replace(ARMED, ports=1, **changes)


def _kicked(model: Model, to_us: int) -> None:
    for at in range(model.now_us, to_us, 100_000):
        model.kick(at)
    model.advance(to_us)


@pytest.mark.parametrize(("down_us", "fires"), [(999_999, False), (1_000_000, True)])
def test_the_host_port_down_for_longer_than_the_grace_fires(down_us: int, fires: bool) -> None:
    model = running(ARMED)
    model.link(Port.HOST, False, 50)
    _kicked(model, 50 + down_us)
    model.link(Port.HOST, True, 50 + down_us)
    _kicked(model, 3_000_000)
    assert (("watchdog_fired", 1_000_050) in _events(model)) is fires


def test_the_network_port_down_fires_nothing_and_is_mirrored() -> None:
    model = running(ARMED)
    assert model.guard.host_link_shown
    model.link(Port.NETWORK, False, 50)
    model.link(Port.NETWORK, False, 51)
    _kicked(model, 3_000_000)
    assert _events(model) == [("link", 50)]
    assert not model.guard.host_link_shown
    model.write(3_000_000, link_mirror=False)
    assert model.guard.host_link_shown


def test_arming_late_fires_at_once_for_the_link_and_never_for_the_lease() -> None:
    model = Model(replace(ARMED, watchdog_armed=False))
    model.link(Port.HOST, False, 0)
    model.advance(1_500_000)
    model.write(1_500_000, watchdog_armed=True)
    assert ("watchdog_fired", 1_500_000) in _events(model)
    unleased = Model(ARMED)
    unleased.advance(1_500_000)
    assert _events(unleased) == []


def test_unfencing_arms_nothing_and_arming_again_does() -> None:
    model = running(ARMED)
    model.advance(300_000)
    model.unfence(300_000)
    assert (model.guard.fired, model.guard.fenced) == (False, False)
    model.kick(300_000)
    model.advance(600_000)
    assert model.events.raised[EventKind.WATCHDOG_FIRED] == 1
    model.write(600_000, watchdog_armed=True)
    model.kick(600_000)
    model.advance(900_000)
    assert model.events.raised[EventKind.WATCHDOG_FIRED] == 1, "it was never disarmed"
    model.write(900_000, watchdog_armed=False)
    model.write(900_000, watchdog_armed=True)
    model.kick(900_000)
    model.advance(1_200_000)
    assert model.events.raised[EventKind.WATCHDOG_FIRED] == 2


def test_unfencing_before_the_fence_closes_keeps_it_open() -> None:
    model = running(ARMED)
    model.advance(201_000)
    model.unfence(201_000)
    model.advance(300_000)
    assert not model.guard.fenced
    assert [due.earliest_us for due in model.slots.due()] == [200_000, 201_000]


def _fenced() -> Model:
    fence = (Fenced(OWN), Fenced(HOME[:15] + b"\x55", own=True), Fenced(HOME, 120))
    model = running(replace(ARMED, fence=fence))
    model.advance(300_000)
    return model


ACTIVE = Draft(OWN, GROUP_ADDRESS, harp(0, GROUP, 1, golden.FLAG_ACTIVE))
NEIGHBOR = bytes((0x60,)) + bytes(3)


def _advertisement(target: bytes, kind: int = 136) -> Draft:
    return Draft(OWN, GROUP_ADDRESS, bytes((kind, 0, 0, 0)) + NEIGHBOR + target, last=58)


CHAIN = (options_header(pad_n(6)),)


@pytest.mark.parametrize(
    ("draft", "blocked"),
    [
        (ACTIVE, True),
        (replace(ACTIVE, tags=(5,)), True),
        (replace(ACTIVE, tags=(9, 5), chain=CHAIN), True),
        (replace(ACTIVE, payload=harp(2, GROUP, 1, 0xFF)), True),
        (replace(ACTIVE, sum_error=1, hop_limit=1), True),
        (replace(ACTIVE, payload=harp(0, GROUP, 1, 0x7F)), False),
        (replace(ACTIVE, payload=ACTIVE.payload[:2] + b"\x0d" + ACTIVE.payload[3:]), False),
        (replace(ACTIVE, payload=ACTIVE.payload[:11]), False),
        (replace(ACTIVE, payload=ACTIVE.payload[:12]), True),
        (replace(ACTIVE, version=4), True),
        (replace(ACTIVE, chain=CHAIN * 9), True),
        (replace(ACTIVE, ethertype=0x0800), False),
        (replace(ACTIVE, last=50), False),
        (_advertisement(OWN), True),
        (replace(_advertisement(OWN), tags=(9, 5)), True),
        (_advertisement(HOME[:15] + b"\x77"), True),
        (_advertisement(HOME[:15] + b"\x55"), False),
        (_advertisement(HOME[:14] + b"\x02\x00"), False),
        (_advertisement(STRANGER), False),
        (_advertisement(OWN, 135), False),
        (_advertisement(OWN[:15]), False),
    ],
)
def test_what_the_fence_drops(draft: Draft, blocked: bool) -> None:
    want = (Outcome.DROP, Egress.NOTHING) if blocked else (Outcome.PASS, Egress.WHOLE)
    open_, fenced = running(), _fenced()
    judgement = send(fenced, draft, 300_000, Port.HOST)
    assert (judgement.outcome, judgement.egress, judgement.reason) == (*want, None)
    assert fenced.counters.snapshot()["fenced"] == blocked
    assert send(open_, draft, 1, Port.HOST).outcome is Outcome.PASS


def test_fragments_and_bad_frames_of_the_host_pass_the_fence() -> None:
    from_host: list[Judgement] = []
    for kind, octets in (
        (44, bytes((0, 0, 0, 1)) + bytes(4)),
        (44, bytes((0, 0, 0, 9)) + bytes(4)),
        (51, bytes((0, 1)) + bytes(10)),
    ):
        piece = replace(options_header(bytes(6)), kind=kind, octets=octets)
        draft = replace(ACTIVE, chain=(piece,))
        from_host.append(send(_fenced(), draft, 300_000, Port.HOST))
    assert {judgement.egress for judgement in from_host} == {Egress.WHOLE}
    bad = send(_fenced(), replace(ACTIVE, fcs_ok=False), 300_000, Port.HOST)
    assert (bad.outcome, bad.egress) == (Outcome.PASS, Egress.CUT)


def test_the_network_side_is_a_plain_wire_while_fenced_without_lease() -> None:
    assert send(_fenced(), replace(BINDING_UPDATE, sum_error=1), 300_000).outcome is Outcome.PASS


def test_wrong_fence_entries_are_refused() -> None:
    for wrong in (lambda: Fenced(b""), lambda: Fenced(OWN, 0), lambda: Fenced(OWN, 129)):
        with pytest.raises(ValueError, match=r"16 octets|prefix_len"):
            wrong()
    with pytest.raises(ValueError, match="fence"):
        Config(fence=(Fenced(OWN),) * 9)


# -- slots ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequence", [1, 2, 255, 256, 0x8000, 0xFFFE, 0xFFFF])
@pytest.mark.parametrize("preference", [0, 100, 0x3A51, 0xFFFF])
def test_a_patched_frame_has_its_sequence_and_a_right_checksum(
    sequence: int, preference: int
) -> None:
    draft = Draft(OWN, GROUP_ADDRESS, harp(0, GROUP, 0, preference=preference), size=0)
    frame = patched(replace(SLOT, template=draft.octets()[:-4]), sequence)
    mh = frame[54:]
    assert mh[8:10] == sequence.to_bytes(2, "big")
    assert checksum_good(OWN, GROUP_ADDRESS, mh)
    assert frame[:58] == draft.octets()[:58]


def test_unpatched_parts_stay() -> None:
    plain = replace(SLOT, patch_sequence=False, patch_checksum=False)
    assert patched(plain, 77) == TEMPLATE
    only = patched(replace(SLOT, patch_checksum=False), 77)
    assert only[62:64] == bytes((0, 77))
    assert only[58:60] == TEMPLATE[58:60]


def test_the_sequence_skips_0() -> None:
    assert [step(0), step(1), step(0xFFFE), step(0xFFFF)] == [1, 2, 0xFFFF, 1]


def _run(model: Model, times: list[int]) -> list[int | None]:
    """Sequence # of what the model accepts as sent at these times."""
    sent: list[int | None] = []
    for at in times:
        expected = [due for due in model.slots.due() if due.slot == 0]
        due = model.slot_sent(expected[0].octets, at) if expected else None
        sent.append(int.from_bytes(due.octets[62:64], "big") if due else None)
    return sent


def test_a_slot_runs_with_the_lease_and_counts() -> None:
    model = Model(Config(slots=_slots(SLOT)))
    assert model.slots.due() == []
    assert model.kick(0) == (0,) * 8
    assert _run(model, [0, 1000, 2000]) == [1, 2, 3]
    assert model.kick(3000) == (3, *(0,) * 7)


@pytest.mark.parametrize(("at", "due"), [(899, False), (900, True), (1000, True), (1001, False)])
def test_jitter_is_a_window_before_the_period(at: int, due: bool) -> None:
    model = running(Config(slots=_slots(replace(SLOT, jitter_percent=10))))
    assert _run(model, [0]) == [1]
    assert (_run(model, [at]) == [2]) is due


def test_a_frame_on_the_wire_may_hold_a_slot_up() -> None:
    model = running(Config(slots=_slots(SLOT)))
    assert _run(model, [0]) == [1]
    octets = model.slots.due()[0].octets
    assert model.slot_sent(octets, 1006, delay_us=5) is None
    assert model.slot_sent(octets, 1006, delay_us=6) is not None


def test_periods_count_from_the_due_times_so_that_delays_do_not_add_up() -> None:
    model = running(Config(slots=_slots(SLOT)))
    for sent in range(3):
        octets = patched(SLOT, sent + 1)
        assert model.slot_sent(octets, 1000 * sent + 40, delay_us=50) is not None
    (due,) = model.slots.due()
    assert (due.earliest_us, due.latest_us) == (3000, 3001)


def test_what_is_known_of_a_due_time_follows_from_the_sending() -> None:
    model = running(Config(slots=_slots(replace(SLOT, jitter_percent=10))))
    model.slot_sent(patched(SLOT, 1), 0)
    assert model.slot_sent(patched(SLOT, 2), 960, delay_us=5) is not None
    (due,) = model.slots.due()
    assert (due.earliest_us, due.latest_us) == (955 + 900, 960 + 1000)


def test_a_wrong_frame_or_none_owed_is_seen() -> None:
    model = running(Config(slots=_slots(SLOT)))
    assert model.slot_sent(TEMPLATE, 0) is None
    assert Model().slot_sent(patched(SLOT, 1), 0) is None


def test_the_end_of_the_lease_stops_slots_and_a_kick_starts_them_anew() -> None:
    model = running(Config(slots=_slots(SLOT)))
    assert _run(model, [0, 1000]) == [1, 2]
    model.advance(200_000)
    assert model.slots.due() == []
    model.kick(300_000)
    (due,) = model.slots.due()
    assert (due.earliest_us, due.latest_us) == (300_000, 300_001)
    assert _run(model, [300_001]) == [3]


def test_a_rewritten_slot_starts_anew_and_others_do_not() -> None:
    model = running(Config(slots=_slots(SLOT, SLOT)))
    model.slot_sent(patched(SLOT, 1), 0)
    model.write(600, slots=_slots(replace(SLOT, period_us=2000), SLOT))
    windows = [(due.slot, due.earliest_us, due.latest_us) for due in model.slots.due()]
    assert windows == [(0, 600, 601), (1, 0, 1)]


def test_resigns_go_on_with_the_hellos_sequence_in_order() -> None:
    model = running(ARMED)
    for at in range(0, 200_000, 1000):
        assert model.slot_sent(model.slots.due()[0].octets, at) is not None
    model.advance(202_000)
    owed = model.slots.due()
    assert [int.from_bytes(due.octets[62:64], "big") for due in owed] == [201, 202, 203]
    assert model.slot_sent(owed[1].octets, 202_000, delay_us=2000) is None
    sent = [model.slot_sent(due.octets, 202_000, delay_us=2000) for due in owed]
    assert sent == owed
    assert model.slots.due() == []
    assert model.kick(300_000)[0] == 203
    assert model.slots.due() == []


def test_after_the_watchdog_slots_run_only_when_unfenced() -> None:
    model = running(ARMED)
    model.advance(300_000)
    model.kick(300_000)
    other = replace(SLOT, period_us=2000)
    model.write(300_000, slots=_slots(other, None, RESIGN))
    assert {due.slot for due in model.slots.due()} == {2}
    model.unfence(300_000)
    assert {due.slot for due in model.slots.due()} == {0, 2}


@pytest.mark.parametrize(
    "changes",
    [
        {"template": bytes(257)},
        {"period_us": 99},
        {"jitter_percent": 11},
        {"mh_offset": 70},
        {"mh_offset": 56},
        {"sequence_slot": 8},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_wrong_slot_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"template|period_us|jitter|mh_offset|sequence_slot"):
        replace(SLOT, **changes)
