"""Layer 2, the fixed header and the walk: every boundary of offload.md §1 and §2."""

from dataclasses import replace

import pytest

from harp.tables.reasons import Reason
from harp_sim.build import (
    Extension,
    authentication,
    fragment,
    home_address,
    options_header,
    pad_n,
    padding_header,
    routing,
)
from harp_sim.frames import covered_addresses
from harp_sim.model import golden
from harp_sim.model.config import Config, Port
from harp_sim.model.frame import parse_link, parse_packet
from harp_sim.model.model import Egress
from harp_sim.model.walk import only_padding

from .kit import BINDING_UPDATE, FILTERING, HOME, OWN, STRANGER, reason, running, send

MOBILITY, NOT_IPV6, BAD_IPV6 = Reason.MOBILITY, Reason.NOT_IPV6, Reason.BAD_IPV6


def _frame(*tags: tuple[int, int], ethertype: int = 0x86DD) -> bytes:
    octets = bytes(12)
    for tpid, control in tags:
        octets += tpid.to_bytes(2, "big") + control.to_bytes(2, "big")
    return octets + ethertype.to_bytes(2, "big") + bytes(80)


@pytest.mark.parametrize(
    ("octets", "link"),
    [
        (_frame(), (0, 0, 0x86DD, 14)),
        (_frame((0x8100, 0xF005)), (1, 5, 0x86DD, 18)),
        (_frame((0x88A8, 9)), (1, 9, 0x86DD, 18)),
        (_frame((0x88A8, 9), (0x8100, 5)), (2, 5, 0x86DD, 22)),
        (_frame((0x8100, 9), (0x8100, 0)), (2, 0, 0x86DD, 22)),
        (_frame((0x8100, 1), (0x8100, 2), (0x8100, 3)), (2, 2, 0x8100, 22)),
        (_frame(ethertype=0x05FF), (0, 0, 0x05FF, 14)),
        (bytes(3), (0, 0, 0, 14)),
    ],
)
def test_link(octets: bytes, link: tuple[int, ...]) -> None:
    assert parse_link(octets) == link


@pytest.mark.parametrize("ethertype", [0x0800, 0x0806, 0x05FF, 0x86DC, 0x9100])
def test_other_ethertypes_are_not_ipv6(ethertype: int) -> None:
    assert reason(replace(BINDING_UPDATE, ethertype=ethertype)) is NOT_IPV6


@pytest.mark.parametrize("version", [0, 4, 5, 7, 15])
def test_version(version: int) -> None:
    assert reason(replace(BINDING_UPDATE, version=version)) is BAD_IPV6


def test_payload_ends_with_the_frame_s_data_not_with_its_fcs() -> None:
    exact = replace(BINDING_UPDATE, size=0, payload=bytes.fromhex("3b0105") + bytes(13))
    assert len(exact.octets()) == 14 + 40 + 16 + 4
    assert reason(exact) is MOBILITY
    for extra in (1, 4):
        assert reason(replace(exact, length_error=extra)) is BAD_IPV6


def test_a_fixed_header_past_a_minimum_frame_is_bad() -> None:
    draft = replace(BINDING_UPDATE, payload=b"", last=59, tags=(1, 2), size=0)
    octets = draft.octets()
    assert len(octets) == 22 + 40 + 4
    assert parse_packet(octets, parse_link(octets)) is not BAD_IPV6
    short = octets[:-5] + octets[-4:]
    assert parse_packet(short, parse_link(short)) is BAD_IPV6


def test_padding_behind_the_payload_is_not_judged_and_leaves_untouched() -> None:
    for size in range(64, 90):
        draft = replace(BINDING_UPDATE, size=size)
        octets = draft.octets()[:-4].ljust(size - 4, b"\xff") + b"fcs!"
        judgement = running().frame(Port.NETWORK, octets, 1)
        assert (judgement.reason, judgement.egress) == (MOBILITY, Egress.WHOLE)


