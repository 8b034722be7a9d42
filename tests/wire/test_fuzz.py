"""200,000 random and mutated payloads: never an exception, never a wrong verdict.

Each is judged by `judge.verdict` too, which walks the octets by itself. What is accepted builds to
a message that parses equal. The checksum is mostly restored after a mutation, so that the checks
behind it are reached.
"""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from harp.wire import messages as msg
from harp.wire.bulk import BulkCodec, BulkReply
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.describe import describe

from . import bytes_by_hand as hand
from .bytes_by_hand import CARE_OF, HOME, A, B
from .judge import verdict

RUNS, INPUTS = 10, 20_000
BULK = BulkCodec(DEFAULT_CODEC)


def seeds() -> list[bytes]:
    """Valid payloads from A to B: the golden ones, and one of each shape with many options."""
    path = Path(__file__).parents[1] / "vectors" / "harp.json"
    golden = json.loads(path.read_text(encoding="utf-8"))
    found = [
        hand.seal(A, B, bytes.fromhex(vector["mh"])) for vector in golden if len(vector["mh"]) > 16
    ]
    plain = hand.binding(HOME, CARE_OF, 0xC000, 5, 150)
    position, address = hand.sync_position(3, 70000), hand.ip_address(241, HOME)
    options = (
        *(position, hand.cache_digest(5, 6), hand.restart_counter(9), hand.detection(3300, 3)),
        *(hand.configuration(b"12345678"), address, hand.ip_address(242, A)),
        *(plain, hand.network_prefix(HOME, 56), hand.bid(3), hand.aaa(b"avp"), (99, b"??")),
        *(hand.vendor(10415, 1, b"x"), plain, hand.refresh_advice(4), (4, bytes(4)), (7, b"\2ab")),
        *((8, b"\1mn@home"), (5, bytes(12)), hand.alternate_care_of(CARE_OF), hand.timestamp(1)),
    )
    bodies = [(hand.HARP, hand.harp_body(kind, index=1)) for kind in range(10)]
    bodies += [
        (hand.HARP, hand.harp_body(hand.SS_REP)),
        (hand.UPDATE, hand.update_body(1, 0xC000, 100)),
        (hand.ACK, hand.ack_body(0, 0, 1, 100)),
        (hand.ERROR, hand.error_body(1, HOME)),
        (hand.REFRESH_REQUEST, bytes(2)),
        (hand.SWITCH, hand.switch_body([A, B])),
        (hand.HEARTBEAT, hand.heartbeat_body(7)),
        (hand.HOT, bytes(18)),
    ]
    found += [hand.message(A, B, *body, options) for body in bodies]
    found.append(hand.signed(A, B, hand.harp_body(0), options[:2], 256, bytes(16)))
    block = (position, *(plain,) * 4, hand.timestamp(1))
    found.append(hand.signed(A, B, hand.harp_body(hand.SS_REP), block, 256, bytes(16)))
    found.append(hand.message(A, B, hand.HARP, hand.harp_body(hand.SS_REP), block))
    return found


SEEDS = seeds()
Mutation = Callable[[random.Random, bytearray], None]


