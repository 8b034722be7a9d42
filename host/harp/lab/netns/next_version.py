"""A `harpd` as the next version might be: every HARP message has more than this version knows.

Ref: harp.md §1: "Two adjacent released versions form a group together: unknown flags, options and
Types are ignored and counted"

The same daemon, but its codec sets a flag that means nothing yet and appends an option that nobody
knows, before anything is signed. The scenario adds messages of an unknown Type from its address.
"""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

from harp.tables.harp_types import HarpFlag
from harp.wire.codec import Codec
from harp.wire.messages import Harp, Message, UnknownOption

NEW_FLAG = 0x01
"""Not in `HarpFlag`."""
NEW_OPTION = 200
"""Unassigned (RFC 6275 §6.2)."""
NEW_TYPE = 77
"""Not in `HarpType`."""
assert NEW_FLAG not in set(HarpFlag)

_begin = Codec.begin


def _begin_newer(codec: Codec, message: Message) -> bytearray:
    if isinstance(message, Harp):
        # In front: what follows a binding would belong to it (harp.md §2.2).
        message = replace(
            message, flags=message.flags | NEW_FLAG, options=(_OPTION, *message.options)
        )
    return _begin(codec, message)


_OPTION = UnknownOption(NEW_OPTION, b"next")


def main() -> None:
    """`harpd`, newer."""
    from harp.cli.harpd import main as harpd

    with patch.object(Codec, "begin", _begin_newer):
        harpd()


if __name__ == "__main__":
    main()
