"""Reads a port in a thread of its own and hands what comes to the loop.

Data of a tty are handed on by a kernel thread of ordinary priority, and poll(2) and read(2) wait
for it: on a busy machine a tenth of a second and more, which a lease does not have. Writing does
not wait for it, and stays with the loop.
Ref: Linux drivers/tty/tty_buffer.c (tty_buffer_flush_work), n_tty.c (n_tty_poll, n_tty_read)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
from collections.abc import Callable
from typing import TypeVar

from harp.daemon.privileges import as_the_loop
from harp.offload.port import Port, PortFailed

_T = TypeVar("_T")
PIECES = 8
"""What the loop has not taken: more waits in the kernel, which tells the other end."""


class PortReader:
    """Owns an open port that has a descriptor, until `stop`.

    `received` is called in the loop with what came, `failed` once when the port is lost. The thread
    closes the port, when nobody reads it any more and nobody will write: after `stop`, and soon.
    """

    def __init__(
        self,
        port: Port,
        descriptor: int,
        received: Callable[[bytes], None],
        failed: Callable[[PortFailed], None],
    ) -> None:
        self._port, self._descriptor = port, descriptor
        self._received, self._failed = received, failed
        self._loop = asyncio.get_running_loop()
        self._room = threading.Semaphore(PIECES)
        self._stopped = threading.Event()
        self._wake = os.eventfd(0)
        threading.Thread(target=self._run, name="harpd-port", daemon=True).start()

    def stop(self) -> None:
        """Nothing is handed over any more, and the port is given back. Once; waits for nobody."""
        self._room.release()
        os.eventfd_write(self._wake, 1)
        self._stopped.set()  # last: now the thread closes what it woke up by

    def _run(self) -> None:
        as_the_loop()
        try:
            self._read()
        except PortFailed as error:
            self._call(self._fail, error)
        finally:
            self._stopped.wait()
            self._port.close()
            os.close(self._wake)

    def _read(self) -> None:
        """Until `stop`. Raises PortFailed."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while self._wake not in dict(poll.poll()):
            self._room.acquire()
            self._call(self._take, self._port.read())

    def _call(self, step: Callable[[_T], None], value: _T) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(step, value)

    # In the loop

    def _take(self, octets: bytes) -> None:
        self._room.release()
        if not self._stopped.is_set():
            self._received(octets)

    def _fail(self, error: PortFailed) -> None:
        if not self._stopped.is_set():
            self._failed(error)
