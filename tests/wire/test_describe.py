"""Messages as JSON values: every option class and message has its words.

Ref: tests/vectors/README.md
"""

import json

import pytest
from hypothesis import given

from harp.tables.harp_types import HarpType
from harp.tables.reasons import Reason
from harp.wire import messages as msg
from harp.wire.bindings import bindings, outside_bindings
from harp.wire.describe import describe

from . import strategies as some
from .bytes_by_hand import CARE_OF, HOME, A

PREFIX = bytes.fromhex("20010db80100") + bytes(10)
BINDING = msg.BindingCache(HOME, CARE_OF, 0xC000, 12, 600)
SHOWN = {
    "home_address": "2001:db8:1::100", "care_of_address": "2001:db8:f::100",
    "flags": 49152, "seq": 12, "lifetime_s": 600, "prefixes": [],
}  # fmt: skip
LISTED: tuple[tuple[msg.Option, dict[str, object]], ...] = (
    (msg.IpAddress(msg.AddressKind.HOME, HOME), {"home_address": "2001:db8:1::100"}),
    (msg.IpAddress(msg.AddressKind.HOME_AGENT, A), {"home_agent_address": "2001:db8:1::a"}),
    (msg.IpAddress(msg.AddressKind.CARE_OF, CARE_OF), {"care_of_address": "2001:db8:f::100"}),
    (msg.AlternateCareOf(CARE_OF), {"alternate_care_of_address": "2001:db8:f::100"}),
    (msg.MobileNetworkPrefix(48, PREFIX), {"prefix": "2001:db8:100::/48"}),
    (msg.RestartCounter(5), {"restart_counter": 5}),
    (msg.Detection(3300, 3), {"detection": [3300, 3]}),
    (msg.CacheDigest(1000, 0x0123456789ABCDEF), {"digest": [1000, "0123456789abcdef"]}),
    (msg.SyncPosition(3, 70000), {"sync_position": [3, 70000]}),
    (msg.Configuration(bytes.fromhex("fedcba9876543210")), {"configuration": "fedcba9876543210"}),
    (msg.BindingIdentifier(3), {"bid": 3}),
    (msg.Aaa(bytes.fromhex("0000010c40")), {"aaa": "0000010c40"}),
    (msg.Vendor(10415, 7, b"\1\2"), {"vendor": [10415, 7, "0102"]}),
    (msg.RefreshAdvice(60), {"refresh_advice_s": 60}),
)
OTHER: tuple[tuple[msg.Option, dict[str, object]], ...] = (
    (msg.Authentication(241, 256, b"\xab"), {"authentication": [241, 256, "ab"]}),
    (msg.ReplayProtection(1), {"timestamp": "0000000000000001"}),
    (msg.NonceIndices(1, 2), {"nonce_indices": [1, 2]}),
    (msg.BindingAuthData(b"\1"), {"authenticator": "01"}),
    (msg.LinkLayerAddress(2, b"\1"), {"link_layer_address": [2, "01"]}),
    (msg.MnIdentifier(1, b"a"), {"mn_identifier": [1, "61"]}),
    (msg.UnknownOption(99, b"\1"), {"unknown": [99, "01"]}),
    (BINDING, {"binding": SHOWN}),
)


@pytest.mark.parametrize(("option", "shown"), LISTED, ids=lambda x: "")
def test_listed_options(option: msg.Option, shown: dict[str, object]) -> None:
    described = describe(msg.BindingRefreshRequest((option, option)))
    assert described["options"] == [shown, shown]
    assert "other_options" not in described


@pytest.mark.parametrize(("option", "shown"), OTHER, ids=lambda x: "")
def test_other_options(option: msg.Option, shown: dict[str, object]) -> None:
    described = describe(msg.Harp(HarpType.HELLO, 1, 1, options=(option,)))
    assert described["options"] == [] and described["other_options"] == [shown]


