"""The self-test on a board in plain Python: good, and broken in each way that it looks for."""

from __future__ import annotations

import json
import threading
from collections import deque

import pytest
from click.testing import CliRunner

from harp.offload.client import Client
from harp.tables.registers import BOARD_PAGE, REGISTERS
from harp_boards.cli import harp_board
from harp_boards.loopback import NEGOTIATE, Pace
from harp_boards.selftest import Outcome, Result, Selftest
from harp_sim.device.board import Board
from harp_sim.device.run import RealTime
from harp_sim.model.config import Port

from .looped import PHYS, LoopedBoard

TURN_US = 200
PACE = Pace(clock_us=100_000, dwell_us=4_000, stride=12, settle_us=1_000)
TESTS = ("rx_delay", "mute", "force")


class VirtualClient(Client):
    """Its clock runs on by being looked at, so it never has to wait."""

    def _idle(self) -> None:
        pass


class Bench:
    """A board on a port in virtual time; `cable` joins its two ports."""

    def __init__(self, cable: bool = True) -> None:
        self.board, self.now, self._said = LoopedBoard(), 0, b""
        self.cable = cable
        self.phys = PHYS
        self.left = 0
        """Frames that left by a cable."""
        self._on_cable: deque[bytes] = deque()

    def clock(self) -> int:
        self.now += TURN_US
        return self.now

    def fileno(self) -> int | None:
        return None

    def read(self) -> bytes:
        self.board.advance(self.now)
        self._carry()
        said, self._said = self._said, b""
        return said

    def write(self, octets: bytes) -> None:
        self.board.host_says(octets, self.now)
        self._carry()

    def close(self) -> None:
        pass

    def _carry(self) -> None:
        frames, octets = self.board.take()
        self._said += octets
        frames = self.board.loop(frames, self.now)
        self.left += len(frames)
        if self.cable:
            self._on_cable += [f.octets for f in frames if f.port is Port.NETWORK]
            for _ in range(min(3, len(self._on_cable))):
                self.board.frame(Port.HOST, self._on_cable.popleft(), self.now)

    def results(self, cable: bool = True, number: int = 0) -> dict[str, Result]:
        with VirtualClient(self, clock=self.clock) as client:
            found = list(Selftest(client, number, cable=cable, phys=self.phys, pace=PACE).run())
        return {result.check: result for result in found}


def test_a_good_board() -> None:
    bench = Bench()
    found = bench.results()
    outcomes = {name: result.outcome for name, result in found.items()}
    assert outcomes == {
        **dict.fromkeys(("identity", "link", "registers", "clock", "ports"), Outcome.PASS),
        **dict.fromkeys(("event latency", "port loopback", "cable loop"), Outcome.PASS),
        "receive delay": Outcome.PASS,
    }, found
    assert found["receive delay"].detail == "port 0: 1500 ps to spare, port 1: 1500 ps to spare"
    registers = bench.board.registers
    assert registers.sample("control", 0, "filter_enable") == 0
    assert registers.sample("guard", 0, "armed") == 0
    assert registers.sample("guard_state", 0, "fenced") == 0
    assert not any(registers.sample("slot", n, "flags") for n in range(8))
    assert not any(registers.test(n, name) for n in range(2) for name in TESTS)
    assert [phy[0] for phy in registers.phys.values()] == [NEGOTIATE] * 2


def test_without_a_cable_frames_are_not_sent() -> None:
    bench = Bench(cable=False)
    assert bench.results(cable=False)["cable loop"].outcome is Outcome.SKIPPED
    assert bench.left == 0, "but for those that its PHYs looped"


@pytest.mark.parametrize(
    ("port", "eye", "said"),
    [
        (0, (0, 12), "port 0: frames break 300 ps behind the delay in use"),
        (1, (0, 12), "port 1: frames break 300 ps behind the delay in use"),
        (1, (4, 60), "port 1: no whole frame comes back: does its PHY delay?"),
    ],
)
def test_delays_without_margin(port: int, eye: tuple[int, int], said: str) -> None:
    bench = Bench()
    bench.board.eyes[port] = eye
    found = bench.results()
    failed = {name: result.detail for name, result in found.items() if result.outcome == "fail"}
    assert failed == {"receive delay": said}
    assert not any(bench.board.registers.test(n, name) for n in range(2) for name in TESTS)


def test_pins_that_are_read_at_the_wrong_time() -> None:
    bench = Bench()
    bench.board.eyes[0] = (4, 60)
    found = bench.results()
    assert "bad frames of" in found["port loopback"].detail
    assert found["receive delay"].detail.startswith("port 0: no whole frame comes back")


def test_a_phy_that_does_not_loop() -> None:
    bench = Bench()
    bench.board.dead.add(0)
    found = bench.results()
    assert found["port loopback"].detail == "port 0: nothing comes back through its PHY"
    assert found["port loopback"].outcome is found["receive delay"].outcome is Outcome.FAIL


