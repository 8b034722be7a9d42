"""What can happen in a scenario: faults, commands of the operator, load. One table, `FAULTS`.

Each kind knows how it is drawn at random, how it is done, and how it is undone when its time is
over. Arguments are words, so that a scenario reads like a script.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, TypeAlias

from harp.engine.events import Command, CommandGiven
from harp.lab.virtual.network import Link, Packet, Quality
from harp.lab.virtual.scenario import Scenario, Step
from harp.lab.virtual.settings import GROUP, link_name, member_address

if TYPE_CHECKING:
    from harp.lab.virtual.mobile import MobileNode
    from harp.lab.virtual.world import World

Words: TypeAlias = tuple[str, ...]


class BadScenario(ValueError):
    """A step that cannot be done: the scenario is wrong, not what it tests."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of step."""

    usage: str
    """Its arguments, for people."""
    do: Callable[[World, Step], None]
    draw: Callable[[Random, Scenario], Words] | None = None
    """Arguments at random; None: only written by hand or by other rules of `generate`."""
    undo: Callable[[World, Step], None] | None = None
    """At the end of its time; None: it has none."""
    longest_us: int = 0
    """Of a drawn duration."""
    weight: int = 1
    """How often it is drawn."""


def _member(rng: Random, scenario: Scenario) -> Words:
    return (rng.choice(scenario.names),)


def _link(rng: Random, scenario: Scenario) -> str:
    return link_name(rng.randrange(scenario.links))


def _links(world: World, name: str) -> list[Link]:
    return list(world.network.links.values()) if name == "all" else [world.network.links[name]]


# The daemon and its machine


def _crash(world: World, step: Step) -> None:
    world.node(step.words[0]).crash()


def _kill(world: World, step: Step) -> None:
    world.node(step.words[0]).kill()


def _stop(world: World, step: Step) -> None:
    world.node(step.words[0]).stop()


def _start(world: World, step: Step) -> None:
    world.node(step.words[0]).start(memory=step.words[1] == "memory")


def _draw_down(rng: Random, scenario: Scenario) -> Words:
    return (*_member(rng, scenario), rng.choice(("memory", "memory", "blank")))


def _stall(world: World, step: Step) -> None:
    world.node(step.words[0]).stall()


def _resume(world: World, step: Step) -> None:
    world.node(step.words[0]).resume()


def _clock(world: World, step: Step) -> None:
    world.node(step.words[0]).step_clock(int(step.words[1]) * 1_000)


def _clock_back(world: World, step: Step) -> None:
    world.node(step.words[0]).step_clock(-int(step.words[1]) * 1_000)


def _draw_clock(rng: Random, scenario: Scenario) -> Words:
    size = rng.choice((10, 200, 1_000, 4_000, 9_000, 86_400_000))
    return (*_member(rng, scenario), str(rng.choice((-1, 1)) * size))


def _drift(world: World, step: Step) -> None:
    world.node(step.words[0]).drift(int(step.words[1]))


def _draw_drift(rng: Random, scenario: Scenario) -> Words:
    return (*_member(rng, scenario), str(rng.choice((-20_000, -200, 200, 20_000))))


# Links


def _draw_sides(rng: Random, scenario: Scenario) -> Words:
    names = list(scenario.names)
    rng.shuffle(names)
    cut = rng.randrange(1, len(names))
    return (rng.choice(("all", _link(rng, scenario))), *names[:cut], "|", *names[cut:])


def _pairs(step: Step) -> list[tuple[str, str]]:
    """Ordered pairs across the bar, from left to right."""
    bar = step.words.index("|")
    return [(a, b) for a in step.words[1:bar] for b in step.words[bar + 1 :]]


def _partition(world: World, step: Step) -> None:
    for one, other in _pairs(step):
        world.block(step.words[0], one, other)
        world.block(step.words[0], other, one)


def _heal(world: World, step: Step) -> None:
    for one, other in _pairs(step):
        world.unblock(step.words[0], one, other)
        world.unblock(step.words[0], other, one)


def _deafen(world: World, step: Step) -> None:
    for one, other in _pairs(step):
        world.block(step.words[0], one, other)