MESSAGES: tuple[tuple[msg.Message | msg.Malformed, dict[str, object]], ...] = (
    (
        msg.Malformed(Reason.BAD_OPTION, "why"),
        {"valid": False, "reason": "bad_option", "detail": "why"},
    ),
    (
        msg.Harp(HarpType.REKEY, 1, 2, 3, 0xFC, 4, 5, 6, 7),
        {
            "type": "HA-REKEY", "group": 1, "seq": 2, "status": 3,
            "flags": ["A", "R", "V", "M", "S", "D"],
            "preference": 4, "lifetime": 5, "interval_ms": 6, "index": 7, "options": [],
        },
    ),
    (
        msg.BindingUpdate(1, 0xC000, 600),
        {"type": "Binding Update", "seq": 1, "flags": 49152, "lifetime_s": 600, "options": []},
    ),
    (
        msg.BindingAcknowledgement(128, 1, 600, 0x40),
        {
            "type": "Binding Acknowledgement", "status": 128, "flags": 64, "seq": 1,
            "lifetime_s": 600, "options": [],
        },
    ),
    (
        msg.BindingError(2, HOME),
        {
            "type": "Binding Error", "status": 2, "home_address": "2001:db8:1::100",
            "options": [],
        },
    ),
    (msg.BindingRefreshRequest(), {"type": "Binding Refresh Request", "options": []}),
    (
        msg.HomeAgentSwitch((A,)),
        {"type": "Home Agent Switch", "addresses": ["2001:db8:1::a"], "options": []},
    ),
    (
        msg.Heartbeat(9, 3),
        {"type": "Heartbeat", "response": True, "unsolicited": True, "seq": 9, "options": []},
    ),
    (
        msg.Heartbeat(9, 0),
        {"type": "Heartbeat", "response": False, "unsolicited": False, "seq": 9, "options": []},
    ),
    (msg.OtherMobility(1, b"\0\1"), {"type": "Home Test Init", "data": "0001"}),
)  # fmt: skip


@pytest.mark.parametrize(("message", "shown"), MESSAGES, ids=lambda x: "")
def test_messages(message: msg.Message | msg.Malformed, shown: dict[str, object]) -> None:
    assert describe(message) == {"valid": True} | shown


def test_flag_letters_stand_in_their_order() -> None:
    letters = {0x80: "A", 0x40: "R", 0x20: "V", 0x10: "M", 0x08: "S", 0x04: "D", 0x02: "", 0x01: ""}
    for flags in range(256):
        want = [name for bit, name in letters.items() if flags & bit and name]
        assert describe(msg.Harp(HarpType.HELLO, 1, 1, flags=flags))["flags"] == want


def test_home_registration_flag() -> None:
    assert msg.BindingUpdate(1, 0x4000, 4).home_registration
    assert not msg.BindingUpdate(1, 0xBFFF, 4).home_registration


# --- the bindings of an SS-REP --------------------------------------------------------------------

POSITION, STAMP = msg.SyncPosition(1, 2), msg.ReplayProtection(9)
AUTH, PREFIX_OPTION = msg.Authentication(241, 256, bytes(16)), msg.MobileNetworkPrefix(48, PREFIX)
OPTIONS = (
    *(PREFIX_OPTION, POSITION, BINDING, PREFIX_OPTION, PREFIX_OPTION, msg.BindingIdentifier(3)),
    *(BINDING, STAMP, msg.Aaa(b"a"), msg.UnknownOption(99, b"")),
    *(BINDING, AUTH),
)


def test_each_binding_has_what_follows_it() -> None:
    """harp.md §2.2; "never 9, 10"."""
    assert list(bindings(OPTIONS)) == [
        (BINDING, (PREFIX_OPTION, PREFIX_OPTION, msg.BindingIdentifier(3))),
        (BINDING, (msg.Aaa(b"a"), msg.UnknownOption(99, b""))),
        (BINDING, ()),
    ]
    assert outside_bindings(OPTIONS) == (PREFIX_OPTION, POSITION, STAMP, AUTH)
    assert list(bindings((POSITION, PREFIX_OPTION))) == []


def test_an_answer_shows_its_bindings() -> None:
    described = describe(msg.Harp(HarpType.SS_REP, 1, 1, index=1, options=OPTIONS))
    prefix = "2001:db8:100::/48"
    assert described["bindings"] == [
        SHOWN | {"prefixes": [prefix, prefix], "bid": 3},
        SHOWN | {"aaa": "61", "other_options": [{"unknown": [99, ""]}]},
        SHOWN,
    ]
    # tests/vectors/README.md: `options` lists all "without ... (in SS-REP) binding options"
    assert described["options"] == [{"sync_position": [1, 2]}]
    assert [next(iter(one)) for one in described["other_options"]] == [
        "prefix",
        "timestamp",
        "authentication",
    ]


def test_no_option_of_a_binding_is_lost() -> None:
    """The keys of a binding hold one vendor option, the last; the others stand beside them."""
    vendors = tuple(msg.Vendor(10415, kind, b"") for kind in (1, 2, 3))
    message = msg.Harp(HarpType.SS_REP, 1, 1, options=(POSITION, BINDING, *vendors))
    (shown,) = describe(message)["bindings"]
    assert shown["vendor"] == [10415, 3, ""]
    assert shown["other_options"] == [{"vendor": [10415, 1, ""]}, {"vendor": [10415, 2, ""]}]


@some.RUN
@given(some.message)
def test_every_message_becomes_json(message: msg.Message) -> None:
    described = describe(message)
    assert described["valid"] is True
    assert json.loads(json.dumps(described)) == described
