"""`harpd --undo`: withdraws what a harpd that died has left in the kernel.

Ref: harp.md §9
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harp.cli.common import Failure
from harp.daemon import privileges
from harp.daemon.config.model import DaemonConfig
from harp.daemon.dataplane.leftovers import Made, clean, forget, made_by, noted
from harp.daemon.dataplane.plan import plan_of
from harp.daemon.filter.nft import remove
from harp.daemon.netlink.connection import Netlink
from harp.daemon.sockets.mip6 import remove_leftovers


def undo(config: DaemonConfig) -> Iterator[str]:
    """What is removed, one line each, as it is. `Failure`: a harpd runs, or something stays."""
    yield from _undo(config.run_dir, made_by(plan_of(config), config.run_dir))


def undo_noted(run_dir: Path) -> Iterator[str]:
    """The same of what a harpd wrote down in its run directory: for a configuration that cannot be
    read any more."""
    made = noted(run_dir)
    if made is not None:
        yield from _undo(run_dir, made)


def _undo(run_dir: Path, made: Made) -> Iterator[str]:
    with privileges.single_instance(run_dir):
        netlink = Netlink()
        try:
            yield from clean(netlink, made)
        except OSError as error:
            raise Failure(f"withdrawing: {error}") from None
        finally:
            netlink.close()
        forget(made)
        remove_leftovers()
        remove()
