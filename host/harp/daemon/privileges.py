"""What the process may do, how it is scheduled and kept in memory; one instance per directory.

Ref: sched(7), chrt(1), mlockall(2), flock(2), capabilities(7)
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import os
import resource
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harp.cli.common import Failure
from harp.daemon.config.model import Policy, Scheduling

_CURRENT_AND_FUTURE = 1 | 2
"""MCL_CURRENT, MCL_FUTURE."""
_SET_DUMPABLE = 4
"""PR_SET_DUMPABLE (prctl(2))."""
_SWITCH_S = 0.0005
"""Longest time that another thread keeps the interpreter while the loop wants it, seconds."""
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13}
_SYS_NICE = 23
"""Numbers as linux/capability.h has them."""
_AT_ONCE = ("--fifo", "1")
"""For chrt: before ordinary programs, behind all others."""
_libc = ctypes.CDLL(None, use_errno=True)


def demand_capabilities() -> None:
    """`Failure`: one of those without which no address, rule or raw socket can be made."""
    held = _effective()
    missing = [name for name, number in _CAPABILITIES.items() if not held >> number & 1]
    if missing:
        raise Failure(
            f"not permitted: {' and '.join(missing)} missing; harpd runs as root, or by its unit, "
            "which gives it CAP_NET_ADMIN and CAP_NET_RAW"
        )


def _effective() -> int:
    """Capabilities as a mask."""
    status = Path("/proc/self/status").read_bytes()
    return int(status.partition(b"CapEff:")[2].split(maxsplit=1)[0], 16)


def apply(scheduling: Scheduling) -> list[str]:
    """As configured; what was not permitted, one line each.

    Threads and processes started later are ordinary ones: those that want more ask for it
    (`as_the_loop`)."""
    refused: list[str] = []
    # A core dump would hold the keys, and keep a dead process's sockets and addresses alive.
    _libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    sys.setswitchinterval(_SWITCH_S)
    fifo = scheduling.policy is Policy.FIFO
    try:
        os.sched_setscheduler(
            0,
            (os.SCHED_FIFO if fifo else os.SCHED_OTHER) | os.SCHED_RESET_ON_FORK,
            os.sched_param(scheduling.priority if fifo else 0),
        )
    except PermissionError:
        if fifo:
            refused.append(
                "real-time scheduling is not permitted (CAP_SYS_NICE, or LimitRTPRIO= in the unit):"
                " takeovers are late when the machine is busy"
            )
    if scheduling.lock_memory and _libc.mlockall(_CURRENT_AND_FUTURE) < 0:
        why = os.strerror(ctypes.get_errno())
        refused.append(
            f"locking memory failed: {why} (CAP_IPC_LOCK, or LimitMEMLOCK=infinity in the unit):"
            " takeovers may wait for a disk"
        )
    return refused


def as_the_loop() -> None:
    """Called by each thread at its start: scheduled as the loop's thread is.

    A thread of lower priority would be interrupted by other programs while it holds the
    interpreter, and the loop would wait for both."""
    policy = os.sched_getscheduler(os.getpid())
    if policy & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO:
        parameters = os.sched_getparam(os.getpid())
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, policy | os.SCHED_RESET_ON_FORK, parameters)


def at_once() -> tuple[str, ...]:
    """What the command begins with of a program that must not wait for its start, where the loop is
    real-time: an interpreter loads for seconds on a busy machine. It becomes an ordinary program by
    itself."""
    policy = os.sched_getscheduler(os.getpid()) & ~os.SCHED_RESET_ON_FORK
    permitted = resource.getrlimit(resource.RLIMIT_RTPRIO)[0] or _effective() >> _SYS_NICE & 1
    chrt = shutil.which("chrt")
    return (chrt, *_AT_ONCE) if chrt and permitted and policy == os.SCHED_FIFO else ()


def settle_memory() -> None:
    """What lives from the start on is not looked at by the garbage collector again."""
    gc.collect()
    gc.freeze()


@contextmanager
def single_instance(run_dir: Path) -> Iterator[None]:
    """Holds the lock of a run directory. `Failure`: another harpd has it, or it cannot be made."""
    path = run_dir / "lock"
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}; set daemon.run_dir to another place") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 32).decode("ascii", "replace").strip()
            raise Failure(
                f"{path}: harpd runs already (process {owner or 'unknown'}); a second one wants a "
                "daemon.run_dir of its own"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
