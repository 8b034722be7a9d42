"""`harpctl decode` as a user runs it: output, exit status, one clear line for each mistake."""

import io
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import dpkt
import pytest

from harp.lab.conversation import HA_A, KEY, KEY_SPI, write_capture
from harp.tables.codepoints import CodePoints
from harp.tables.harp_types import HarpType
from harp.wire import messages as msg
from harp.wire.codec import DEFAULT_CODEC, Codec

ROOT = Path(__file__).parents[2]
VECTORS = json.loads((ROOT / "tests/vectors/harp.json").read_text(encoding="utf-8"))
ADDRESSES = ("--src", "2001:db8:1::a", "--dst", "ff02::114")
MULTICAST = CodePoints().multicast_group.packed
HELLO = "3b020b00851e0007000100a800c8000303e8000001020000"


COMMAND = (sys.executable, "-m", "harp.cli.harpctl")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "host")}


def harpctl(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT | environment,
    )


def decoded(*arguments: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in harpctl(*arguments, "--json").stdout.splitlines()]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vectors_through_the_command(vector: dict[str, dict[str, object]]) -> None:
    arguments = ["--src", vector["src"], "--dst", vector["dst"], vector["mh"]]
    expect = dict(vector["expect"])
    auth = expect.pop("auth", None)
    if auth:
        arguments += ["--key", f"{auth['spi']}:{auth['key']}"]
    (record,) = decoded("decode", *arguments)
    assert {key: record[key] for key in expect} == expect


def test_several_messages_one_line_each() -> None:
    records = decoded("decode", *ADDRESSES, HELLO, "3b02", HELLO)
    assert [record["valid"] for record in records] == [True, False, True]


def test_json_may_stand_before_the_command() -> None:
    result = harpctl("--json", "decode", *ADDRESSES, HELLO)
    assert result.stdout.startswith('{"schema": 1, ')
    assert json.loads(result.stdout)["type"] == "HA-HELLO"
    assert result.returncode == 0


def test_for_people() -> None:
    result = harpctl("decode", *ADDRESSES, HELLO)
    assert result.stdout == (
        "HA-HELLO  group 7  seq 1  flags AVS  preference 200  lifetime 3 s  interval 1000 ms\n"
    )


def test_options_of_a_binding_for_people() -> None:
    binding = msg.BindingCache(HA_A, HA_A, 0xC000, 5, 600)
    options = (msg.SyncPosition(1, 2), binding, msg.UnknownOption(99, b"?"))
    log = msg.Harp(HarpType.SS_REP, 7, 3, options=options)
    octets = DEFAULT_CODEC.build(HA_A, MULTICAST, log).hex()
    shown = harpctl("decode", *ADDRESSES, octets).stdout.splitlines()[-1]
    assert shown.endswith("seq 5  lifetime 600 s  prefixes -  unknown 99 3f")


def test_wrong_key_is_auth() -> None:
    signed = next(vector for vector in VECTORS if vector["name"] == "hello-psk")
    arguments = ["--src", signed["src"], "--dst", signed["dst"], signed["mh"]]
    (record,) = decoded("decode", *arguments, "--key", "256:" + "00" * 16)
    assert (record["valid"], record["reason"]) == (False, "auth")
    (record,) = decoded("decode", *arguments, "--key", f"257:{signed['expect']['auth']['key']}")
    assert (record["valid"], record["reason"]) == (False, "auth")


def test_capture(tmp_path: Path) -> None:
    path = tmp_path / "conversation.pcap"
    frames = write_capture(path, DEFAULT_CODEC)
    records = decoded("decode", "--pcap", str(path))
    assert [record["frame"] for record in records] == list(range(1, frames + 1))
    reasons = [record["reason"] for record in records if not record["valid"]]
    assert reasons == ["bad_checksum", "truncated"]
    records = decoded("decode", "--pcap", str(path), "--key", f"{KEY_SPI}:{KEY.hex()}")
    assert [record["frame"] for record in records if record.get("authenticated")] == [13]


