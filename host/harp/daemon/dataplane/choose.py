"""Which data plane: as configured, or what this kernel can do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from harp.daemon.clock import SystemClock
from harp.daemon.config.model import PlaneKind
from harp.daemon.dataplane.backend import Backend
from harp.daemon.dataplane.external import ExternalBackend
from harp.daemon.dataplane.kernel import KernelBackend, kernel_has_tunnels
from harp.daemon.dataplane.leftovers import made_by
from harp.daemon.dataplane.plan import plan_of
from harp.daemon.dataplane.tun import TunBackend
from harp.engine.effects import PrepareRoute
from harp.wire.codec import Codec

if TYPE_CHECKING:
    from harp.daemon.config.model import DaemonConfig
    from harp.daemon.parts import Deliver

_log = logging.getLogger("harp.dataplane")


def make(
    config: DaemonConfig, refill: Callable[[], Iterable[PrepareRoute]], deliver: Deliver
) -> Backend | ExternalBackend:
    """The data plane of a configuration, not open yet.

    `refill`: every binding as it is, for a worker that had to be started again. `deliver`: for
    what an external home agent tells."""
    kind = config.data_plane
    if kind is PlaneKind.AUTO:
        kind = PlaneKind.KERNEL if kernel_has_tunnels() else PlaneKind.TUN
    plan = plan_of(config)
    made = made_by(plan, config.run_dir)
    if kind is PlaneKind.EXTERNAL:
        codec = Codec(config.engine.groups[0].code_points)
        return ExternalBackend(plan, made, codec, SystemClock(), _log.warning, refill, deliver)
    chosen: type[Backend] = KernelBackend if kind is PlaneKind.KERNEL else TunBackend
    return chosen(
        plan,
        config.interfaces,
        made,
        SystemClock(),
        _log.warning,
        refill,
    )
