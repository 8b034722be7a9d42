"""The kernel's own handling of the Home Address option: on a full kernel, in a virtual machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import machine

from harp.daemon.sockets.mip6 import HomeAddressOption
from harp.daemon.sockets.mobility import swapped_care_of


@machine.needs_machine
def test_a_kernel_with_mip6(tmp_path: Path) -> None:
    [told] = machine.run(tmp_path, "-m tests.daemon.sockets.through_mip6")
    assert told == {
        "mip6": True,
        "again": True,
        "event": True,
        "left": "",
        "left after undo": "",
        "packet": {
            "to care-of": True,
            "hop limit": 255,
            "headers": [43, 135],
            "routing": [2, 2, 1],
            "home address": True,
            "whole": True,
        },
    }


@pytest.mark.parametrize(
    ("options", "address"),
    [
        (bytes((135, 2, 1, 2, 0, 0, 201, 16)) + b"\1" * 16, b"\1" * 16),
        (bytes((135, 2, 0, 0, 0, 0, 201, 16)) + b"\1" * 16, b"\1" * 16),
        (bytes((135, 2, 0, 0, 0, 0, 201, 16)) + b"\1" * 15, b""),  # cut short
        (bytes((135, 2, 1, 2, 0, 0, 201, 15)) + b"\1" * 16, b""),  # wrong length
        (bytes((135, 0, 1, 4, 0, 0, 0, 0)), b""),
        (b"", b""),
    ],
)
def test_care_of_address_where_the_kernel_put_it(options: bytes, address: bytes) -> None:
    assert swapped_care_of(options) == address


def test_without_ip_there_is_no_mip6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert HomeAddressOption().open() is False