def _undeafen(world: World, step: Step) -> None:
    for one, other in _pairs(step):
        world.unblock(step.words[0], one, other)


def _unplug(world: World, step: Step) -> None:
    name, link = step.words
    for other in world.network.links[link].ports:
        world.block(link, name, other)
        world.block(link, other, name)
    world.node(name).plug(link, up=False)


def _plug(world: World, step: Step) -> None:
    name, link = step.words
    for other in world.network.links[link].ports:
        world.unblock(link, name, other)
        world.unblock(link, other, name)
    world.node(name).plug(link, up=True)


def _draw_unplug(rng: Random, scenario: Scenario) -> Words:
    return (*_member(rng, scenario), _link(rng, scenario))


def _quality(change: Callable[[Quality, float], Quality]) -> Callable[[World, Step], None]:
    def do(world: World, step: Step) -> None:
        for link in _links(world, step.words[0]):
            link.quality = change(link.quality, float(step.words[1]) / 100)

    return do


def _restore_quality(world: World, step: Step) -> None:
    for link in _links(world, step.words[0]):
        link.quality = world.settings.quality()


def _draw_quality(most: int) -> Callable[[Random, Scenario], Words]:
    def draw(rng: Random, scenario: Scenario) -> Words:
        return (rng.choice(("all", _link(rng, scenario))), str(rng.randint(1, most)))

    return draw


# The operator


def _command(command: Command) -> Callable[[World, Step], None]:
    def do(world: World, step: Step) -> None:
        world.command(step.words[0], command, step.words[1:])

    return do


def _draw_switch(rng: Random, scenario: Scenario) -> Words:
    to = rng.choice(("-", rng.choice(scenario.names)))
    return (*_member(rng, scenario), to, rng.choice(("-", "-", "force")))


def _unhold(world: World, step: Step) -> None:
    world.command(step.words[0], Command.RELEASE, ())


# Mobile nodes


def _draw_mobile(rng: Random, scenario: Scenario) -> Words:
    return (str(rng.randrange(max(1, scenario.mobiles))),)


def _mobile(world: World, step: Step) -> MobileNode:
    return world.mobiles[int(step.words[0]) % len(world.mobiles)]


def _move(world: World, step: Step) -> None:
    if world.mobiles:
        _mobile(world, step).move()


def _register(world: World, step: Step) -> None:
    if world.mobiles:
        _mobile(world, step).register()


def _deregister(world: World, step: Step) -> None:
    if world.mobiles:
        _mobile(world, step).deregister()


# Strangers


def _garbage(world: World, step: Step) -> None:
    """Random octets behind a plausible head, from a member's address or a stranger's."""
    rng = world.chance
    for _ in range(int(step.words[0])):
        source = member_address(rng.randrange(world.scenario.members + 1), 0)
        to = member_address(rng.randrange(world.scenario.members), 0)
        length = rng.randrange(0, 16)
        payload = bytearray(rng.randbytes(8 * length + 8))
        payload[:3] = bytes([59, length, rng.choice((0, 5, 11, 11, 11, 12, 13, 200))])
        payload[6] = rng.choice((payload[6], rng.randrange(10)))
        payload[7:8] = bytes([GROUP])
        world.network.send("stranger", Packet("home", source, to, bytes(payload), forged=True))


def _draw_garbage(rng: Random, scenario: Scenario) -> Words:
    return (str(rng.randint(1, 20)),)


def _replay(world: World, step: Step) -> None:
    """Old packets of members again, as they were."""
    seen = world.overheard
    for _ in range(min(int(step.words[0]), len(seen))):
        world.network.send("stranger", seen[world.chance.randrange(len(seen))])


_SIDES = "LINK|all A ... | B ..."

