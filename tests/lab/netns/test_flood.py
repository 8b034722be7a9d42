"""Every kind of malformed header is dropped for its own reason."""

import socket

import pytest

from harp.lab.netns import plan
from harp.lab.netns.flood import BATCH, FRAMES, KINDS, Batches, frames, malformed
from harp.tables.reasons import Reason
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import Harp, Malformed
from harp.wire.packet import MobilityPacket, find_mobility_header

SOURCE, TARGET = plan.HOME_PREFIX[0xBAD].packed, plan.HOME_PORTS["ha1"].address.packed


@pytest.mark.parametrize("kind", KINDS)
def test_reason(kind: Reason) -> None:
    found = DEFAULT_CODEC.parse(SOURCE, TARGET, malformed(kind, SOURCE, TARGET))
    if kind is Reason.NOT_A_PEER:
        assert isinstance(found, Harp), "its source is what is wrong"
    else:
        assert isinstance(found, Malformed)
        assert found.reason is kind


def test_frames_go_to_the_target_and_come_from_nobody() -> None:
    made = frames(TARGET, plan.mac_octets(plan.HOME_PORTS["ha1"]), seed=1)
    assert len(made) == FRAMES
    assert made == frames(TARGET, plan.mac_octets(plan.HOME_PORTS["ha1"]), seed=1)
    for frame in made[:50]:
        assert frame[:6] == plan.mac_octets(plan.HOME_PORTS["ha1"])
        found = find_mobility_header(frame[14:])
        assert isinstance(found, MobilityPacket)
        assert found.destination == TARGET
        assert found.source not in plan.MEMBER_OF_ADDRESS


def test_every_frame_of_a_batch_leaves() -> None:
    """One system call, a hundred frames, each as it was made."""
    made = frames(TARGET, plan.mac_octets(plan.HOME_PORTS["ha1"]), seed=1)
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        batches, heard = Batches(near.fileno(), made), []
        for _ in range(FRAMES // BATCH + 1):
            left = batches.send()
            while left:
                heard.append(far.recv(2048))
                left -= 1
        assert heard == [*made, *made[:BATCH]]
