"""Mutants of the gateware: small faults that the bench must notice, all in one build.

Each names an assignment by the component's place in the core and the signal that it writes, and
says what is written instead while the input `mutant` has its number (from 1; 0: none). They are
planted in the elaborated design, so that the gateware's source knows nothing of them; one that
finds nothing to change is an error.

Ref: offload.md §7; Amaranth's `Fragment` (statements by clock domain, subfragments by name)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from amaranth import Cat, Const, Fragment, Mux, Signal, Value
from amaranth.hdl._ast import Assign, Slice, Statement, Switch
from amaranth.lib import data

from harp_gateware.deadlines import FLAGS
from harp_gateware.frame_buffer import STORED
from harp_gateware.layouts import FRAME_META, HELLO_REQUEST, PEER_RESPONSE, VERDICT, WORD
from harp_gateware.mh_check import MH_FACTS

Change = Callable[[Value, Value], Value]
"""What is written instead, from the target and the value that is written."""


def inverted(target: Value, value: Value) -> Value:
    """Every bit the other way."""
    return ~value


def stuck(target: Value, value: Value) -> Value:
    """Stays as it is."""
    return target


def zero(target: Value, value: Value) -> Value:
    """Nothing."""
    return Const(0, len(target))


def ones(target: Value, value: Value) -> Value:
    """Every bit set."""
    return Const(-1, len(target))


def swapped(target: Value, value: Value) -> Value:
    """Two bits, each in the other's place."""
    return Cat(value[1], value[0])


def more(by: int) -> Change:
    """Greater by so much."""
    return lambda target, value: value + by


def flipped(bits: int) -> Change:
    """These bits the other way."""
    return lambda target, value: value ^ bits


