"""What `harpd` is told beside the engine's settings: sockets, scheduling, tables, offload.

All frozen. Each class is a table of the configuration file, each field a key of it: the file's
schema (`schema`) and the reference page are made from the types, defaults and texts here. Times are
µs where a name ends in `_us`; such a key may be written `_us`, `_ms` or `_s` in the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from harp.daemon.detection.inputs import BfdInput, VrrpInput
from harp.daemon.filter.ruleset import DEFAULT_RATES
from harp.engine.config import EngineConfig
from harp.tables.constants import US_PER_MS, US_PER_S
from harp.tables.link import BAUD, MAX_BAUD
from harp.tables.offload import MAX_LEASE_MS, PASS_EVERY
from harp.tables.registers import BY_NAME

MAX_PASS_EVERY = (1 << BY_NAME["control"].field("pass_every").width) - 1
Rate = Annotated[int, Meta(ge=1, le=10_000_000)]


class LogLevel(StrEnum):
    """How much `harpd` says."""

    DEBUG = "debug"
    """Every dropped message too."""
    INFO = "info"
    """What changes."""
    WARNING = "warning"
    """What somebody should look at."""
    ERROR = "error"
    """What does not work."""


class PlaneKind(StrEnum):
    """Who forwards the mobile nodes' packets (harp.md §9, §10)."""

    AUTO = "auto"
    """The kernel where it has tunnels, else user space."""
    KERNEL = "kernel"
    """The kernel's tunnels: one metadata `ip6tnl` device, a map of care-of addresses."""
    TUN = "tun"
    """A process of harpd, through a TUN device."""
    EXTERNAL = "external"
    """An existing home agent, told through harpd's interface."""


class Policy(StrEnum):
    """Scheduling of the process (sched(7))."""

    FIFO = "fifo"
    """SCHED_FIFO: before every ordinary process."""
    OTHER = "other"
    """As any process: takeovers are late when the machine is busy."""


class Liveness(StrEnum):
    """What keeps a peer alive in the board (harp.md §7)."""

    VERIFIED = "verified"
    """Frames that are authenticated, or need no authentication."""
    SEEN = "seen"
    """HELLOs by address, group and hop limit, without a check of their MAC."""


class WatchdogAction(StrEnum):
    """What the board does when its host is gone (offload.md §4)."""

    RESIGN = "resign"
    """Says goodbye for it and fences it."""
    EVENT = "event"
    """Notes it."""


@dataclass(frozen=True, slots=True)
class Scheduling:
    """How `harpd` is scheduled; what needs a privilege that it lacks is a warning at start."""

    policy: Policy = Policy.FIFO
    """Scheduling policy."""
    priority: Annotated[int, Meta(ge=1, le=99)] = 50
    """Priority under `fifo`, 1 to 99."""
    lock_memory: bool = True
    """Locks all pages in memory (mlockall(2)): no takeover waits for a disk."""


@dataclass(frozen=True, slots=True)
class Tables:
    """Numbers that `harpd` uses in the kernel; choose others if something else has them."""

    route_table: Annotated[int, Meta(ge=1, le=0xFFFFFFFF)] = 11400
    """First routing table with the way to mobile nodes; group N has this plus N, and plus 256 for
    the way to the active."""
    rule_preference: Annotated[int, Meta(ge=1, le=32000)] = 11400
    """Preference of the first rule that switches such a table on; group N has this plus N, and plus
    256 for the way to the active."""
    fwmark: Annotated[int, Meta(ge=1, le=0xFFFFFFFF)] = 0x114
    """First firewall mark of packets to mobile nodes; group N has this plus N."""
    tunnel: Annotated[str, Meta(min_length=1, max_length=15)] = "harp0"
    """Name of the tunnel device."""


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """The socket of `harpctl`."""

    socket: Path = Path("/run/harp/control")
    """Unix socket."""
    mode: Annotated[str, Meta(pattern="^0[0-7]{3}$")] = "0660"
    """Its permissions, octal; who may write may command."""
    group: str = ""
    """Its group by name; empty: that of the process."""


RUN_DIR = Path("/run/harp")
"""Run directory unless told."""
NO_BOARD = frozenset(("none", "software"))
"""Names of devices that are this machine: the engine's timers watch, nftables filter."""