@pytest.mark.parametrize(
    ("last", "want"),
    [
        (135, Reason.TRUNCATED),
        (0, Reason.BAD_CHAIN),
        (60, Reason.BAD_CHAIN),
        (59, Reason.NOT_MOBILITY),
        (6, Reason.NOT_MOBILITY),
    ],
)
def test_payload_length_0_is_no_payload(last: int, want: Reason) -> None:
    draft = replace(BINDING_UPDATE, last=last, length_error=-16)
    assert reason(draft) is want


@pytest.mark.parametrize(
    ("size", "want"),
    [
        (60, Reason.BAD_FRAME),
        (63, Reason.BAD_FRAME),
        (64, Reason.NOT_MOBILITY),
        (9216, Reason.NOT_MOBILITY),
        (9217, Reason.BAD_FRAME),
    ],
)
def test_frame_sizes(size: int, want: Reason) -> None:
    draft = replace(BINDING_UPDATE, payload=b"", last=59, size=size, cut=size)
    assert len(draft.octets()) == size
    assert reason(draft) is want


@pytest.mark.parametrize("fault", [{"fcs_ok": False}, {"rx_er": True}])
def test_mac_errors(fault: dict[str, bool]) -> None:
    assert reason(replace(BINDING_UPDATE, **fault)) is Reason.BAD_FRAME


# -- the chain ------------------------------------------------------------------------------------

EIGHT = padding_header(8)


@pytest.mark.parametrize(
    "header",
    [
        padding_header(8, golden.NEXT_HOP_BY_HOP),
        options_header(bytes((5, 2, 0, 0, 1, 0)), golden.NEXT_HOP_BY_HOP),
        EIGHT,
        padding_header(256),
        routing(0, 0, HOME),
        routing(2, 0, HOME),
        fragment(0, False),
        authentication(0),
        authentication(4),
        authentication(62),
    ],
)
def test_each_header_is_walked_over(header: Extension) -> None:
    assert reason(replace(BINDING_UPDATE, chain=(header,))) is MOBILITY


@pytest.mark.parametrize(
    ("chain", "want"),
    [
        ((EIGHT,) * 8, MOBILITY),
        ((EIGHT,) * 9, Reason.CHAIN_TOO_LONG),
        ((padding_header(32),) * 8, MOBILITY),
        ((*(padding_header(32),) * 7, padding_header(40)), Reason.CHAIN_TOO_LONG),
        ((padding_header(256),), MOBILITY),
        ((padding_header(256), EIGHT), Reason.CHAIN_TOO_LONG),
        ((EIGHT, padding_header(248)), MOBILITY),
        ((padding_header(248), EIGHT), MOBILITY),
        ((EIGHT, padding_header(256)), Reason.CHAIN_TOO_LONG),
        ((authentication(1, 16),), Reason.BAD_CHAIN),
        ((authentication(61, 256),), Reason.BAD_CHAIN),
        ((authentication(63, 264),), Reason.CHAIN_TOO_LONG),
        ((Extension(60, bytes((0, 3)) + bytes(6)),), Reason.BAD_CHAIN),
        ((Extension(60, bytes((0, 2)) + bytes(6)),), Reason.TRUNCATED),
        ((Extension(60, bytes((0, 32)) + bytes(6)),), Reason.CHAIN_TOO_LONG),
        ((EIGHT, Extension(43, bytes((0, 31)) + bytes(6))), Reason.CHAIN_TOO_LONG),
    ],
)
def test_limits_of_the_chain(chain: tuple[Extension, ...], want: Reason) -> None:
    assert reason(replace(BINDING_UPDATE, chain=chain)) is want


@pytest.mark.parametrize("left", range(9))
def test_a_header_of_which_less_than_8_octets_are_left_is_a_bad_chain(left: int) -> None:
    draft = replace(BINDING_UPDATE, last=60, payload=bytes((59, 0, 1, 4, 0, 0, 0, 0))[:left])
    want = Reason.NOT_MOBILITY if left == 8 else Reason.BAD_CHAIN
    assert reason(draft) is want


