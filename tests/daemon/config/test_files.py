"""A file is read to its end or to a limit, a piece at a time."""

from __future__ import annotations

import io

import pytest

from harp.daemon.config.files import read_at_most

PIECE = 1 << 16


class Noted(io.BytesIO):
    """Notes how much was asked for at once."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.most = 0

    def read(self, size: int | None = -1) -> bytes:
        """As asked."""
        self.most = max(self.most, size or 0)
        return super().read(size)


@pytest.mark.parametrize("octets", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
@pytest.mark.parametrize("limit", [0, 1, PIECE, 2 * PIECE + 5, 1 << 30])
def test_as_much_as_there_is_and_no_buffer_for_more(octets: int, limit: int) -> None:
    text = bytes(range(256)) * (octets // 256) + bytes(octets % 256)
    file = Noted(text)
    assert read_at_most(file, limit) == text[:limit]
    assert file.most <= PIECE
