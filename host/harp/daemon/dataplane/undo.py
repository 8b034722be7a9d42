"""`harpd --undo`: removes what a dead harpd of this configuration left in the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harp.cli.common import Failure
from harp.daemon.dataplane.leftovers import clean, forget, made_by
from harp.daemon.dataplane.plan import plan_of
from harp.daemon.netlink.connection import Netlink

if TYPE_CHECKING:
    from harp.daemon.config.model import DaemonConfig


def undo(config: DaemonConfig) -> list[str]:
    """A line for each thing removed. Raises Failure."""
    made = made_by(plan_of(config), config.run_dir)
    netlink = Netlink()
    try:
        done = clean(netlink, made)
    except OSError as error:
        raise Failure(f"withdrawing: {error}") from None
    finally:
        netlink.close()
    forget(made)
    return done
