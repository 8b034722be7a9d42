"""A scenario is data: a seed, a topology, settings, and what happens when. It reads like this:

    seed 4711
    seconds 12
    members 3
    mobiles 2
    set hello_interval_ms 200
    2.500 crash a
    4.000 partition a b | c for 1.500

Blank lines and what follows `#` do not count. `Scenario.parse(str(scenario)) == scenario`, and the
same scenario always runs the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

US_PER_S = 1_000_000
MEMBER_NAMES = "abcdefgh"


def seconds(us: int) -> str:
    """Microseconds as a decimal number of seconds, without loss."""
    whole, rest = divmod(us, US_PER_S)
    text = f"{whole}.{rest:06d}"
    return text[:-3] if text.endswith("000") else text


def microseconds(text: str) -> int:
    """The inverse of `seconds`. Raises ValueError on anything but a decimal number of seconds."""
    whole, _, rest = text.partition(".")
    if not (whole.isdecimal() and (rest or "0").isdecimal() and len(rest) <= 6):
        raise ValueError(f"{text!r} is no time in seconds")
    return int(whole) * US_PER_S + int((rest or "0").ljust(6, "0"))


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens: a fault, a command of the operator, or load."""

    at_us: int
    """Since the start of the scenario."""
    verb: str
    """A name of `faults.FAULTS`."""
    words: tuple[str, ...] = ()
    """Its arguments."""
    for_us: int = 0
    """How long it lasts; 0: it has no end of its own."""

    def __str__(self) -> str:
        last = (f"for {seconds(self.for_us)}",) if self.for_us else ()
        return " ".join((seconds(self.at_us), self.verb, *self.words, *last))

    @classmethod
    def parse(cls, line: str) -> Step:
        """Reads one line. Raises ValueError naming it."""
        at, *words = line.split()
        if not words:
            raise ValueError(f"{line!r}: a step is TIME VERB [ARGUMENT ...] [for TIME]")
        for_us = 0
        if len(words) > 2 and words[-2] == "for":
            for_us = microseconds(words[-1])
            words = words[:-2]
        return cls(microseconds(at), words[0], tuple(words[1:]), for_us)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything a run depends on."""

    seed: int
    seconds: int = 12
    """How long it runs, simulated."""
    members: int = 3
    links: int = 1
    """Links that join all members; the first is the home link, where mobile nodes come in."""
    mobiles: int = 0
    settings: tuple[tuple[str, str], ...] = ()
    """Deviations from the defaults of `settings.SETTINGS`, sorted by name."""
    steps: tuple[Step, ...] = field(default=())
    """In order of time."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the members: a, b, c, ..."""
        return tuple(MEMBER_NAMES[: self.members])

    def __str__(self) -> str:
        head = [f"{name} {getattr(self, name)}" for name in _NUMBERS]
        head += [f"set {name} {value}" for name, value in self.settings]
        return "\n".join((*head, *(str(step) for step in self.steps))) + "\n"

    @classmethod
    def parse(cls, text: str) -> Scenario:
        """Reads the text form. Raises ValueError with the number of the line it cannot read."""
        numbers: dict[str, int] = {}
        settings: dict[str, str] = {}
        steps: list[Step] = []
        for number, raw in enumerate(text.splitlines(), start=1):
            line = raw.partition("#")[0].strip()
            words = line.split()
            if not words:
                continue
            try:
                if words[0] in _NUMBERS and len(words) == 2:
                    numbers[words[0]] = int(words[1])
                elif words[0] == "set" and len(words) == 3:
                    settings[words[1]] = words[2]
                else:
                    steps.append(Step.parse(line))
            except ValueError as problem:
                raise ValueError(f"line {number}: {problem}") from problem
        if "seed" not in numbers:
            raise ValueError("a scenario needs a line `seed N`")
        steps.sort(key=lambda step: step.at_us)
        return cls(**numbers, settings=tuple(sorted(settings.items())), steps=tuple(steps))

    def without_steps(self, gone: set[int]) -> Scenario:
        """The same, less the steps of these indices."""
        return replace(
            self, steps=tuple(s for index, s in enumerate(self.steps) if index not in gone)
        )


_NUMBERS = ("seed", "seconds", "members", "links", "mobiles")
