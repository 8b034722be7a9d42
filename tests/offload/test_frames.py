"""Frames: every message comes back, noise costs only what it hits, the specification's example."""

import re
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harp.offload.frames import Answer, Deframer, Message, Pushed, Request, decode, encode
from harp.tables.link import (
    CRC_POLYNOMIAL,
    CRC_RESIDUE,
    MAX_FRAME_OCTETS,
    MAX_MESSAGE_OCTETS,
    LinkOp,
    LinkStatus,
)

SPEC = Path(__file__).parents[2] / "docs/spec/offload.md"
u8, u16 = st.integers(0, 0xFF), st.integers(0, 0xFFFF)
words = st.lists(st.integers(0, 0xFFFF_FFFF), max_size=64).map(tuple)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Request, st.sampled_from((1, 2, 3, 0x33)), u16, u16, u8, words),
    st.builds(Answer, st.sampled_from((1, 2, 3)), u16, st.sampled_from(LinkStatus), words),
    st.builds(Pushed, u16, u16, st.integers(0, (1 << 64) - 1)),
)


@given(st.lists(MESSAGES, max_size=5), st.integers(1, 40))
def test_every_message_comes_back_however_it_is_cut(messages: list[Message], size: int) -> None:
    octets = b"".join(map(encode, messages))
    deframer = Deframer()
    found = []
    for at in range(0, len(octets), size):
        found += deframer.feed(octets[at : at + size])
    assert found == messages
    assert deframer.bad_frames == 0


@given(MESSAGES, st.binary(max_size=600))
def test_noise_before_a_frame_costs_only_itself(message: Message, noise: bytes) -> None:
    deframer = Deframer()
    assert deframer.feed(noise + encode(message))[-1] == message


@given(MESSAGES, st.data())
def test_a_changed_octet_is_never_taken_for_a_message(
    message: Message, data: st.DataObject
) -> None:
    frame = bytearray(encode(message))
    at = data.draw(st.integers(1, len(frame) - 2))
    frame[at] ^= data.draw(st.integers(1, 255))
    assert message not in Deframer().feed(bytes(frame))


def test_lengths() -> None:
    longest = Request(LinkOp.WRITE, 0xFFFF, 0xFFFF, 64, (0xFFFF_FFFF,) * 64)
    frame = encode(longest)
    assert (MAX_MESSAGE_OCTETS, MAX_FRAME_OCTETS) == (266, 268)
    assert len(frame) <= MAX_FRAME_OCTETS + 2
    assert Deframer().feed(frame) == [longest]


def test_a_frame_that_never_ends_is_dropped_and_counted_once() -> None:
    deframer = Deframer()
    for _ in range(50):
        assert deframer.feed(b"\x11" * 100) == []
    assert deframer.bad_frames == 0
    assert deframer.feed(b"\0") == []
    assert deframer.bad_frames == 1
    assert deframer.feed(encode(Pushed(1, 2, 3))) == [Pushed(1, 2, 3)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        bytes(3),
        b"\x01\x00\x00\x00",  # a request without its count
        b"\x81\x00\x00\x07",  # no such status
        b"\x81\x00\x00\x01\x00",  # not whole words
        b"\x10" + bytes(13),  # an event that is too long
        b"\x02\x00\x00\x00\x00\x01\x01\x02\x03",  # three quarters of a word
    ],
)
def test_what_is_no_message(body: bytes) -> None:
    crc = zlib.crc32(body).to_bytes(4, "little")
    octets = body + crc
    coded = encode(Pushed(0, 0, 0))[:0]
    for part in octets.split(b"\0"):
        coded += bytes((len(part) + 1,)) + part
    assert decode(coded) is None


@pytest.mark.parametrize(
    ("request_", "good"),
    [
        (Request(LinkOp.READ, 0, 0, 1), True),
        (Request(LinkOp.READ, 0, 0, 64), True),
        (Request(LinkOp.READ, 0, 0, 65), False),
        (Request(LinkOp.READ, 0, 0, 0), False),
        (Request(LinkOp.READ, 0, 0, 1, (1,)), False),
        (Request(LinkOp.WRITE, 0, 0, 2, (1,)), False),
        (Request(LinkOp.WRITE, 0, 0, 1, (1,)), True),
        (Request(LinkOp.KICK, 0, 0x48, 4), True),
        (Request(LinkOp.EVENT, 0, 0, 1), False),
        (Request(9, 0, 0, 1), False),
    ],
)
def test_well_formed(request_: Request, good: bool) -> None:
    assert request_.well_formed == good


def test_crc_constants() -> None:
    """The residue that the gateware looks for, by the polynomial bit by bit."""
    message = b"HARP" + zlib.crc32(b"HARP").to_bytes(4, "little")
    register = 0xFFFF_FFFF
    for octet in message:
        register ^= octet
        for _ in range(8):
            register = register >> 1 ^ (CRC_POLYNOMIAL if register & 1 else 0)
    assert register == CRC_RESIDUE


def test_the_example_of_the_specification() -> None:
    rows = re.findall(r"^[→←] (\w+) +((?:[0-9a-f]{2} ?)+)$", SPEC.read_text(), re.MULTILINE)
    assert [name for name, _ in rows] == ["READ", "answer", "event", "WRITE", "answer", "KICK"]
    want: list[Message] = [
        Request(LinkOp.READ, 0x1234, 0x0006, 2),
        Answer(LinkOp.READ, 0x1234, LinkStatus.OK, (0x20820000, 125_000_000)),
        Pushed(3 * 32 + 5, 1, 1_000_000),
        Request(LinkOp.WRITE, 0x1235, 0x0600, 1, (0x00010065,)),
        Answer(LinkOp.WRITE, 0x1235, LinkStatus.OK),
        Request(LinkOp.KICK, 0x1236, 0x0048, 4),
    ]
    for (_, octets), message in zip(rows, want, strict=True):
        assert bytes.fromhex(octets) == encode(message)
        assert Deframer().feed(bytes.fromhex(octets)) == [message]
