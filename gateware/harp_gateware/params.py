"""Parameters of one build of the core, checked when they are made.

Ref: offload.md §1 (two maximum frames buffered, monitor with one port), §3 (peers), §4 (slots)
"""

import hashlib
from dataclasses import asdict, dataclass

from harp.tables.offload import (
    FENCE_ADDRESSES,
    LOCAL_ADDRESSES,
    MAX_FRAME_OCTETS,
    PEERS,
    SLOTS,
    Capability,
)

WORD_OCTETS = 8


@dataclass(frozen=True, slots=True)
class CoreParams:
    """What can be chosen when a core is built. Raises ValueError, naming the parameter."""

    ports: int = 2
    """Ethernet ports: 2, or 1 for a monitor (no drop action, no fence)."""
    peers: int = PEERS
    """Home agents watched, 1 to 32."""
    slots: int = SLOTS
    """Frames that the core sends by itself, 1 to 8."""
    local_addresses: int = LOCAL_ADDRESSES
    """Entries of the local table, 1 to 16."""
    fence_addresses: int = FENCE_ADDRESSES
    """Addresses whose NAs a fence drops, 1 to 8."""
    buffer_octets: int = 20 * 1024
    """Frame buffer network → host: whole KiB, two maximum frames and their ends fit."""
    host_buffer_octets: int = 12 * 1024
    """Buffer host → network: whole KiB, one maximum frame fits."""
    frames: int = 512
    """Frames in the buffer at once: a power of two, enough for minimum frames to fill it."""
    clock_hz: int = 125_000_000
    """Clock of the core; a whole number of MHz from 25 to 250."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("ports", 1, 2),
            ("peers", 1, PEERS),
            ("slots", 1, SLOTS),
            ("local_addresses", 1, LOCAL_ADDRESSES),
            ("fence_addresses", 1, FENCE_ADDRESSES),
            ("clock_hz", 25_000_000, 250_000_000),
        ):
            _in_range(name, getattr(self, name), low, high)
        if self.clock_hz % 1_000_000:
            raise ValueError(f"clock_hz = {self.clock_hz}: no whole number of MHz")
        _memory("buffer_octets", self.buffer_octets, 2 * MAX_FRAME_OCTETS)
        _memory("host_buffer_octets", self.host_buffer_octets, MAX_FRAME_OCTETS)
        if self.frames & (self.frames - 1) or self.frames * 64 < self.buffer_octets:
            raise ValueError(
                f"frames = {self.frames}: not a power of two of at least {self.buffer_octets // 64}"
            )

    @property
    def monitor(self) -> bool:
        """One port: verdicts and events only."""
        return self.ports == 1

    @property
    def buffer_words(self) -> int:
        """64-bit words of the frame buffer."""
        return self.buffer_octets // WORD_OCTETS

    @property
    def host_buffer_words(self) -> int:
        """64-bit words of the buffer host → network."""
        return self.host_buffer_octets // WORD_OCTETS

    @property
    def capabilities(self) -> Capability:
        """What `capabilities.flags` says of this build."""
        return Capability.MONITOR_ONLY if self.monitor else Capability(0)

    @property
    def hash(self) -> int:
        """`parameter_hash`: first 4 octets of SHA-256 over the parameters as `name=value` lines."""
        lines = "".join(f"{name}={value}\n" for name, value in asdict(self).items())
        return int.from_bytes(hashlib.sha256(lines.encode()).digest()[:4], "big")


def _in_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} = {value}: not in {low} to {high}")


def _memory(name: str, value: int, least: int) -> None:
    """Octets of a buffer: whole KiB and room for the longest frames beside what is kept free."""
    if value <= least or value % 1024:
        raise ValueError(f"{name} = {value}: not whole KiB above {least}")