def test_behind_the_limits_a_header_is_too_much_before_it_is_missing() -> None:
    nothing_left = replace(BINDING_UPDATE, payload=b"", last=60)
    assert reason(replace(nothing_left, chain=(EIGHT,) * 8)) is Reason.CHAIN_TOO_LONG
    assert reason(replace(nothing_left, chain=(EIGHT,) * 7)) is Reason.BAD_CHAIN
    assert reason(replace(nothing_left, chain=(padding_header(256),))) is Reason.CHAIN_TOO_LONG


@pytest.mark.parametrize("last", [50, 6, 17, 58, 59, 255, 134, 136])
def test_anything_else_at_the_end_is_not_mobility(last: int) -> None:
    assert reason(replace(BINDING_UPDATE, chain=(EIGHT,), last=last)) is Reason.NOT_MOBILITY


@pytest.mark.parametrize(
    ("chain", "last", "want"),
    [
        ((fragment(0, True),), 135, Reason.FRAGMENTED),
        ((fragment(0, True), EIGHT), 135, Reason.FRAGMENTED),
        ((EIGHT, fragment(0, True)), 135, Reason.FRAGMENTED),
        ((fragment(0, True),), 6, Reason.NOT_MOBILITY),
        ((fragment(1, False),), 135, Reason.FRAGMENTED),
        ((fragment(8191, True),), 135, Reason.FRAGMENTED),
        ((fragment(1, True), EIGHT), 135, Reason.NOT_MOBILITY),
        ((fragment(1, False),), 6, Reason.NOT_MOBILITY),
        ((fragment(0, False),), 135, MOBILITY),
        ((fragment(0, True), fragment(0, False)), 135, Reason.FRAGMENTED),
        ((fragment(0, True), authentication(1, 16)), 135, Reason.BAD_CHAIN),
        ((fragment(1, True), authentication(1, 16)), 135, Reason.NOT_MOBILITY),
        ((fragment(0, True), *(EIGHT,) * 8), 135, Reason.CHAIN_TOO_LONG),
    ],
)
def test_fragments(chain: tuple[Extension, ...], last: int, want: Reason) -> None:
    assert reason(replace(BINDING_UPDATE, chain=chain, last=last)) is want


def test_reserved_bits_of_a_fragment_header_mean_nothing() -> None:
    odd = Extension(44, bytes((0, 0xFF, 0, 6)) + bytes(4))
    assert reason(replace(BINDING_UPDATE, chain=(odd,))) is MOBILITY


# -- what the chain means for the checksum --------------------------------------------------------


@pytest.mark.parametrize(
    "chain",
    [
        (home_address(HOME),),
        (routing(2, 1, OWN),),
        (home_address(HOME), routing(2, 1, OWN)),
        (routing(2, 1, OWN), EIGHT, home_address(HOME), authentication(4)),
    ],
)
def test_addresses_in_the_chain_are_the_checksum_s(chain: tuple[Extension, ...]) -> None:
    outer = replace(BINDING_UPDATE, source=STRANGER, destination=HOME, chain=chain)
    assert reason(covered_addresses(outer)) is MOBILITY
    assert reason(outer) is Reason.BAD_CHECKSUM


def test_a_type_2_routing_header_without_segments_left_is_no_destination() -> None:
    outer = replace(BINDING_UPDATE, chain=(routing(2, 0, STRANGER),))
    assert reason(outer) is MOBILITY
    assert reason(replace(outer, sum_destination=STRANGER)) is Reason.BAD_CHECKSUM


HOME_OPTION = bytes((golden.OPTION_HOME_ADDRESS, 16)) + HOME