def flip_bits(rng: random.Random, mh: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        mh[rng.randrange(len(mh))] ^= 1 << rng.randrange(8)


def set_octet(rng: random.Random, mh: bytearray) -> None:
    mh[rng.randrange(len(mh))] = rng.choice((0, 1, 2, 9, 34, 59, 127, 128, 129, 241, 245, 255))


def truncate(rng: random.Random, mh: bytearray) -> None:
    del mh[rng.randrange(len(mh)) :]


def shorten(rng: random.Random, mh: bytearray) -> None:
    """By whole words, Header Len following."""
    mh[1] = rng.randrange(min(mh[1] + 1, 256))
    del mh[8 * (mh[1] + 1) :]


def extend(rng: random.Random, mh: bytearray) -> None:
    """By words of anything, Header Len following or not."""
    words = rng.randint(1, 3)
    mh += rng.choice((bytes(8 * words), rng.randbytes(8 * words)))
    mh[1] = min(255, mh[1] + rng.choice((0, words)))


def edit_option(rng: random.Random, mh: bytearray) -> None:
    """Another type or length for one of the options, if there are any."""
    at = _an_option(rng, mh)
    if at is None:
        return
    if rng.random() < 0.5:
        mh[at] = rng.choice((0, 1, 2, 6, 9, 10, 19, 28, 34, 35, 99, *range(241, 247)))
    else:
        mh[at + 1] = (mh[at + 1] + rng.choice((-8, -1, 1, 8, 128))) % 256


def drop_option(rng: random.Random, mh: bytearray) -> None:
    """An option becomes a PadN."""
    at = _an_option(rng, mh)
    if at is not None:
        mh[at] = 1


def swap_words(rng: random.Random, mh: bytearray) -> None:
    words = len(mh) // 8
    if words > 2:
        one, other = 8 * rng.randrange(1, words), 8 * rng.randrange(1, words)
        mh[one : one + 8], mh[other : other + 8] = mh[other : other + 8], mh[one : one + 8]


def noise(rng: random.Random, mh: bytearray) -> None:
    """Nothing but a plausible head is kept."""
    mh[4:] = rng.randbytes(rng.randrange(4, 80))


def _an_option(rng: random.Random, mh: bytearray) -> int | None:
    """Offset of one option; the walk is a guess where the message has been mutated already."""
    if len(mh) < 3:
        return None
    at, found = {0: 8, 7: 24, 11: 20, 12: 40}.get(mh[2], 12), []
    while at + 1 < len(mh):
        if mh[at] > 1:
            found.append(at)
        at += 1 if mh[at] == 0 else 2 + mh[at + 1]
    return rng.choice(found) if found else None


MUTATIONS: tuple[Mutation, ...] = (
    *(flip_bits, set_octet, truncate, shorten, extend),
    *(edit_option, edit_option, drop_option, swap_words, noise),
)


def mutated(rng: random.Random) -> bytes:
    if rng.random() < 0.02:
        return rng.randbytes(rng.randrange(64))
    mh = bytearray(rng.choice(SEEDS))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        if len(mh) > 4:
            rng.choice(MUTATIONS)(rng, mh)
    return hand.seal(A, B, bytes(mh)) if rng.random() < 0.93 else bytes(mh)


def check(payload: bytes) -> str:
    """The verdict, the same from both codecs and from the judge."""
    parsed = DEFAULT_CODEC.parse(A, B, payload)
    said = str(parsed.reason) if isinstance(parsed, msg.Malformed) else "valid"
    assert said == verdict(A, B, payload), payload.hex()
    quick = BULK.parse(A, B, payload)
    if isinstance(parsed, msg.Malformed):
        assert isinstance(quick, msg.Malformed) and quick.reason == parsed.reason, payload.hex()
        return said
    assert isinstance(quick, BulkReply) or quick == parsed, payload.hex()
    describe(parsed)
    rebuilt = DEFAULT_CODEC.build(A, B, parsed)
    assert DEFAULT_CODEC.parse(A, B, rebuilt) == parsed, payload.hex()
    return said


def test_the_seeds_are_what_they_should_be() -> None:
    verdicts = Counter(verdict(A, B, seed) for seed in SEEDS)
    assert {verdict(A, B, seed) for seed in SEEDS[-21:]} == {"valid"}
    assert verdicts["valid"] > 45, verdicts


@pytest.mark.parametrize("run", range(RUNS))
def test_no_exception_and_no_wrong_verdict(run: int) -> None:
    rng = random.Random(run)
    seen = Counter(check(mutated(rng)) for _ in range(INPUTS))
    # Every reason is reached, and the inner checks often.
    assert seen.keys() == {
        *("valid", "truncated", "bad_length", "bad_checksum", "unknown_type"),
        *("bad_payload_proto", "unknown_harp_type", "bad_sequence", "bad_option"),
    }
    assert seen["valid"] > INPUTS // 4 and seen["bad_option"] > INPUTS // 10, seen
    assert seen["bad_sequence"] > 10 and seen["unknown_harp_type"] > 10, seen
