"""One synchronous netlink socket: ask and know the answer, or send a hundred and ask once.

Ref: RFC 3549 §2.3.2 (acknowledgements); netlink(7) (extended acknowledgements)
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence

from harp.daemon.netlink.message import ACK, DUMP, HEADER, Answer, attributes, split

ROUTE = 0
"""NETLINK_ROUTE: links, addresses, rules, routes."""
NETFILTER = 12
"""NETLINK_NETFILTER: nftables."""

_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_ERROR, _DONE = 2, 3
_SEQUENCE_AT = 8
_FLAGS_AT = 6
_EXT_TEXT = 1
"""NLMSGERR_ATTR_MSG."""
_CAPPED_ERROR = 4 + HEADER.size
"""Error code and the header it is about: where extended attributes begin under NETLINK_CAP_ACK."""
_BUFFER_OCTETS = 4 << 20
"""Room for the errors of a whole batch."""
_TIMEOUT_S = 2
"""The kernel answers within the system call; more is a bug, not a wait."""


class NetlinkError(OSError):
    """The kernel refused; its text names what was attempted."""

    @classmethod
    def of(cls, code: int, what: str, said: str = "") -> NetlinkError:
        """`what` (such as "adding rule 100"), why, and the kernel's own words."""
        reason = f"{os.strerror(code)} ({said})" if said else os.strerror(code)
        error = cls(f"{what}: {reason}")
        error.errno = code
        return error


class Netlink:
    """Requests and their answers, one at a time. Not for two threads at once."""

    def __init__(self, family: int = ROUTE) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family
        )
        self._socket.bind((0, 0))
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        self._socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", _TIMEOUT_S, 0)
        )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_OCTETS)
        self._sequence = 0
        self._family = family

    def close(self) -> None:
        """Gives the descriptor back."""
        self._socket.close()

    def fileno(self) -> int:
        """For handing it to a child."""
        return self._socket.fileno()

    def ask(self, request: bytes, what: str) -> None:
        """One request; `what` (such as "adding rule 100") begins the text of a NetlinkError."""
        failures = self.send([request])
        if failures:
            raise NetlinkError.of(failures[0][0], what, failures[0][1])

    def send(
        self, requests: Sequence[bytes], acknowledged: int = -1
    ) -> Mapping[int, tuple[int, str]]:
        """Requests in one system call, one of them (the last) acknowledged: all are carried out
        when this returns. Those that failed, by index: errno and the kernel's words."""
        first = self._sequence + 1
        self._sequence += len(requests)
        acknowledged %= len(requests)
        batch = bytearray().join(requests)
        at = 0
        for index, request in enumerate(requests):
            struct.pack_into("=I", batch, at + _SEQUENCE_AT, (first + index) & 0xFFFFFFFF)
            if index == acknowledged:
                (flags,) = struct.unpack_from("=H", batch, at + _FLAGS_AT)
                struct.pack_into("=H", batch, at + _FLAGS_AT, flags | ACK)
            at += len(request)
        self._socket.send(batch)
        return dict(self._failures(first, acknowledged))

    def _failures(self, first: int, acknowledged: int) -> Iterator[tuple[int, tuple[int, str]]]:
        while True:
            for answer in split(self._receive()):
                index = (answer.sequence - first) & 0xFFFFFFFF
                if answer.kind != _ERROR or index > acknowledged:
                    continue
                code = -struct.unpack_from("=i", answer.body)[0]
                if code:
                    yield index, (code, _words(answer))
                # A transaction that cannot even begin is refused as its first message.
                if index == acknowledged or (code and not index and self._family == NETFILTER):
                    return

    def dump(self, request: bytes, what: str) -> list[Answer]:
        """All that a dump request brings. Raises NetlinkError."""
        self._sequence += 1
        message = bytearray(request)
        (flags,) = struct.unpack_from("=H", message, _FLAGS_AT)
        struct.pack_into("=H", message, _FLAGS_AT, flags | DUMP)
        struct.pack_into("=I", message, _SEQUENCE_AT, self._sequence & 0xFFFFFFFF)
        self._socket.send(message)
        found: list[Answer] = []
        while True:
            for answer in split(self._receive()):
                if answer.sequence != self._sequence & 0xFFFFFFFF:
                    continue
                if answer.kind == _DONE:
                    return found
                if answer.kind == _ERROR:
                    raise NetlinkError.of(-struct.unpack_from("=i", answer.body)[0], what)
                found.append(answer)

    def _receive(self) -> bytes:
        return self._socket.recv(1 << 18)


def _words(answer: Answer) -> str:
    return attributes(answer.body, _CAPPED_ERROR).get(_EXT_TEXT, b"\0")[:-1].decode()
