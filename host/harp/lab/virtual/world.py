"""A scenario brought to life: network, members, mobile nodes, the invariants that watch them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from harp.engine.config import SwitchMode
from harp.engine.events import Command
from harp.lab.virtual import faults
from harp.lab.virtual.judge import TICK_US, Judge, Violated, Violation
from harp.lab.virtual.mobile import MobileNode
from harp.lab.virtual.network import Network, Packet
from harp.lab.virtual.nodes import Node
from harp.lab.virtual.probe import make_engine
from harp.lab.virtual.scenario import US_PER_S, Scenario
from harp.lab.virtual.settings import VIRTUAL_ADDRESS, Settings, link_name

if TYPE_CHECKING:
    from harp.lab.virtual.probe import Maker

OVERHEARD = 64
"""Packets a stranger on the link remembers."""
MOBILE_START_US = 20_000
"""Mobile nodes come one by one, this far apart."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run showed."""

    scenario: Scenario
    violations: tuple[Violation, ...]
    faults: dict[str, int]
    """Steps done and what links did to packets, by kind."""
    takeovers_us: tuple[int, ...]
    """From the loss of an active to the next one, each."""
    simulated_us: int
    """How long it ran."""
    packets: int
    """Carried by links."""
    acknowledged: int
    """Binding Acknowledgements with Success that were sent."""
    unprotected: int
    """Of these, without a standby."""
    trace: tuple[str, ...] = field(default=(), compare=False)
    """What happened, a line each, where asked for."""


class Stranger:
    """Somebody on the home link who belongs to nobody: hears multicasts, sends what faults say."""

    name = "stranger"

    def __init__(self, keep: deque[Packet]) -> None:
        self._keep = keep

    def arrive(self, packet: Packet) -> None:
        """Remembers it."""
        self._keep.append(packet._replace(forged=True, again=True))


class World:
    """One run of a scenario."""

    def __init__(
        self,
        scenario: Scenario,
        maker: Maker = make_engine,
        tell: Callable[[int, str], None] | None = None,
    ) -> None:
        self.scenario = scenario
        self.settings = settings = Settings(scenario)
        self.chance = Random(f"{scenario.seed}/faults")
        self.network = Network(Random(f"{scenario.seed}/network"))
        for number in range(scenario.links):
            self.network.add_link(link_name(number), settings.quality())
        self.judge = Judge(settings, self.network, tell)
        self.nodes = [
            Node(
                settings.group(index),
                self.network,
                f"{scenario.seed}/{name}",
                maker,
                self.judge,
                settings["late_us"],
                settings["disk_us"],
            )
            for index, name in enumerate(scenario.names)
        ]
        self.judge.watch(self.nodes)
        self.overheard: deque[Packet] = deque(maxlen=OVERHEARD)
        self.network.links[link_name(0)].attach(Stranger(self.overheard))
        self.mobiles = [self._mobile(number) for number in range(scenario.mobiles)]
        self.faults: Counter[str] = Counter()
        self._tokens = 0
        self._blocks: Counter[tuple[str, str, str]] = Counter()

    def run(self) -> Outcome:
        """To the end, or to the first violation."""
        network, scenario = self.network, self.scenario
        for node in self.nodes:
            network.at(self.chance.randrange(50_000), node.start)
        for mobile in self.mobiles:
            network.at(US_PER_S + MOBILE_START_US * mobile.number, mobile.register)
        for step in scenario.steps:
            network.at(step.at_us, faults.begin, self, step)
        end = scenario.seconds * US_PER_S
        last = max((step.at_us + step.for_us for step in scenario.steps), default=0)
        self.judge.begin(last + US_PER_S if self.settings.on("early") else end, end)
        try:
            while network.now < self.judge.end:
                network.run(min(self.judge.end, network.now + TICK_US))
            self.judge.finish()
        except Violated:
            pass
        except faults.BadScenario:
            raise
        except Exception as bug:  # an engine that raises is a finding, not the end of a sweep
            self.judge.crashed(bug)
        return self._outcome()

    def node(self, name: str) -> Node:
        """The member of that name. Raises KeyError."""
        return next((n for n in self.nodes if n.name == name), None) or _unknown(name)

    def count(self, kind: str) -> None:
        """A step was done."""
        self.faults[kind] += 1

    def block(self, link: str, sender: str, receiver: str) -> None:
        """Nothing passes that way; what is blocked twice must be unblocked twice."""
        for name in self.network.links if link == "all" else (link,):
            self._blocks[name, sender, receiver] += 1
            self.network.links[name].blocked.add((sender, receiver))

    def unblock(self, link: str, sender: str, receiver: str) -> None:
        """Undoes one `block`."""
        for name in self.network.links if link == "all" else (link,):
            self._blocks[name, sender, receiver] -= 1
            if self._blocks[name, sender, receiver] <= 0:
                self.network.links[name].blocked.discard((sender, receiver))

    def command(self, name: str, command: Command, words: faults.Words) -> None:
        """The operator asks a member for something."""
        node = self.node(name)
        to, force = (*words, "-", "-")[:2]
        self._tokens += 1
        peer = None if to in ("-", name) else self.node(to).identity
        if node.running:
            self.judge.asked(node, self._tokens)
            node.tell(faults.given(command, self._tokens, peer, force == "force"))

    def _mobile(self, number: int) -> MobileNode:
        hard = self.settings["mode"] == SwitchMode.HARD
        addresses = tuple(n.identity for n in self.nodes) if hard else (VIRTUAL_ADDRESS,)
        mobile = MobileNode(
            number,
            self.network,
            Random(f"{self.scenario.seed}/mn{number}"),
            addresses,
            self.settings["lifetime_s"],
            self.settings.us("refresh_ms"),
        )
        self.judge.follow(mobile)
        return mobile

    def _outcome(self) -> Outcome:
        network, seen = self.network, self.judge
        counted = self.faults + Counter(network.stirred) + Counter(network.lost)
        return Outcome(
            self.scenario,
            tuple(seen.violations),
            {kind: count for kind, count in sorted(counted.items()) if count},
            tuple(seen.takeovers_us),
            network.now,
            network.sent,
            seen.acknowledged,
            seen.unprotected,
            tuple(seen.trace),
        )


def _unknown(name: str) -> Node:
    raise KeyError(name)


def run(scenario: Scenario, maker: Maker = make_engine) -> Outcome:
    """Runs a scenario. Raises ValueError on one that cannot be."""
    return World(scenario, maker).run()
