"""The worker process as harpd sees it: started, fed, heard, started again when it dies."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Mapping

from harp.daemon.dataplane.feed import REPORT_OCTETS, Report, flushed_frame, unpack_report
from harp.daemon.dataplane.worker import WorkerPlan
from harp.daemon.privileges import at_once

_SEND_OCTETS = 1 << 18
"""At a time: a quarter of a millisecond."""
_BUFFER_OCTETS = 4 << 20


class Child:
    """One worker at a time. Not for two threads."""

    def __init__(
        self,
        module: str,
        plan: WorkerPlan,
        descriptors: Mapping[str, int],
    ) -> None:
        self.report = Report()
        """The last one heard."""
        self.asked = 0
        """FLUSHED frames sent."""
        self._module = module
        self._plan = plan
        self._descriptors = descriptors
        self._queue = bytearray()
        self._heard = bytearray()
        self._start()

    def _start(self) -> None:
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        mine.setblocking(False)
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_OCTETS)
        feed = (str(theirs.fileno()),)
        others = [f"{name}={number}" for name, number in self._descriptors.items()]
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [*at_once(), sys.executable, "-m", self._module, *feed, *others],
                    pass_fds=(theirs.fileno(), *self._descriptors.values()),
                    stdin=subprocess.DEVNULL,
                    # A Ctrl-C at the terminal is for harpd: it ends its workers itself.
                    start_new_session=True,
                )
        except OSError:
            mine.close()
            raise
        self._socket = mine
        self._queue[:] = self._plan.dump()
        self._heard.clear()
        self.report, self.asked = Report(), 0

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def waiting(self) -> bool:
        """Something is to be sent."""
        return bool(self._queue)

    @property
    def octets(self) -> int:
        """How much that is."""
        return len(self._queue)

    def kill(self) -> None:
        """It takes nothing any more: what waits for it is of no use."""
        self._process.kill()
        self._queue.clear()

    def put(self, frame: bytes) -> None:
        """Queues a frame."""
        self._queue += frame

    def flush(self) -> None:
        """Queues the question when all before is done: `report.flushed` becomes `asked`."""
        self.asked += 1
        self._queue += flushed_frame()

    def pump(self) -> bool:
        """Sends what it takes, reads what it says; False: it is dead. Never blocks."""
        try:
            if self._queue:
                sent = self._socket.send(memoryview(self._queue)[:_SEND_OCTETS].tobytes())
                del self._queue[:sent]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return self._read()

    def _read(self) -> bool:
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError:
                return False
            if not data:
                return False
            self._heard += data
        whole = len(self._heard) // REPORT_OCTETS * REPORT_OCTETS
        if whole:
            self.report = unpack_report(bytes(self._heard[whole - REPORT_OCTETS : whole]))
            del self._heard[:whole]
        return True

    def restart(self) -> int | None:
        """A new one in place of one that died, with nothing in its table; how the old one ended.
        Raises OSError: there is none."""
        self.stop()
        status = self._process.returncode
        self._start()
        return status

    def stop(self) -> None:
        """Ends it."""
        self._socket.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