@dataclass(frozen=True, slots=True)
class OffloadSettings:
    """The board (offload.md)."""

    device: Annotated[str, Meta(min_length=1)] = "none"
    """`none`, `software` (nftables), or a pyserial URL or device: `/dev/ttyUSB1`,
    `socket://127.0.0.1:5555`; `sim:PATH` is the terminal of a simulated board, for laboratories:
    HELLOs from 50 ms × 3 on, a lease of 200 ms."""
    baud: Annotated[int, Meta(ge=9600, le=MAX_BAUD)] = BAUD
    """Bit/s of a serial device."""
    liveness: Liveness = Liveness.VERIFIED
    """What keeps a peer alive in the board."""
    lease_us: Annotated[int, Meta(ge=0, le=MAX_LEASE_MS * US_PER_MS)] = 0
    """Lease that harpd renews, at most 200 ms; 0: the shortest detection time of the groups."""
    filter: bool = True
    """Judges Mobility Headers toward this host; else the board is a wire with heartbeats."""
    watchdog: WatchdogAction = WatchdogAction.RESIGN
    """What the board does when the lease runs out while this member is active."""
    host_link_grace_us: Annotated[int, Meta(ge=0, le=60 * US_PER_S)] = US_PER_S
    """How long the port to the host may be down before the watchdog fires."""
    link_mirror: bool = True
    """Shows a loss of the network port's link to the host."""
    peers_complete: bool = False
    """HARP from addresses that are no peers is dropped instead of limited."""
    pass_every: Annotated[int, Meta(ge=1, le=MAX_PASS_EVERY)] = PASS_EVERY
    """Every so many absorbed HELLOs one passes to the host."""

    @property
    def has_board(self) -> bool:
        """A device other than this machine is configured."""
        return self.device not in NO_BOARD


@dataclass(frozen=True, slots=True)
class FilterSettings:
    """The filter in software, for a router without a board (nftables)."""

    enabled: bool = True
    """Mobility Headers are judged and limited by the kernel before harpd sees them; not beside a
    board that filters."""
    malformed_rate: Rate = DEFAULT_RATES.malformed
    """`bad_length` and `bad_payload_proto`, packets a second."""
    unknown_type_rate: Rate = DEFAULT_RATES.unknown_type
    """MH Types that nobody knows, packets a second."""
    stranger_rate: Rate = DEFAULT_RATES.stranger
    """HARP from addresses that are no members, packets a second."""
    peer_rate: Rate = DEFAULT_RATES.peer
    """HARP of each member, packets a second."""
    mobile_rate: Rate = DEFAULT_RATES.mobile
    """Binding Updates of all mobile nodes, packets a second."""


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """What the daemon, not the engine, must know of one group."""

    home_interface: str
    """Where the virtual address and the home addresses are: the group's first link unless told."""
    on_role: tuple[str, ...] = ()
    """Command run when the role changes: program and arguments; group, old role, new role and
    reason follow them."""
    detection: tuple[BfdInput | VrrpInput, ...] = ()
    """BFD sessions and VRRP instances that watch members too (harp.md §4)."""
    key_sources: tuple[tuple[int, str], ...] = ()
    """(SPI, where its key came from), for people; never the key."""


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """All that one `harpd` is told."""

    engine: EngineConfig
    """The groups."""
    groups: tuple[tuple[int, GroupSettings], ...] = ()
    """By Group ID, in the order of `engine.groups`."""
    state_dir: Path = Path("/var/lib/harp")
    """Journals and the restart counters."""
    run_dir: Path = RUN_DIR
    """What does not outlive a start of the machine."""
    log_level: LogLevel = LogLevel.INFO
    """How much is logged."""
    data_plane: PlaneKind = PlaneKind.AUTO
    """Who forwards."""
    metrics_listen: str = "[::1]:9342"
    """Address and port of the Prometheus metrics; empty: none."""
    journal: bool = True
    """Keeps a journal of bindings in `state_dir`."""
    guard: bool = True
    """Runs the process that withdraws when harpd dies (harp.md §9)."""
    scheduling: Scheduling = Scheduling()
    """How it is scheduled."""
    tables: Tables = Tables()
    """Numbers in the kernel."""
    control: ControlSettings = ControlSettings()
    """The socket of `harpctl`."""
    offload: OffloadSettings = OffloadSettings()
    """The board."""
    filter: FilterSettings = FilterSettings()
    """The filter in software."""

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Every interface that a group uses, once, in order."""
        names = [link.name for group in self.engine.groups for link in group.links]
        names += [settings.home_interface for _, settings in self.groups]
        return tuple(dict.fromkeys(names))

    def group(self, group: int) -> GroupSettings:
        """The daemon's settings of a group. Raises KeyError."""
        return dict(self.groups)[group]
