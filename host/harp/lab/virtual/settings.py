"""The settings of a scenario: their names, defaults, and the group configuration they make.

Defaults are quick versions of harp.md §8, in the same proportions where a rule depends on them, so
that twenty simulated seconds hold several takeovers and the quiet after them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harp.engine.config import (
    AuthMode,
    Durability,
    GroupConfig,
    HomeAgentConfig,
    Key,
    LinkConfig,
    MemberConfig,
    Prefix,
    Protection,
    Security,
    SwitchMode,
    SyncConfig,
)
from harp.lab.virtual.network import Quality

if TYPE_CHECKING:
    from harp.lab.virtual.scenario import Scenario

GROUP = 7
"""Group ID of every scenario's group."""
HOME_PREFIX = bytes.fromhex("20010db800000001") + bytes(8)
VIRTUAL_ADDRESS = HOME_PREFIX[:15] + b"\x01"
KEY = Key(300, b"sixteen or more octets of a key")


@dataclass(frozen=True, slots=True)
class Setting:
    """One line `set NAME VALUE`."""

    read: Callable[[str], Any]
    """Text to value; raises ValueError."""
    default: str
    doc: str


def _choice(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise ValueError(f"{text!r}: one of {', '.join(names)}")
        return text

    return read


_SWITCH = _choice("0", "1")

SETTINGS: dict[str, Setting] = {
    "hello_interval_ms": Setting(int, "200", "nominal HELLO interval"),
    "multiplier": Setting(int, "3", "intervals until down"),
    "mode": Setting(_choice("virtual", "hard"), "virtual", "switch mode"),
    "security": Setting(_choice("none", "psk"), "none", "HA-HA authentication"),
    "multicast": Setting(_SWITCH, "1", "multicast HELLOs"),
    "preferences": Setting(_choice("equal", "ladder"), "ladder", "ladder: a before b before c"),
    "preempt": Setting(_SWITCH, "0", "preemption"),
    "preempt_delay_ms": Setting(int, "300", "before it"),
    "quorum": Setting(int, "0", "0: none"),
    "witness": Setting(_SWITCH, "0", "1: the last member is a witness"),
    "digest_interval_ms": Setting(int, "400", "between digests"),
    "resync_min_ms": Setting(int, "400", "between full syncs for a digest"),
    "sync_timeout_ms": Setting(int, "1000", "longest full sync"),
    "reconcile_timeout_ms": Setting(int, "300", "longest reconcile"),
    "reliability_timeout_ms": Setting(int, "2000", "HARELIABILITY_TIMEOUT"),
    "switch_timer_ms": Setting(int, "150", "first repetition of SO-REQ, SB-REQ, SW-COMP"),
    "ss_req_timer_ms": Setting(int, "200", "first repetition of SS-REQ"),
    "ss_rep_timer_ms": Setting(int, "20", "first repetition of SS-REP"),
    "durability": Setting(_choice("standby", "local"), "standby", "when Success is answered"),
    "durability_timeout_ms": Setting(int, "100", "then it is unprotected"),
    "journal_sync": Setting(_SWITCH, "0", "Success waits for the disk too"),
    "mtu": Setting(int, "1500", "octets between members"),
    "stream_window": Setting(int, "64", "SS-REPs of an answer under way"),
    "dad": Setting(_SWITCH, "0", "duplicate address detection"),
    "max_lifetime_s": Setting(int, "600", "cap on binding lifetimes"),
    "lifetime_s": Setting(int, "600", "what mobile nodes ask for; a multiple of 4"),
    "refresh_ms": Setting(int, "2000", "mobile nodes register again after this"),
    "delay_us": Setting(int, "500", "links: least delay"),
    "jitter_us": Setting(int, "300", "links: more, up to this"),
    "loss_percent": Setting(float, "0", "links: loss all the time"),
    "early": Setting(_SWITCH, "0", "1: ends when nothing is under way any more"),
    "late_us": Setting(int, "200", "members: timers fire up to this late"),
    "disk_us": Setting(int, "2000", "members: a journal record is on disk after this"),
}


class Settings:
    """A scenario's settings as values: `settings["hello_interval_ms"]`.

    Raises ValueError on a name or value that is not known.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        given = dict(scenario.settings)
        unknown = sorted(set(given) - set(SETTINGS))
        if unknown:
            raise ValueError(f"unknown setting {unknown[0]}; known: {', '.join(SETTINGS)}")
        self._values: dict[str, Any] = {}
        for name, setting in SETTINGS.items():
            try:
                self._values[name] = setting.read(given.get(name, setting.default))
            except ValueError as problem:
                raise ValueError(f"setting {name}: {problem}") from problem

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def us(self, name: str) -> int:
        """A setting in ms as µs."""
        return int(self._values[name]) * 1_000

    def on(self, name: str) -> bool:
        """A setting that is 0 or 1."""
        return bool(self._values[name] == "1")

    def quality(self) -> Quality:
        """Of every link at the start."""
        return Quality(
            delay_us=self["delay_us"],
            jitter_us=self["jitter_us"],
            loss=self["loss_percent"] / 100,
        )

    def witness(self, index: int) -> bool:
        """Whether member number `index` is the witness."""
        return self.on("witness") and index == self.scenario.members - 1

    def group(self, index: int) -> GroupConfig:
        """The group as member number `index` is configured."""
        scenario = self.scenario
        members = tuple(
            MemberConfig(
                name,
                tuple(member_address(number, link) for link in range(scenario.links)),
                witness=self.witness(number),
            )
            for number, name in enumerate(scenario.names)
        )
        psk = self["security"] == "psk"
        return GroupConfig(
            group=GROUP,
            links=tuple(
                LinkConfig(link_name(number), self.on("multicast"))
                for number in range(scenario.links)
            ),
            members=members,
            self_index=index,
            preference=100 if self["preferences"] == "equal" else 100 - 10 * index,
            mode=SwitchMode(self["mode"]),
            virtual_address=VIRTUAL_ADDRESS if self["mode"] == "virtual" else b"",
            home_prefixes=(Prefix(HOME_PREFIX, 64),),
            hello_interval_us=self.us("hello_interval_ms"),
            multiplier=self["multiplier"],
            init_wait_us=3 * self.us("hello_interval_ms"),
            preempt=self.on("preempt"),
            preempt_delay_us=self.us("preempt_delay_ms"),
            quorum=self["quorum"],
            switch_timer_us=self.us("switch_timer_ms"),
            switch_drain_us=self.us("reconcile_timeout_ms"),
            reliability_timeout_us=self.us("reliability_timeout_ms"),
            protection=Protection(Security.PSK, auth=AuthMode.ENFORCE, keys=(KEY,))
            if psk
            else Protection(Security.NONE, insecure=True),
            sync=self._sync(),
            home_agent=HomeAgentConfig(
                max_lifetime_s=self["max_lifetime_s"], dad=self.on("dad"), dad_timeout_us=400_000
            ),
        )

    def _sync(self) -> SyncConfig:
        return SyncConfig(
            durability=Durability(self["durability"]),
            durability_timeout_us=self.us("durability_timeout_ms"),
            journal_sync=self.on("journal_sync"),
            ss_rep_timer_us=self.us("ss_rep_timer_ms"),
            ss_req_timer_us=self.us("ss_req_timer_ms"),
            sync_timeout_us=self.us("sync_timeout_ms"),
            digest_interval_us=self.us("digest_interval_ms"),
            resync_min_us=self.us("resync_min_ms"),
            reconcile_timeout_us=self.us("reconcile_timeout_ms"),
            mtu_octets=self["mtu"],
            stream_window_messages=self["stream_window"],
        )


def link_name(number: int) -> str:
    """Name of link number 0, 1, ...: the first is the home link."""
    return "home" if number == 0 else f"side{number}"


def member_address(number: int, link: int) -> bytes:
    """Address of a member on a link."""
    return HOME_PREFIX[:7] + bytes([link + 1]) + bytes(6) + bytes([1, 0x10 + number])


def home_address(mobile: int) -> bytes:
    """Home address of a mobile node."""
    return HOME_PREFIX[:8] + bytes(5) + b"\x02" + mobile.to_bytes(2)


def care_of_address(mobile: int, place: int) -> bytes:
    """A mobile node's address at its n-th place."""
    return bytes.fromhex("20010db80000ff00") + bytes(2) + place.to_bytes(4) + mobile.to_bytes(2)
