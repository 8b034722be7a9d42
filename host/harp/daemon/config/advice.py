"""What a configuration allows but hardly anybody means; none of it keeps `harpd` from starting."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address

from harp.daemon.config.listen import parse_listen
from harp.daemon.config.model import DaemonConfig, Policy
from harp.daemon.config.problem import Problem
from harp.daemon.config.values import readable_us
from harp.engine.config import AuthMode, GroupConfig, Protection, Security
from harp.tables.constants import US_PER_MS
from harp.tables.offload import (
    LEASE_ROUND_TRIPS,
    MAX_JITTER_PERCENT,
    MAX_LEASE_MS,
    MIN_PERIOD_US,
    PEERS,
    SLOTS,
)

MIN_SOFTWARE_INTERVAL_US = 5 * US_PER_MS
"""Below it a timer of the operating system is late too often (0.2 to 2 ms at p99.9)."""
ROUND_TRIP_US = 2 * US_PER_MS
"""Of a serial link with 1 ms of latency each way, as USB has it at best."""


def warnings_of(config: DaemonConfig) -> Iterator[Problem]:
    """In the order of the file."""
    yield from _process(config)
    if config.offload.has_board:
        yield from _board(config)
    for number, group in enumerate(config.engine.groups, 1):
        place = f"group {number} (id {group.group})"
        yield from _protection(place, group)
        yield from _addresses(place, group)
        yield from _detection(place, group, config.offload.has_board)


def _process(config: DaemonConfig) -> Iterator[Problem]:
    listen = parse_listen(config.metrics_listen)
    if listen and not listen.address.is_loopback:
        what = f"{listen.address} is not loopback: whoever reaches it reads the metrics"
        yield Problem("daemon", "metrics_listen", what, '"[::1]:9342"')
    if int(config.control.mode, 8) & 0o002:
        what = f"{config.control.mode} lets everybody command harpd"
        yield Problem("control", "mode", what, 'mode = "0660"')
    if config.scheduling.policy is Policy.OTHER:
        what = '"other": takeovers are late when the machine is busy'
        yield Problem("scheduling", "policy", what, 'policy = "fifo"')
    if not config.guard:
        what = "false: when harpd is killed the virtual address stays until its lifetime ends"
        yield Problem("daemon", "guard", what, "guard = true")


def _board(config: DaemonConfig) -> Iterator[Problem]:
    groups = config.engine.groups
    peers = sum(len(group.peers) * len(group.links) for group in groups)
    slots = sum(link.slots for group in groups for link in group.links)
    if peers > PEERS:
        what = f"{peers} peer addresses, a board watches {PEERS}: harpd watches the others"
        yield Problem("offload", "device", what)
    if slots > SLOTS:
        what = f"{slots} links with slots, a board has {SLOTS}: harpd sends for the others"
        yield Problem("offload", "device", what)
    detection_us = [group.detection_us for group in groups if any(li.slots for li in group.links)]
    lease_us = config.offload.lease_us or min([*detection_us, MAX_LEASE_MS * US_PER_MS])
    if lease_us < LEASE_ROUND_TRIPS * ROUND_TRIP_US:
        what = (
            f"the lease of {readable_us(lease_us)} is short for a serial link: a board refuses one"
            f" below {LEASE_ROUND_TRIPS} round trips"
        )
        yield Problem("offload", "lease", what, "lease_ms = 20")


def _protection(place: str, group: GroupConfig) -> Iterator[Problem]:
    protection = group.protection
    if protection.security is Security.NONE:
        yield Problem(place, "security", '"none": everybody on the link can take over')
    elif protection.insecure:
        yield Problem(place, "insecure", 'true has no effect without security = "none"')
    if protection.security is Security.IPSEC and not protection.keys:
        yield from _ipsec(place, group)
    if protection.keys and protection.auth is not AuthMode.ENFORCE:
        what = f'"{protection.auth}" is a step on the way: members without the key are heard'
        yield Problem(place, "auth", what, 'auth = "enforce" once all members sign')
    if not protection.keys and protection.auth is not Protection().auth:
        yield Problem(place, "auth", "has no effect without a [[group.key]]")


def _ipsec(place: str, group: GroupConfig) -> Iterator[Problem]:
    """harp.md §7: "Multicast HELLO cannot run in that ESP"."""
    if any(link.multicast for link in group.links):
        what = (
            "IPsec cannot protect multicast: HELLOs go unicast to each member;"
            " a [[group.key]] lets them be multicast again"
        )
        yield Problem(place, "link", what, "multicast = false says that it is meant")


def _addresses(place: str, group: GroupConfig) -> Iterator[Problem]:
    if not group.home_prefixes:
        what = "there is none: no mobile node can register"
        yield Problem(place, "home_prefixes", what, 'home_prefixes = ["2001:db8:1::/64"]')
    elif group.virtual_address and not any(
        prefix.contains(group.virtual_address) for prefix in group.home_prefixes
    ):
        what = f"{IPv6Address(group.virtual_address)} is in no home prefix (RFC 6275 §8.4)"
        yield Problem(place, "virtual_address", what)
    if len(group.members) == 1:
        yield Problem(place, "member", f"{group.me.name} is alone: nobody can take over")


def _detection(place: str, group: GroupConfig, board: bool) -> Iterator[Problem]:
    interval = readable_us(group.hello_interval_us)
    slots = any(link.slots for link in group.links)
    if slots and not board:
        what = "slots = true has no effect without a board"
        yield Problem(place, "link", what, '[offload] device = "/dev/ttyUSB1"')
    if slots and group.jitter_percent > MAX_JITTER_PERCENT:
        what = f"{group.jitter_percent}: a slot has a jitter of {MAX_JITTER_PERCENT} % at most"
        yield Problem(place, "jitter_percent", what, f"jitter_percent = {MAX_JITTER_PERCENT}")
    if slots and group.hello_interval_us < MIN_PERIOD_US:
        what = f"{interval}: a slot sends every {MIN_PERIOD_US} µs at most"
        yield Problem(place, "hello_interval", what, "hello_interval_us = 100")
    elif group.hello_interval_us < MIN_SOFTWARE_INTERVAL_US and not (slots and board):
        what = f"{interval} is short for a timer in software: members may be declared dead in error"
        yield Problem(place, "hello_interval", what, "hello_interval_ms = 10")
    if group.skew_us < group.hello_interval_us:
        what = f"{readable_us(group.skew_us)} is less than a HELLO interval: two may take over"
        yield Problem(place, "takeover_skew", what, "takeover_skew_ms = 0 for two HELLO intervals")
    if len(group.members) == 2 and group.quorum:
        what = "2 of 2: neither member serves alone; add a witness"
        yield Problem(place, "quorum", what, "[[group.member]] with witness = true")
