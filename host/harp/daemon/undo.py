"""`harpd --undo`: withdraws what a harpd that died has left in the kernel.

Ref: harp.md §9
"""

from __future__ import annotations

from harp.daemon import privileges
from harp.daemon.config.model import DaemonConfig
from harp.daemon.dataplane.undo import undo as undo_data_plane
from harp.daemon.filter.nft import remove
from harp.daemon.sockets.mip6 import remove_leftovers


def undo(config: DaemonConfig) -> list[str]:
    """What was removed, one line each. `Failure`: a harpd runs."""
    with privileges.single_instance(config.run_dir):
        lines = undo_data_plane(config)
        remove()
        remove_leftovers()
        return lines