def test_hellos_that_nobody_sees() -> None:
    bench = Bench()
    bench.board.registers._sample_peer_state = (  # type: ignore[method-assign]
        lambda index, field: 0
    )
    assert "none was seen" in bench.results()["port loopback"].detail


def test_management_that_never_ends() -> None:
    bench = Bench()
    bench.board.registers.deaf = True
    found = bench.results()
    assert found["port loopback"].detail == "the management of the PHYs does not answer"


def test_a_device_without_phys() -> None:
    bench = Bench()
    bench.phys = ()
    assert bench.results()["receive delay"].outcome is Outcome.SKIPPED


def test_a_clock_that_is_off() -> None:
    bench = Bench()
    bench.board.registers._sample_now = (  # type: ignore[method-assign]
        lambda index, field: bench.board.registers.now * 5 // 4
    )
    assert "its clock is off by +2" in bench.results()["clock"].detail


@pytest.mark.parametrize(
    ("field", "said"),
    [("no_clock", "its PHY gives no clock"), ("unsupported_speed", "a speed that is not carried")],
)
def test_ports_that_are_not_well(field: str, said: str) -> None:
    bench = Bench()
    sample = bench.board.registers._sample_port_state
    bench.board.registers._sample_port_state = (  # type: ignore[method-assign]
        lambda index, name: 1 if (index, name) == (1, field) else sample(index, name)
    )
    assert said in bench.results()["ports"].detail


def test_a_line_with_noise() -> None:
    bench = Bench()
    bench.board.registers._sample_uart = (  # type: ignore[method-assign]
        lambda index, field: bench.now // 100
    )
    assert "bad frames of 200: check cable and ground" in bench.results()["link"].detail


def test_another_board() -> None:
    found = Bench().results(number=5)
    assert found["identity"].outcome is Outcome.FAIL
    assert "board 0, not 5" in found["identity"].detail


def test_a_cable_that_is_not_there() -> None:
    found = Bench(cable=False).results(cable=True)
    assert found["cable loop"].outcome is Outcome.FAIL
    assert "0 frames came back" in found["cable loop"].detail


def test_a_register_that_does_not_hold() -> None:
    bench = Bench()
    registers = bench.board.registers
    sample = registers.sample
    registers.sample = (  # type: ignore[method-assign]
        lambda name, index, field: sample(name, index, field) & ~(name == "bucket")
    )
    found = bench.results()
    assert found["registers"].outcome is Outcome.FAIL
    assert found["registers"].detail.startswith("bucket[")


def test_events_that_never_come() -> None:
    bench = Bench()
    bench.board.end.push = lambda event: b""  # type: ignore[method-assign]
    assert bench.results()["event latency"].outcome is Outcome.FAIL


def test_silence_ends_the_test() -> None:
    bench = Bench()
    bench.write = lambda octets: None  # type: ignore[method-assign]
    found = bench.results()
    assert list(found) == ["identity"]
    assert "no answer" in found["identity"].detail


def test_registers_as_json() -> None:
    done = CliRunner().invoke(harp_board, ["registers", "--json"])
    assert done.exit_code == 0
    found = json.loads(done.stdout)["registers"]
    assert [row["name"] for row in found] == [
        register.name for register in (*REGISTERS, *BOARD_PAGE)
    ]


def test_registers_for_people_and_wrong_names() -> None:
    done = CliRunner().invoke(harp_board, ["registers", "guard"])
    assert done.exit_code == 0 and "lease_ms" in done.output
    assert CliRunner().invoke(harp_board, ["registers", "gard"]).exit_code == 2


@pytest.fixture
def terminal() -> object:
    runner = RealTime(Board(), {})
    thread = threading.Thread(target=runner.run, daemon=True)
    thread.start()
    yield runner.terminal.path
    runner.stop()
    thread.join(5)


def test_by_the_command_on_a_real_port(terminal: str) -> None:
    done = CliRunner().invoke(
        harp_board, ["selftest", "simulated", "--port", terminal, "--serial", "42", "--json"]
    )
    assert done.exit_code == 0, done.output
    sheet = json.loads(done.stdout.splitlines()[-1])
    assert (sheet["verdict"], sheet["serial"], sheet["schema"]) == ("pass", "42", 1)
    read = CliRunner().invoke(harp_board, ["registers", "magic", "--port", terminal, "--json"])
    assert json.loads(read.stdout)["values"] == {"magic": [{"value": 0x48415250}]}


def test_ports_and_boards_that_are_not_there() -> None:
    gone = CliRunner().invoke(harp_board, ["selftest", "simulated", "--port", "/dev/no-such"])
    assert gone.exit_code == 1 and "\n" not in gone.output.strip()
    assert CliRunner().invoke(harp_board, ["selftest", "x", "--port", "y"]).exit_code == 2