@pytest.mark.parametrize("suffix", ["pcap", "pcapng"])
def test_capture_from_standard_input(suffix: str, tmp_path: Path) -> None:
    """A pipe, that brings a packet in pieces."""
    path = tmp_path / "conversation.pcap"
    frames = write_capture(path, DEFAULT_CODEC)
    octets = path.read_bytes() if suffix == "pcap" else _as_pcapng(path)
    process = subprocess.Popen(
        [*COMMAND, "decode", "--pcap", "-", "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ENVIRONMENT,
        bufsize=0,
    )
    assert process.stdin and process.stdout
    for at in range(0, len(octets), 50):
        process.stdin.write(octets[at : at + 50])
    process.stdin.close()
    records = [json.loads(line) for line in process.stdout]
    process.stdout.close()
    assert process.wait() == 1
    assert [record["frame"] for record in records] == list(range(1, frames + 1))


def test_reader_of_the_output_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "long.pcap"
    write_capture(path, DEFAULT_CODEC)
    head, packets = path.read_bytes()[:24], path.read_bytes()[24:]
    path.write_bytes(head + packets * 200)
    process = subprocess.Popen(
        [*COMMAND, "decode", "--pcap", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    assert process.stdout and process.stderr
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1


def test_terminal_without_arrows(tmp_path: Path) -> None:
    path = tmp_path / "conversation.pcap"
    write_capture(path, DEFAULT_CODEC)
    result = harpctl("decode", "--pcap", str(path), PYTHONIOENCODING="latin-1")
    assert result.stderr == ""
    assert "2001:db8:1::a \\u2192 ff02::114" in result.stdout


def test_output_that_cannot_be_written() -> None:
    with Path("/dev/full").open("wb") as full:
        process = subprocess.run(
            [*COMMAND, "decode", *ADDRESSES, HELLO],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            env=ENVIRONMENT,
        )
    assert process.returncode == 1
    assert process.stderr == b"harpctl: No space left on device\n"


def test_no_command_gets_the_help() -> None:
    result = harpctl()
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: harpctl") and "decode" in result.stderr


def test_code_points_from_a_file(tmp_path: Path) -> None:
    settings = _settings(tmp_path, "[code_points]\nmh_type_harp = 200\n")
    hello = DEFAULT_CODEC.parse(HA_A, MULTICAST, bytes.fromhex(HELLO))
    moved = Codec(CodePoints(mh_type_harp=200)).build(HA_A, MULTICAST, hello).hex()
    (record,) = decoded("decode", *ADDRESSES, moved, "--config", settings)
    assert record["type"] == "HA-HELLO"
    (record,) = decoded("decode", *ADDRESSES, moved)
    assert record["reason"] == "unknown_type"


def _truncated(tmp_path: Path) -> str:
    path = tmp_path / "cut.pcap"
    write_capture(path, DEFAULT_CODEC)
    path.write_bytes(path.read_bytes()[:-5])
    return str(path)


def _headed(tmp_path: Path) -> str:
    """Ends behind the header of its first packet."""
    path = tmp_path / "headed.pcap"
    write_capture(path, DEFAULT_CODEC)
    path.write_bytes(path.read_bytes()[: 24 + 16])
    return str(path)


def _boastful(tmp_path: Path) -> str:
    """Says that its first packet has 4 GiB."""
    path = tmp_path / "boastful.pcap"
    write_capture(path, DEFAULT_CODEC)
    octets = path.read_bytes()
    path.write_bytes(octets[: 24 + 8] + b"\xff" * 8 + octets[24 + 16 :])
    return str(path)


def _as_pcapng(path: Path) -> bytes:
    file = io.BytesIO()
    with path.open("rb") as classic:
        writer = dpkt.pcapng.Writer(file)
        for time_s, octets in dpkt.pcap.Reader(classic):
            writer.writepkt(octets, ts=time_s)
    return file.getvalue()


def _truncated_pcapng(tmp_path: Path) -> str:
    path = tmp_path / "cut.pcapng"
    write_capture(path, DEFAULT_CODEC)
    path.write_bytes(_as_pcapng(path)[:200])
    return str(path)


def _empty(tmp_path: Path) -> str:
    path = tmp_path / "empty.pcap"
    path.write_bytes(b"")
    return str(path)


def _other_link(tmp_path: Path) -> str:
    path = tmp_path / "link.pcap"
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 147))
    return str(path)


def _settings(tmp_path: Path, text: str) -> str:
    path = tmp_path / "harp.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["decode", *ADDRESSES, "zz"], 2, "not hexadecimal"),
        (["decode", *ADDRESSES, "3b0"], 2, "odd number of digits"),
        (["decode", HELLO], 2, "needs --src and --dst"),
        (["decode", "--src", "2001:db8::x", "--dst", "::1", HELLO], 2, "not an IPv6 address"),
        (["decode"], 2, "either HEX or --pcap"),
        (["decode", *ADDRESSES, HELLO, "--key", "256:0g"], 2, "SPI:HEX"),
        (["decode", *ADDRESSES, HELLO, "--key", "255:" + "00" * 16], 2, "at least 256"),
        (["decode", "--pcap", "/nonexistent"], 1, "No such file"),
        (["decode", "--pcap", "/"], 1, "Is a directory"),
        (["decode", "--pcap", __file__], 1, "not a pcap or pcapng capture"),
        (["decode", "--pcap", _truncated], 1, "ends in the middle of a packet"),
        (["decode", "--pcap", _headed], 1, "ends in the middle of a packet"),
        (["decode", "--pcap", _truncated_pcapng], 1, "ends in the middle of a packet"),
        (["decode", "--pcap", _boastful], 1, "has 4294967295 octets"),
        (["decode", "--pcap", _empty], 1, "not a pcap or pcapng capture"),
        (["decode", "--pcap", _other_link], 1, "link type 147"),
        (["decode", *ADDRESSES, HELLO, "--config", "/nonexistent"], 1, "No such file"),
        (["bogus"], 2, "bogus"),
    ],
)
def test_mistakes_get_one_line(
    arguments: list[object], status: int, says: str, tmp_path: Path
) -> None:
    made = [argument(tmp_path) if callable(argument) else str(argument) for argument in arguments]
    result = harpctl(*made)
    assert result.returncode == status
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[code_points\n", "not TOML"),
        ("code_points = 5\n", "code_points: not a table"),
        ("[code_points]\nmh_type_harp = 256\n", "mh_type_harp = 256: not in 0 to 255"),
        ("[code_points]\nmh_type_harp = 5\n", "already used by Binding Update"),
        ("[code_points]\noption_aaa = 241\n", "already used by option_binding_cache"),
        ("[code_points]\nmh_typ = 5\n", "mh_typ: no such code point"),
        ('[code_points]\nmh_type_harp = "x"\n', "mh_type_harp"),
        ('[code_points]\nmulticast_group = "2001:db8::1"\n', "not a link-local multicast"),
    ],
)
def test_mistakes_in_settings(text: str, says: str, tmp_path: Path) -> None:
    result = harpctl("decode", *ADDRESSES, HELLO, "--config", _settings(tmp_path, text))
    assert result.returncode == 1
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_garbage_is_judged_and_fails() -> None:
    result = harpctl("decode", *ADDRESSES, "00" * 40)
    assert result.returncode == 1
    assert result.stdout.startswith("not valid: bad_checksum")