@pytest.mark.parametrize(
    "header",
    [
        options_header(bytes((0x1E, 4, 0, 0, 0, 0))),
        options_header(HOME_OPTION + pad_n(4)),
        options_header(bytes(4) + HOME_OPTION),
        options_header(pad_n(3) + b"\0" + HOME_OPTION),
        options_header(pad_n(4) + HOME_OPTION + pad_n(8)),
        options_header(pad_n(4) + bytes((golden.OPTION_HOME_ADDRESS, 15)) + HOME),
        options_header(bytes((golden.OPTION_PADN, 5)) + bytes(4)),
        options_header(bytes(5) + bytes((golden.OPTION_PADN,))),
        routing(0, 1, HOME),
        routing(2, 2, HOME),
        routing(2, 1, HOME, OWN),
        routing(4, 1),
        routing(3, 255, HOME),
    ],
)
def test_what_cannot_be_judged_is_unchecked(header: Extension) -> None:
    for draft in (BINDING_UPDATE, replace(BINDING_UPDATE, sum_error=1)):
        assert reason(replace(draft, chain=(header,))) is Reason.UNCHECKED
        assert reason(replace(draft, chain=(header,), last=6)) is Reason.NOT_MOBILITY


@pytest.mark.parametrize("twice", [home_address(HOME), routing(2, 1, OWN)])
def test_two_addresses_for_one_end_are_unchecked(twice: Extension) -> None:
    assert reason(replace(BINDING_UPDATE, chain=(twice, twice))) is Reason.UNCHECKED


@pytest.mark.parametrize(
    ("options", "padding"),
    [
        (bytes(6), False),
        (pad_n(6), True),
        (pad_n(14), True),
        (pad_n(254), True),
        (bytes((1, 0)) * 3, False),
        (b"\0" + pad_n(5), False),
        (pad_n(6) + pad_n(8), False),
        (pad_n(2) + b"\x05\x00" + bytes(2), False),
        (bytes((1, 4, 9, 9, 9, 9)), True),
        (bytes((1, 3, 9, 9, 9, 1)), False),
        (bytes((1, 5, 0, 0, 0, 0)), False),
    ],
)
def test_only_padding_is_one_padn(options: bytes, padding: bool) -> None:
    assert only_padding(bytes(2) + options) is padding


def test_options_of_a_hop_by_hop_header_are_nobody_s_business() -> None:
    header = options_header(pad_n(4) + HOME_OPTION, golden.NEXT_HOP_BY_HOP)
    assert reason(replace(BINDING_UPDATE, chain=(header,))) is MOBILITY


# -- transit --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("destination", "local", "want"),
    [
        (OWN, (), MOBILITY),
        (OWN, (OWN,), MOBILITY),
        (OWN, (STRANGER,), Reason.NOT_MOBILITY),
        (OWN, (*(bytes((n,)) * 16 for n in range(15)), OWN), MOBILITY),
        (b"\xff" + OWN[1:], (STRANGER,), MOBILITY),
        (b"\xfe" + OWN[1:], (STRANGER,), Reason.NOT_MOBILITY),
    ],
)
def test_transit(destination: bytes, local: tuple[bytes, ...], want: Reason) -> None:
    draft = replace(BINDING_UPDATE, destination=destination)
    config = Config(filter_enable=True, local=local)
    assert reason(draft, config) is want


def test_faults_of_an_mh_in_transit_are_not_looked_at_but_fragments_are() -> None:
    config = Config(filter_enable=True, local=(STRANGER,))
    assert reason(replace(BINDING_UPDATE, sum_error=1), config) is Reason.NOT_MOBILITY
    pieces = replace(BINDING_UPDATE, chain=(fragment(0, True),))
    assert reason(pieces, config) is Reason.FRAGMENTED


def test_bad_frames_change_nothing_and_leave_cut_or_not_at_all() -> None:
    plain = replace(BINDING_UPDATE, last=6)
    limited = replace(BINDING_UPDATE, chain=(EIGHT,) * 9)
    for draft, want in (
        (plain, Egress.CUT),
        (BINDING_UPDATE, Egress.NOTHING),
        (limited, Egress.NOTHING),
    ):
        model = running(FILTERING)
        for at in range(50):
            judgement = send(model, replace(draft, fcs_ok=False), at)
            assert (judgement.reason, judgement.outcome) == (Reason.BAD_FRAME, "drop")
            assert judgement.egress is want
        assert [event.kind for event in model.pending()] == ["reset"]
        assert send(model, limited, 50).outcome == "limited_pass"