def only(bits: int) -> Change:
    """None but these bits."""
    return lambda target, value: value & bits


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault."""

    name: str
    place: str
    """Names of the submodules from the core on, with dots."""
    signal: str
    change: Change
    field: tuple[data.StructLayout, str] | None = None
    """The field of a structure, if only this is changed."""
    number: int | None = None
    """Which of several assignments to it, from 0 in the order of the source; None: every one."""
    case: str = "mix.mix"
    """The case that notices it."""


def _fact(name: str) -> tuple[data.StructLayout, str]:
    return MH_FACTS, name


MUTANTS: tuple[Mutant, ...] = (
    # The walk and the fixed header.
    Mutant("a ninth header", "rx.walk", "_count", zero, number=1),
    Mutant("a later fragment is the first", "rx.walk", "_later", zero),
    Mutant("a first fragment is whole", "rx.walk", "_partial", zero),
    Mutant("a header one word past the payload", "rx.walk", "_room", more(1)),
    Mutant("every version is 6", "rx.walk", "_version", lambda target, value: Const(6, 4)),
    Mutant("an odd AH", "rx.walk", "_odd", zero),
    Mutant("a header of one word less", "rx.walk", "_more_plain", more(-1)),
    Mutant("Payload Length one octet longer", "rx.length", "needed", more(1)),
    Mutant("VLAN of the outer tag", "rx.align", "_vlan", stuck, number=1),
    Mutant("bad frames are good", "rx.align", "_meta", zero, (FRAME_META, "bad")),
    # The Mobility Header.
    Mutant("no end-around carry", "rx.mh_check.checksum", "total", only(0xFFFF)),
    Mutant("every checksum is right", "rx.mh_check.checksum", "good", ones),
    Mutant("sum without the first half", "rx.mh_check.checksum", "half_0", zero),
    Mutant("MH longer than the payload", "rx.mh_check", "facts", zero, _fact("long")),
    Mutant("Header Len one more than least", "rx.mh_check", "header_len_2", more(-1)),
    Mutant("any Payload Proto", "rx.mh_check", "facts", zero, _fact("bad_proto")),
    Mutant("Sequence # 0 is good", "rx.mh_check", "facts", zero, _fact("no_sequence")),
    Mutant("hop limit 254 is good", "rx.mh_check", "facts", zero, _fact("bad_hop_limit")),
    Mutant("options are never strange", "rx.mh_check", "opaque", zero),
    Mutant("transit is local", "rx.mh_check", "facts", zero, _fact("transit")),
    # Verdict, buckets, counters.
    Mutant("a bucket never empties", "rx.verdict.buckets", "o_conforms", ones),
    Mutant("a token a microsecond early", "rx.verdict.buckets", "base", more(-1)),
    Mutant("a bucket off by one", "rx.verdict.buckets", "index_0", flipped(1)),
    Mutant(
        "the outcome pass is drop",
        "rx.verdict",
        "o_verdict__payload",
        inverted,
        (VERDICT, "forward"),
    ),
    Mutant("counters of reasons stand", "rx.verdict.counters", "total", stuck),
    Mutant("counters count two", "rx.verdict.counters", "total", more(1)),
    # Buffer.
    Mutant("a bad frame ends well", "buffer", "write_data", zero, (STORED, "error")),
    Mutant(
        "the last word is whole",
        "buffer",
        "o__payload",
        lambda target, value: Const(8, 4),
        (WORD, "octets"),
    ),
    # Peers and monitor.
    Mutant("whatever VLAN", "peers", "tagged", ones),
    Mutant("one peer further", "peers", "o__payload", flipped(1), (PEER_RESPONSE, "index")),
    Mutant(
        "unicast is multicast", "rx.verdict", "o_hello__payload", ones, (HELLO_REQUEST, "multicast")
    ),
    Mutant("window of one more", "monitor", "window", more(1)),
    Mutant("late deadline", "monitor", "_arrived", more(8), case="deadlines.in_time/flood=plain"),
    Mutant("deadline a round early", "monitor", "_arrived", more(-8)),
    Mutant("Lifetime 0 is any other", "monitor", "_leaving", zero),
    Mutant(
        "peer_down keeps the Sequence #",
        "monitor.deadlines",
        "next_flags",
        zero,
        (FLAGS, "fresh"),
    ),
    Mutant("differences in the last octet are none", "monitor.stored", "_differs", only(0x7F)),
    Mutant("the tag is content", "monitor.stored", "tag", ones),
    # Guard, fence, events, ports.
    Mutant("lease ignored", "guard", "plain", zero),
    Mutant("never filtering", "guard", "plain", ones),
    Mutant("lease a millisecond short", "guard", "until", more(-1000), case="wire.lease_ends"),
    Mutant("watchdog never spent", "guard", "spent", zero, case="slots.watchdog/cause=link"),
    Mutant("link of the wrong port", "guard", "before", swapped),
    Mutant("A is not looked at", "fence", "harp", zero),
    Mutant("an event's time is late", "events", "stamp", more(16)),
    Mutant("octets of a port one short", "counters", "amount_1", more(-1)),
    # Slots.
    Mutant(
        "checksum without carry",
        "slots.sender",
        "_sum",
        only(0xFFFF),
        case="slots.sequence_skips_zero",
    ),
    Mutant("Sequence # 0 is sent", "slots", "following", more(1), case="slots.sequence_skips_zero"),
)


def planted(fragment: Fragment, select: Signal, mutants: tuple[Mutant, ...] = MUTANTS) -> None:
    """Change the core's fragment in place. Raises LookupError for a mutant without a place."""
    for number, mutant in enumerate(mutants, start=1):
        found = _descend(fragment, mutant)
        hits = [0]
        for domain, statements in found.statements.items():
            changed = _rewritten(list(statements), mutant, select == number, hits)
            found.statements[domain] = type(statements)(changed)
        if not hits[0] or (mutant.number is not None and mutant.number >= hits[0]):
            raise LookupError(f"{mutant.name}: {mutant.place} never writes {mutant.signal}")


def _descend(fragment: Fragment, mutant: Mutant) -> Fragment:
    for name in mutant.place.split("."):
        below = {entry[1]: entry[0] for entry in fragment.subfragments}
        if name not in below:
            raise LookupError(f"{mutant.name}: no {mutant.place} in the core")
        fragment = below[name]
    return fragment


def _rewritten(
    statements: list[Statement], mutant: Mutant, chosen: Value, hits: list[int]
) -> list[Statement]:
    """The statements with the mutant's assignments changed where `chosen` is 1."""
    result: list[Statement] = []
    for statement in statements:
        if isinstance(statement, Switch):
            cases = [
                (patterns, _rewritten(list(inner), mutant, chosen, hits), where)
                for patterns, inner, where in statement.cases
            ]
            statement = Switch(statement.test, cases)
        elif isinstance(statement, Assign) and _meant(statement.lhs, mutant):
            if mutant.number in (None, hits[0]):
                target, value = statement.lhs, statement.rhs
                other = mutant.change(target, value)
                mixed = Mux(chosen, other, value)
                statement = Assign(target, mixed)
            hits[0] += 1
        result.append(statement)
    return result


def _meant(target: Value, mutant: Mutant) -> bool:
    whole = target.value if isinstance(target, Slice) else target
    if not isinstance(whole, Signal) or whole.name != mutant.signal:
        return False
    if mutant.field is None:
        return True
    layout, name = mutant.field
    field = layout[name]
    return isinstance(target, Slice) and (target.start, target.stop) == (
        field.offset,
        field.offset + field.width,
    )
