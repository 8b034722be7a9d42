"""What all sockets that are read have in common: many datagrams a call, up to a limit."""

from __future__ import annotations

import socket

from harp.daemon.sockets.batch import Batch, Datagram
from harp.daemon.sockets.options import lost


class DatagramSource:
    """A socket read in batches; a `parts.Source` whose `take` says what a datagram means."""

    def __init__(self, opened: socket.socket, slots: int, octets: int) -> None:
        self.socket = opened
        self._slots = slots
        self._batch = Batch(slots, octets)

    def take(self, datagram: Datagram) -> None:
        """One datagram."""
        raise NotImplementedError

    def fileno(self) -> int:
        """For the loop."""
        return self.socket.fileno()

    def drain(self, limit: int) -> int:
        """Delivers what waits, at most `limit`; how many those were."""
        descriptor, count, found = self.socket.fileno(), 0, self._slots
        while found == self._slots and count < limit:
            datagrams = self._batch.receive(descriptor, limit - count)
            for datagram in datagrams:
                self.take(datagram)
            found = len(datagrams)
            count += found
        return count

    @property
    def lost(self) -> int:
        """Datagrams that found no room since the start."""
        return lost(self.socket)

    def close(self) -> None:
        """Gives the descriptor back."""
        self.socket.close()