FAULTS: dict[str, Fault] = {
    "crash": Fault(
        "MEMBER memory|blank: power off; comes back with or without its journal",
        _crash,
        _draw_down,
        _start,
        4_000_000,
        4,
    ),
    "kill": Fault(
        "MEMBER memory|blank: the daemon dies, its guard says goodbye",
        _kill,
        _draw_down,
        _start,
        4_000_000,
        3,
    ),
    "stop": Fault(
        "MEMBER memory|blank: the daemon ends cleanly",
        _stop,
        _draw_down,
        _start,
        4_000_000,
        2,
    ),
    "start": Fault("MEMBER memory|blank", _start),
    "stall": Fault("MEMBER: no CPU", _stall, _member, _resume, 3_000_000, 4),
    "clock": Fault("MEMBER MS: wall clock steps", _clock, _draw_clock, _clock_back, 3_000_000, 2),
    "drift": Fault("MEMBER PPM: all its clocks run fast", _drift, _draw_drift, None, 0, 1),
    "partition": Fault(_SIDES + ": both ways", _partition, _draw_sides, _heal, 5_000_000, 6),
    "deafen": Fault(_SIDES + ": left to right", _deafen, _draw_sides, _undeafen, 5_000_000, 4),
    "unplug": Fault("MEMBER LINK", _unplug, _draw_unplug, _plug, 4_000_000, 2),
    "loss": Fault(
        "LINK|all PERCENT",
        _quality(lambda q, x: replace(q, loss=x)),
        _draw_quality(40),
        _restore_quality,
        3_000_000,
        3,
    ),
    "duplicate": Fault(
        "LINK|all PERCENT",
        _quality(lambda q, x: replace(q, duplicate=x)),
        _draw_quality(60),
        _restore_quality,
        4_000_000,
        2,
    ),
    "reorder": Fault(
        "LINK|all PERCENT",
        _quality(lambda q, x: replace(q, reorder=x, reorder_us=60_000)),
        _draw_quality(60),
        _restore_quality,
        4_000_000,
        2,
    ),
    "damage": Fault(
        "LINK|all PERCENT",
        _quality(lambda q, x: replace(q, damage=x)),
        _draw_quality(20),
        _restore_quality,
        3_000_000,
        1,
    ),
    "delay": Fault(
        "LINK|all HUNDREDTHS of a second",
        _quality(lambda q, x: replace(q, delay_us=int(x * 1_000_000))),
        _draw_quality(8),
        _restore_quality,
        3_000_000,
        2,
    ),
    "switchover": Fault(
        "MEMBER TO|- force|-", _command(Command.SWITCHOVER), _draw_switch, None, 0, 4
    ),
    "switchback": Fault(
        "MEMBER TO|- force|-", _command(Command.SWITCHBACK), _draw_switch, None, 0, 3
    ),
    "check": Fault("MEMBER TO|- force|-", _command(Command.CHECK), _draw_switch, None, 0, 1),
    "hold": Fault("MEMBER", _command(Command.HOLD), _member, _unhold, 4_000_000, 2),
    "release": Fault("MEMBER", _command(Command.RELEASE)),
    "resync": Fault("MEMBER", _command(Command.RESYNC), _member, None, 0, 2),
    "rekey": Fault("MEMBER", _command(Command.REKEY), _member, None, 0, 1),
    "move": Fault("MOBILE", _move, _draw_mobile, None, 0, 6),
    "register": Fault("MOBILE", _register, _draw_mobile, None, 0, 3),
    "deregister": Fault("MOBILE", _deregister, _draw_mobile, None, 0, 3),
    "garbage": Fault("COUNT: packets of random octets", _garbage, _draw_garbage, None, 0, 1),
    "replay": Fault("COUNT: old packets again", _replay, _draw_garbage, None, 0, 1),
}


def begin(world: World, step: Step) -> None:
    """Does a step, and plans its end. Raises `BadScenario` on what it does not know."""
    fault = FAULTS.get(step.verb)
    if fault is None:
        raise BadScenario(f"{step}: no such step; there are {', '.join(FAULTS)}")
    world.count(step.verb)
    known = {*world.scenario.names, *world.network.links, "all", "|", "-"}
    if step.words and step.words[0].isidentifier() and step.words[0] not in known:
        raise BadScenario(f"{step}: no {step.words[0]} here; usage: {step.verb} {fault.usage}")
    fault.do(world, step)
    if step.for_us and fault.undo is not None:
        world.network.at(step.at_us + step.for_us, fault.undo, world, step)


def given(command: Command, token: int, to: bytes | None, force: bool) -> CommandGiven:
    """The operator's command as an event."""
    return CommandGiven(GROUP, command, token, to, force)
