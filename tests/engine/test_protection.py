"""psk protection: signing, modes, timestamps (harp.md §7)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from harp.engine.config import AuthMode, Key, Protection, Security
from harp.engine.effects import SendPacket, WriteJournal
from harp.engine.journal import JournalCodec, TimestampKept
from harp.engine.protection import GUARD_TIMESTAMPS, Heard, Protector
from harp.tables.harp_types import HarpType
from harp.tables.reasons import Reason
from harp.wire.auth import ntp_from_unix_us, unix_us_from_ntp
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import (
    Authentication,
    Harp,
    MnIdentifier,
    ReplayProtection,
    RestartCounter,
)

from .group_net import FLAG_R, GROUP, MULTICAST, UNIX_US, S, address, config, hello, of

KEY, OTHER = Key(300, b"k" * 16), Key(301, b"o" * 16)


def protector(me: int = 0, *keys: Key, auth: AuthMode = AuthMode.ENFORCE, **more: Any) -> Protector:
    protection = Protection(Security.PSK, auth=auth, keys=keys or (KEY,), **more)
    return Protector(config(me, protection=protection), DEFAULT_CODEC, UNIX_US)


def heard(sender: Protector, message: Harp, now: int, destination: bytes = MULTICAST) -> Heard:
    """A message of member 1 as member 0 hears it."""
    (packet,) = of(SendPacket, sender.send(address(1), destination, "eth0", message, now))
    parsed = DEFAULT_CODEC.parse(packet.source, packet.destination, packet.payload)
    assert isinstance(parsed, Harp)
    return Heard(address(1), 0, address(1), destination, packet.payload, parsed)


def test_what_is_signed_is_accepted_once() -> None:
    sender, receiver = protector(1), protector(0)
    message = heard(sender, hello(), S)
    assert receiver.judge(message, S) is None
    again = receiver.judge(message, S)
    assert again is not None
    assert again.reason is Reason.REPLAY


def test_octets_behind_the_header_are_not_authenticated() -> None:
    sender, receiver = protector(1), protector(0)
    message = heard(sender, hello(), S)
    assert receiver.judge(message._replace(payload=message.payload + b"junk"), S) is None


@pytest.mark.parametrize("mode", [AuthMode.ENFORCE, AuthMode.PERMISSIVE])
def test_a_wrong_mac_is_always_refused(mode: AuthMode) -> None:
    sender = protector(1, Key(KEY.spi, b"x" * 16))
    judged = protector(0, auth=mode).judge(heard(sender, hello(), S), S)
    assert judged is not None
    assert judged.reason is Reason.AUTH


@pytest.mark.parametrize(
    ("sender_key", "counter"), [(OTHER, "auth_unknown_spi"), (None, "auth_absent")]
)
def test_modes_differ_about_what_they_cannot_verify(sender_key: Key | None, counter: str) -> None:
    if sender_key:
        message = heard(protector(1, sender_key), hello(), S)
    else:
        plain = Protector(config(1), DEFAULT_CODEC, UNIX_US)
        message = heard(plain, hello(options=(MnIdentifier(1, b"x"),)), S)
    strict, lax, blind = (
        protector(0, auth=mode) for mode in (AuthMode.ENFORCE, AuthMode.PERMISSIVE, AuthMode.SIGN)
    )
    judged = strict.judge(message, S)
    assert judged is not None
    assert judged.reason is Reason.AUTH
    assert lax.judge(message, S) is None
    assert lax.counters[counter] == 1
    assert blind.judge(message, S) is None
    assert not blind.counters


def test_an_option_of_another_subtype_is_no_signature() -> None:
    plain = Protector(config(1), DEFAULT_CODEC, UNIX_US)
    message = heard(plain, hello(options=(Authentication(1, 300, bytes(12)),)), S)
    judged = protector(0).judge(message, S)
    assert judged is not None
    assert judged.reason is Reason.AUTH


def test_several_keys_are_accepted_one_signs() -> None:
    receiver = protector(0, KEY, OTHER)
    assert receiver.judge(heard(protector(1, KEY), hello(), S), S) is None
    assert receiver.judge(heard(protector(1, OTHER), hello(), S), S) is None
    signing = protector(1, KEY, OTHER, signing_spi=301)
    assert protector(0, OTHER).judge(heard(signing, hello(), S), S) is None


def test_signed_without_timestamp_is_no_authentication() -> None:
    message = heard(protector(1), hello(), S)
    stripped = tuple(o for o in message.message.options if not isinstance(o, ReplayProtection))
    receiver = protector(0)
    bare = Harp(HarpType.HELLO, GROUP, 1, options=stripped)
    judged = receiver.judge(message._replace(message=bare), S)
    assert judged is not None
    assert (judged.reason, judged.detail) == (Reason.AUTH, "no timestamp")


def test_a_clock_outside_the_window_is_told_and_a_replay_of_it_too() -> None:
    sender, receiver = protector(1), protector(0)
    sender.clock_offset_us += 6 * S
    message = heard(sender, hello(), S)
    judged = receiver.judge(message, S)
    assert judged is not None
    assert judged.reason is Reason.CLOCK
    # It was newer than the last: so it is the last now, and no replay counts as a sign of life.
    again = receiver.judge(message, S)
    assert again is not None
    assert again.reason is Reason.REPLAY


def test_after_a_clock_that_ran_ahead_a_new_spi_starts_anew() -> None:
    sender, receiver = protector(1, KEY, OTHER), protector(0, KEY, OTHER)
    sender.clock_offset_us += 60 * S
    receiver.judge(heard(sender, hello(), S), S)
    fresh = protector(1, KEY, OTHER)
    judged = receiver.judge(heard(fresh, hello(), S), S)
    assert judged is not None
    assert judged.reason is Reason.REPLAY
    assert "a new SPI starts anew" in judged.detail
    rekeyed = protector(1, KEY, OTHER, signing_spi=301)
    assert receiver.judge(heard(rekeyed, hello(), S), S) is None


def test_timestamps_never_repeat_nor_go_back() -> None:
    sender = protector(1)
    stamps = []
    for now in (S, S, 2 * S):
        stamps.append(_stamp(heard(sender, hello(), now)))
    sender.clock_offset_us -= 100 * S
    stamps.append(_stamp(heard(sender, hello(), 3 * S)))
    assert all(later - stamp >= GUARD_TIMESTAMPS for stamp, later in pairwise(stamps))


def test_timestamps_are_promised_to_the_journal_and_kept_over_a_restart() -> None:
    sender = protector(1)
    first = sender.send(address(1), MULTICAST, "eth0", hello(), S)
    (record,) = of(WriteJournal, first)
    kept = JournalCodec(DEFAULT_CODEC, UNIX_US).decode(record.record)
    assert isinstance(kept, TimestampKept)
    assert unix_us_from_ntp(kept.timestamp) == UNIX_US + 3 * S
    assert not of(WriteJournal, sender.send(address(1), MULTICAST, "eth0", hello(), 2 * S))
    # Renewed while a second of it is left: the record is on disk before it is needed.
    assert of(WriteJournal, sender.send(address(1), MULTICAST, "eth0", hello(), 2 * S + 1))
    reborn = protector(1)
    reborn.restore(kept.timestamp)
    assert _stamp(heard(reborn, hello(), S + 1)) > kept.timestamp


def test_types_1_and_4_to_8_want_an_answer_to_our_own_r_first() -> None:
    sender, receiver = protector(1), protector(0)
    early = heard(sender, Harp(HarpType.SO_REQ, GROUP, 5), S, address(0))
    judged = receiver.judge(early, S)
    assert judged is not None
    assert judged.reason is Reason.REPLAY
    assert receiver.awaits_answer(address(1))
    asking = heard(sender, hello(2, FLAG_R, options=(RestartCounter(1),)), S, address(0))
    assert receiver.judge(asking, S) is None
    assert receiver.awaits_answer(address(1))  # it asks, it does not answer
    answer = heard(sender, hello(3, options=(RestartCounter(1),)), S, address(0))
    assert receiver.judge(answer, S) is None
    assert not receiver.awaits_answer(address(1))
    late = heard(sender, Harp(HarpType.SO_REQ, GROUP, 6), S, address(0))
    assert receiver.judge(late, S) is None
    # The log needs no answer first: a standby applies it by its position.
    fresh = protector(0)
    log = heard(sender, Harp(HarpType.SS_ACK, GROUP, 6, index=1), S, address(0))
    assert fresh.judge(log, S) is None


def test_ipsec_signs_multicast_hellos_alone() -> None:
    both = Protection(Security.IPSEC, keys=(KEY,))
    sender, receiver = (
        Protector(config(m, protection=both), DEFAULT_CODEC, UNIX_US) for m in (1, 0)
    )
    assert receiver.judge(heard(sender, hello(), S), S) is None
    unicast = heard(sender, hello(), S, address(0))
    assert not any(isinstance(o, Authentication) for o in unicast.message.options)
    assert receiver.judge(unicast, S) is None
    plain = heard(Protector(config(1), DEFAULT_CODEC, UNIX_US), hello(), S)
    judged = receiver.judge(plain, S)
    assert judged is not None
    assert judged.reason is Reason.AUTH


def test_timestamps_compare_over_the_end_of_the_ntp_era() -> None:
    era_us = unix_us_from_ntp(0xFFFF_FFFF << 32)
    sender, receiver = protector(1), protector(0)
    sender.clock_offset_us = receiver.clock_offset_us = era_us
    assert receiver.judge(heard(sender, hello(), 0), 0) is None
    assert _stamp(heard(protector(1), hello(), S)) > 0
    later = protector(1)
    later.clock_offset_us = era_us
    message = heard(later, hello(), 2 * S)
    assert _stamp(message) == ntp_from_unix_us(era_us + 2 * S)
    assert receiver.judge(message, 2 * S) is None


def _stamp(message: Heard) -> int:
    (found,) = [o for o in message.message.options if isinstance(o, ReplayProtection)]
    return found.timestamp
