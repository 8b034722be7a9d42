"""Elements of nftables sets, in transactions of many; the tables themselves are text for nft(8).

Ref: linux/netfilter/nfnetlink.h, nf_tables.h; nft(8)

Starting nft takes milliseconds and parses text; elements come by the hundred thousand.
"""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from harp.daemon.netlink.connection import NETFILTER, Netlink, NetlinkError
from harp.daemon.netlink.message import (
    CREATE,
    attribute,
    attributes,
    each_attribute,
    nested,
    request,
    text,
)

_PLACES = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin"
"""Where nft is: not on the path of every user."""
_TIMEOUT_S = 30.0
"""Some milliseconds where the processor is free; nft is an ordinary process, and waits."""
_SUBSYSTEM = 10
"""NFNL_SUBSYS_NFTABLES."""
_BEGIN, _END = 0x10, 0x11
_ADD, _GET, _DELETE = (_SUBSYSTEM << 8 | kind for kind in (12, 13, 14))
_BATCH_HEAD = struct.pack("!BBH", 0, 0, _SUBSYSTEM)
_HEAD = struct.pack("!BBH", socket.AF_INET6, 0, 0)
_TABLE, _SET, _ELEMENTS = 1, 2, 3
_ELEMENT, _KEY, _DATA, _FLAGS, _KEY_END, _VALUE = 1, 1, 2, 3, 10, 1
_INTERVAL_END = 1
_TWO_HEADS = struct.Struct("=HHHH")
"""Lengths and types of an attribute and of the first one in it."""


def run_nft(*words: str, script: str = "") -> str:
    """What nft(8) prints. Raises FileNotFoundError: there is none; OSError, whose text is for
    people: it failed."""
    program = shutil.which("nft", path=_PLACES)
    if program is None:
        raise FileNotFoundError("there is no `nft`: install the package nftables")
    try:
        done = subprocess.run(
            (program, *words),
            input=script,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise OSError(f"nft took longer than {_TIMEOUT_S:g} s") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise OSError(f"nft: {said[0]}")
    return done.stdout


def load(script: str, what: str) -> None:
    """Gives nft a script. Raises OSError, whose text begins with `what`."""
    try:
        run_nft("-f", "-", script=script)
    except OSError as error:
        raise OSError(f"{what}: {error}") from None


def remove_table(name: str) -> None:
    """Deletes a table of family ip6, if it is there. Raises OSError."""
    # Without `destroy` (Linux 6.3) a table that is not there must be made to be deleted.
    load(f"table ip6 {name}\ndelete table ip6 {name}\n", f"removing table {name}")


def key(value: bytes, data: bytes | None = None) -> bytes:
    """One element, of a multiple of four octets; `data`: what a map has for it."""
    if data is None:
        return _element_head(len(value), 0) + value
    return _element_head(len(value), len(data)) + value + _data_head(len(data)) + data


@cache
def _element_head(key_octets: int, data_octets: int) -> bytes:
    """What all elements of a set begin with."""
    data = _data_head(data_octets) + bytes(data_octets) if data_octets else b""
    head = nested(_KEY, attribute(_VALUE, bytes(key_octets)))
    return nested(_ELEMENT, head, data)[: -key_octets - len(data)]


@cache
def _data_head(octets: int) -> bytes:
    return nested(_DATA, attribute(_VALUE, bytes(octets)))[:-octets]


def span(first: bytes, last: bytes) -> bytes:
    """All from `first` to `last`, of a set of concatenated intervals."""
    return nested(
        _ELEMENT, nested(_KEY, attribute(_VALUE, first)), nested(_KEY_END, attribute(_VALUE, last))
    )


def network(prefix: bytes, length: int, data: bytes | None = None) -> bytes:
    """A prefix, of an interval set or map: its first address, and the first one behind it."""
    behind = int.from_bytes(prefix) + (1 << 128 - length)
    if behind >> 128:
        return key(prefix, data)
    end = attribute(_VALUE, behind.to_bytes(16))
    flag = attribute(_FLAGS, struct.pack("!I", _INTERVAL_END))
    return key(prefix, data) + nested(_ELEMENT, nested(_KEY, end), flag)


def add_elements(table: str, name: str, elements: Sequence[bytes]) -> bytes:
    """Puts elements into a set; one that is there already is no error."""
    return request(_ADD, CREATE, _body(table, name, elements))


def delete_elements(table: str, name: str, elements: Sequence[bytes]) -> bytes:
    """Takes elements out of a set; one that is not there fails the transaction."""
    return request(_DELETE, 0, _body(table, name, elements))


def _body(table: str, name: str, elements: Sequence[bytes]) -> bytes:
    return _HEAD + text(_TABLE, table) + text(_SET, name) + nested(_ELEMENTS, b"".join(elements))


class Element(NamedTuple):
    """An element as the kernel has it."""

    key: bytes
    """Or the first one of a span, or of a prefix."""
    last: bytes
    """Of a span of a set of concatenated intervals; empty: it is none."""
    data: bytes
    """What a map has for it; empty: it is none, or a set."""
    is_end: bool
    """The first key behind a prefix."""


def prefixes(found: Sequence[Element]) -> Iterator[tuple[bytes, int, bytes]]:
    """The elements of an interval set or map, as `network` makes them: prefix, length, data."""
    ends = sorted(int.from_bytes(each.key) for each in found if each.is_end)
    for each in found:
        if not each.is_end:
            first = int.from_bytes(each.key)
            at = bisect_right(ends, first)
            behind = ends[at] if at < len(ends) else 1 << 128
            yield each.key, 129 - (behind - first).bit_length(), each.data


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

    def elements(self, table: str, name: str) -> list[Element]:
        """All elements of a set or map that nobody changes. Raises NetlinkError."""
        body = _HEAD + text(_TABLE, table) + text(_SET, name)
        found: dict[tuple[bytes, bytes, bool], Element] = {}
        before = -1
        while len(found) > before:  # one that was filled just now is still moved: some are missed
            before = len(found)
            for answer in self._netlink.dump(request(_GET, 0, body), f"reading set {name}"):
                held = attributes(answer.body, len(_HEAD)).get(_ELEMENTS, b"")
                for _, each in each_attribute(held):
                    element = _element(each)
                    found[element.key, element.last, element.is_end] = element
        return list(found.values())

    def close(self) -> None:
        """Gives the descriptor back."""
        self._netlink.close()


def _element(octets: bytes) -> Element:
    """Its attributes; key, last key and data are wrapped in one more."""
    found = {_KEY: b"", _KEY_END: b"", _DATA: b""}
    is_end, at = False, 0
    while at + _TWO_HEADS.size <= len(octets):
        length, kind, wrapped, _ = _TWO_HEADS.unpack_from(octets, at)
        if kind in found:
            found[kind] = octets[at + _TWO_HEADS.size : at + _TWO_HEADS.size // 2 + wrapped]
        elif kind == _FLAGS:
            is_end = bool(octets[at + length - 1] & _INTERVAL_END)
        at += length + -length % 4
    return Element(found[_KEY], found[_KEY_END], found[_DATA], is_end)
