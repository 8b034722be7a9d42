"""Elements of nftables sets, in transactions of many; the tables themselves are text for nft(8).

Ref: linux/netfilter/nfnetlink.h, nf_tables.h; nft(8)

Starting nft takes milliseconds and parses text; elements come by the hundred thousand.
"""

from __future__ import annotations

import socket
import struct
import subprocess
from collections.abc import Sequence

from harp.daemon.netlink.connection import NETFILTER, Netlink, NetlinkError
from harp.daemon.netlink.message import CREATE, attribute, nested, request, text

_SUBSYSTEM = 10
"""NFNL_SUBSYS_NFTABLES."""
_BEGIN, _END = 0x10, 0x11
_ADD, _DELETE = _SUBSYSTEM << 8 | 12, _SUBSYSTEM << 8 | 14
_BATCH_HEAD = struct.pack("!BBH", 0, 0, _SUBSYSTEM)
_HEAD = struct.pack("!BBH", socket.AF_INET6, 0, 0)
_TABLE, _SET, _ELEMENTS = 1, 2, 3
_ELEMENT, _KEY, _FLAGS, _KEY_END, _VALUE = 1, 1, 3, 10, 1
_INTERVAL_END = 1


def load(script: str, what: str) -> None:
    """Gives nft a script. Raises OSError, whose text begins with `what`."""
    try:
        done = subprocess.run(
            ("nft", "-f", "-"), input=script, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise OSError(f"{what}: there is no `nft`; install nftables") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise OSError(f"{what}: nft: {said[0]}")


def remove_table(name: str) -> None:
    """Deletes a table of family ip6, if it is there. Raises OSError."""
    # Without `destroy` (Linux 6.3) a table that is not there must be made to be deleted.
    load(f"table ip6 {name}\ndelete table ip6 {name}\n", f"removing table {name}")


def key(value: bytes) -> bytes:
    """One element."""
    return nested(_ELEMENT, nested(_KEY, attribute(_VALUE, value)))


def span(first: bytes, last: bytes) -> bytes:
    """All from `first` to `last`, of a set of concatenated intervals."""
    return nested(
        _ELEMENT, nested(_KEY, attribute(_VALUE, first)), nested(_KEY_END, attribute(_VALUE, last))
    )


def network(prefix: bytes, length: int) -> bytes:
    """A prefix, of an interval set: its first address, and the first one behind it."""
    behind = int.from_bytes(prefix) + (1 << 128 - length)
    if behind >> 128:
        return key(prefix)
    end = attribute(_VALUE, behind.to_bytes(16))
    flag = attribute(_FLAGS, struct.pack("!I", _INTERVAL_END))
    return key(prefix) + nested(_ELEMENT, nested(_KEY, end), flag)


def add_elements(table: str, name: str, elements: Sequence[bytes]) -> bytes:
    """Puts elements into a set; one that is there already is no error."""
    return request(_ADD, CREATE, _body(table, name, elements))


def delete_elements(table: str, name: str, elements: Sequence[bytes]) -> bytes:
    """Takes elements out of a set; one that is not there fails the transaction."""
    return request(_DELETE, 0, _body(table, name, elements))


def _body(table: str, name: str, elements: Sequence[bytes]) -> bytes:
    return _HEAD + text(_TABLE, table) + text(_SET, name) + nested(_ELEMENTS, b"".join(elements))


class Nft:
    """Transactions of element messages."""

    def __init__(self) -> None:
        self._netlink = Netlink(NETFILTER)

    def commit(self, messages: Sequence[bytes], what: str) -> None:
        """All of them or none. Raises NetlinkError."""
        begin, end = request(_BEGIN, 0, _BATCH_HEAD), request(_END, 0, _BATCH_HEAD)
        failures = self._netlink.send([begin, *messages, end], acknowledged=len(messages))
        if failures:
            code, said = next(iter(failures.values()))
            raise NetlinkError.of(code, what, said)

    def close(self) -> None:
        """Gives the descriptor back."""
        self._netlink.close()
