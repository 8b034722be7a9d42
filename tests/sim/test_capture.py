"""Captures and settings of `python -m harp_sim --pcap`: what is read, and how it refuses."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from harp.tables.reasons import Action, Reason
from harp_sim.build import with_fcs
from harp_sim.capture import CaptureError, configuration, read_capture, read_settings
from harp_sim.model.config import Mode

FRAME = bytes(range(60))


def _pcap(*frames: bytes, order: str = "<", link: int = 1, snap: int = 1 << 16) -> bytes:
    """A classic capture, 1.5 ms between two frames."""
    records = b"".join(
        struct.pack(f"{order}IIII", 7, 1500 * n, min(len(f), snap), len(f)) + f[:snap]
        for n, f in enumerate(frames)
    )
    head = struct.pack(f"{order}IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, snap, link)
    return head + records


@pytest.mark.parametrize("order", ["<", ">"])
def test_frames_come_with_times_padded_and_with_an_fcs(tmp_path: Path, order: str) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(_pcap(FRAME, FRAME[:20], order=order))
    padded = FRAME[:20] + bytes(40)
    assert read_capture(path) == [(0, with_fcs(FRAME)), (1500, with_fcs(padded))]


def test_an_empty_capture_has_no_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(_pcap())
    assert read_capture(path) == []


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        (b"", "not a capture"),
        (b"no capture at all, but long enough to be one", "not a capture"),
        (_pcap(FRAME, FRAME)[:-3], "it ends within frame 2"),
        (_pcap(FRAME, FRAME)[:-70], "not a capture"),
        (_pcap(FRAME, snap=40), "frame 1 is cut to 40 of 60 octets"),
        (_pcap(FRAME, link=101), "link type 101, not Ethernet"),
    ],
)
def test_what_is_no_whole_capture_is_refused(tmp_path: Path, octets: bytes, message: str) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(octets)
    with pytest.raises(CaptureError, match=message) as caught:
        read_capture(path)
    assert str(caught.value).startswith(str(path))


def test_settings_are_the_model_s_configuration() -> None:
    config, lease = configuration(
        {
            "lease": False,
            "local": ["2001:db8::1"],
            "actions": {"not_a_peer": "drop"},
            "peers": [{"address": "2001:db8::2", "group": 7, "mode": "seen"}],
        }
    )
    assert not lease
    assert config.filter_enable
    assert config.rules[Reason.NOT_A_PEER].action is Action.DROP
    peer = config.peers[0]
    assert peer is not None
    assert (peer.group, peer.mode) == (7, Mode.SEEN)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = [", "not TOML"),
        ("nonsense = 1", "nonsense"),
        ('pass_every = "x"', "pass_every"),
        ("pass_every = 777", "pass_every 777"),
        ('[[peers]]\naddress = "zz"\ngroup = 1', "address 'zz': not an IPv6 address"),
        ('[[peers]]\naddress = "::1"\ngroup = 777', "group 777"),
        ('[actions]\nauth = "nothing"', "nothing"),
        ('[actions]\nclock = "drop"', "clock is no reason of the offload"),
    ],
)
def test_wrong_settings_are_refused_and_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "board.toml"
    path.write_text(text)
    with pytest.raises(CaptureError, match=message) as caught:
        read_settings(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--case", "nope"), 2, "no case nope; there are deadlines, events, "),
        (("--frames", "9", "--case", "mix"), 2, "one of --frames, --case and --pcap at a time"),
        (("--pcap", "none.pcap"), 2, "none.pcap"),
        (("--pcap", __file__), 1, "not a capture"),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], status: int, message: str) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "harp_sim", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    (line,) = done.stderr.splitlines()
    assert line.startswith("harp_sim: ")
    assert message in line
    assert (done.returncode, done.stdout) == (status, "")
