"""Root, or what stands for it: the laboratory needs to make network namespaces.

Ref: user_namespaces(7), unshare(1), sched(7)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import cache

from harp.cli.common import Failure

INSIDE = "HARP_LAB_USER_NAMESPACE"
"""Set in the environment of a laboratory that runs in a user namespace of its own."""
UNSHARE = ("unshare", "--user", "--map-root-user", "--net", "--mount", "--fork", "--kill-child")
PRIVATE_RUN = 'mount -t tmpfs none /run && mkdir -p /run/netns && exec "$@"'
"""`ip netns` mounts below /run: a private one."""


def may_make_namespaces() -> bool:
    """Whether this process may make network namespaces as it is."""
    return _works(("unshare", "--net", "true"))


def user_namespaces_work() -> bool:
    """Whether the kernel lets this user have a user namespace in which that works."""
    return _works((*UNSHARE, "sh", "-c", PRIVATE_RUN, "sh", "ip", "netns", "add", "probe"))


@cache
def may_be_real_time() -> bool:
    """Whether programs may be started with real-time priority: not in a user namespace."""
    return _works(("chrt", "--fifo", "1", "true"))


def _works(command: tuple[str, ...]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def why_not() -> str | None:
    """One line that says why no laboratory can run here and what to do; None: one can."""
    if may_make_namespaces() or user_namespaces_work():
        return _no_tun()
    if os.geteuid() == 0:
        return "network namespaces are not allowed here (a container without CAP_SYS_ADMIN)"
    return f"the laboratory needs root or unprivileged user namespaces; run: sudo {_command()}"


def _no_tun() -> str | None:
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        return f"/dev/net/tun: {error.strerror}; load the kernel's module: sudo modprobe tun"
    return None


def ensure() -> None:
    """Returns where namespaces may be made: here, or in this program run again in a user
    namespace. Failure names the one command to run."""
    # A laboratory that is asked to end takes itself down.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if may_make_namespaces():
        return
    reason = why_not()
    if reason is not None or os.environ.get(INSIDE):
        raise Failure(reason or "no network namespaces within a user namespace")
    command = (*UNSHARE, "sh", "-c", PRIVATE_RUN, "sh", *sys.orig_argv)
    os.execvpe(command[0], command, os.environ | {INSIDE: "1"})


def _command() -> str:
    return " ".join(sys.orig_argv)
