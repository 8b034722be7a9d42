"""The offload that a configuration asks for.

Ref: offload.md §6; architecture ("one device interface")
"""

from __future__ import annotations

from random import Random

from harp.cli.common import Failure
from harp.daemon.absent import NoOffload
from harp.daemon.clock import Clock
from harp.daemon.config.model import DaemonConfig
from harp.daemon.log import tell
from harp.daemon.offload.bridge import Bridge
from harp.daemon.offload.layout import lanes, settings
from harp.daemon.offload.shell import SerialOffload, mac_of
from harp.daemon.parts import Deliver, Offload
from harp.offload.driver import Driver
from harp.tables.constants import US_PER_MS


def make_offload(config: DaemonConfig, deliver: Deliver, clock: Clock) -> Offload:
    """Raises Failure where the configuration leaves open which link runs through the board."""
    board = config.offload
    if not board.has_board:
        return NoOffload()
    through = lanes(config)
    if not through:
        raise Failure(
            "offload: which link runs through the board? write slots = true in its [[group.link]]"
        )
    wanted = settings(config, through)
    driver = Driver(wanted, board.baud, Random())
    bridge = Bridge(through, driver, wanted.lease_ms * US_PER_MS, mac_of)
    return SerialOffload(board.device, board.baud, driver, bridge, deliver, clock, tell)
