"""The stimuli and the coverage bins, with the model alone."""

import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import pytest

from harp.tables.reasons import Outcome, Reason
from harp_sim.build import Draft, authenticated, harp, padding_header
from harp_sim.coverage import BINS, REACHABLE, UNREACHABLE, Coverage
from harp_sim.frames import (
    GROUP,
    OWN,
    SIZES,
    Frames,
    Stimulus,
    arrivals,
    bench_config,
    chains,
    host_frames,
    peer_address,
)
from harp_sim.model.config import Port
from harp_sim.model.model import Egress, Judgement, Model

FRAMES = 20_000
PLAIN = 1500
"""Frames before the first kick: a plain wire."""


def _exercise(model: Model, seed: int) -> Iterator[tuple[Stimulus, Judgement]]:
    """The stream through the model: first plain, then with a lease, at last without a host."""
    for number, (at_us, stimulus) in enumerate(arrivals(Frames(seed).take(FRAMES))):
        if number >= PLAIN and number % 100 == 0:
            model.kick(at_us)
        frame = stimulus.octets, at_us, stimulus.fcs_ok, stimulus.rx_er
        yield stimulus, model.frame(stimulus.port, *frame)
    model.link(Port.NETWORK, False, model.now_us)
    model.write(model.now_us, watchdog_armed=True)
    model.advance(model.now_us + 300_000)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_reachable_bin_is_hit_within_20000_frames(seed: int) -> None:
    coverage = Coverage()
    model = Model(bench_config())
    for stimulus, judgement in _exercise(model, seed):
        coverage.judged(judgement, len(stimulus.octets))
    for kind, times in model.events.raised.items():
        coverage.event(kind, times)
    assert coverage.missing() == []
    assert coverage.summary()["hit"] == len(REACHABLE)


def test_every_frame_counts_once_and_leaves_or_not() -> None:
    outcomes: dict[Outcome, int] = dict.fromkeys(Outcome, 0)
    whole = 0
    model = Model(bench_config())
    for _, judgement in _exercise(model, 4):
        outcomes[judgement.outcome] += 1
        whole += judgement.egress is Egress.WHOLE
    counters = model.counters.snapshot()
    assert {name: counters[f"outcome.{name}"] for name in outcomes} == outcomes
    assert sum(counters[f"reason.{reason}"] for reason in model.counters.reasons) == FRAMES
    assert counters["port.network.frames"] == FRAMES
    assert whole == outcomes[Outcome.PASS] + outcomes[Outcome.LIMITED_PASS]


def test_equal_seeds_give_equal_streams_and_others_do_not() -> None:
    first, again, other = (list(Frames(seed).take(500)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_the_stream_has_every_size_tag_depth_and_kind_of_peer() -> None:
    stimuli = list(Frames(5).take(FRAMES))
    assert {len(stimulus.octets) for stimulus in stimuli} >= set(SIZES)
    assert {stimulus.gap for stimulus in stimuli} >= {8, 12}
    assert min(stimulus.gap for stimulus in stimuli) == 8
    labels = {stimulus.label.split(" of peer ")[0] for stimulus in stimuli}
    assert len([label for label in labels if label.startswith("hello")]) == 14
    assert len([label for label in labels if label.startswith("faults")]) == 444


def test_the_fcs_is_right_unless_the_stimulus_says_otherwise() -> None:
    for stimulus in Frames(6).take(2000):
        right = zlib.crc32(stimulus.octets[:-4]) == int.from_bytes(stimulus.octets[-4:], "little")
        assert right is stimulus.fcs_ok


def test_chains_reach_the_limits_and_pass_them() -> None:
    every = list(chains())
    sizes = [(len(chain), sum(len(header.octets) for header in chain)) for chain in every]
    assert {count for count, _ in sizes} == {0, 1, 2, 7, 8, 9}
    assert {256, 264} <= {octets for _, octets in sizes}
    assert (8, 256) in sizes
    assert (8, 264) in sizes


def test_arrivals_count_gap_preamble_and_octets() -> None:
    frame = Stimulus("", bytes(64), gap=8)
    times = [at for at, _ in arrivals([frame] * 125, megabits=1000)]
    assert times[-1] == 125 * 80 * 8 // 1000
    assert [at for at, _ in arrivals([frame] * 125, megabits=10_000)][-1] == 8
    short = replace(frame, gap=0)
    assert [at for at, _ in arrivals([short] * 125)] == times


def test_host_frames_meet_the_fence() -> None:
    model = Model(replace(bench_config(), watchdog_armed=True))
    model.kick(0)
    model.advance(200_000)
    outcomes = {
        (stimulus.label.split()[1], model.frame(stimulus.port, stimulus.octets, 200_000).outcome)
        for stimulus in islice(host_frames(1), 500)
    }
    assert outcomes == {
        ("harp", Outcome.PASS),
        ("harp", Outcome.DROP),
        ("ICMPv6", Outcome.PASS),
        ("ICMPv6", Outcome.DROP),
        ("IPv4", Outcome.PASS),
    }


def test_bench_peers_have_an_address_each_but_for_two() -> None:
    found = [peer.source for peer in bench_config().peers if peer is not None]
    assert found == [peer_address(n) for n in (*range(30), 25, 28)]


# -- coverage -------------------------------------------------------------------------------------


def test_unreachable_bins_are_declared_with_a_reason() -> None:
    assert BINS >= UNREACHABLE.keys()
    assert {bin_[1] for bin_ in UNREACHABLE} == {Reason.AUTH}
    assert all(UNREACHABLE.values())


def test_a_bin_outside_the_declared_ones_is_an_error() -> None:
    coverage = Coverage()
    for parts in (("event", "tea"), ("verdict", "auth", "0", "0"), ("outcome", "drop", "absorb")):
        with pytest.raises(KeyError):
            coverage.hit(*parts)
    coverage.event("link", 0)
    assert coverage.summary()["hit"] == 0
    coverage.event("link")
    assert coverage.summary()["hit"] == 1


def test_frames_of_the_host_are_not_covered() -> None:
    coverage, model = Coverage(), Model()
    frame = Draft(OWN, OWN, b"", last=59).octets()
    coverage.judged(model.frame(Port.HOST, frame, 1), len(frame))
    assert coverage.hits == {}


# -- the parts they are built from ----------------------------------------------------------------


def test_a_signed_hello_is_padded_as_the_golden_one() -> None:
    mh = harp(0, GROUP, 21, options=authenticated(bytes(8), bytes(16)))
    assert len(mh) == 64
    assert mh[20:28] == bytes.fromhex("010400000000 0a08")
    assert mh[36:48] == bytes.fromhex("0103000000 0915f1 00000100")


def test_padding_headers_have_the_size_asked_for() -> None:
    for octets in range(8, 257, 8):
        header = padding_header(octets).octets
        assert len(header) == octets == 8 * (header[1] + 1)
