"""What has to be read and written to do a thing: register accesses as generators. Sans-IO.

A program yields requests and is sent the words that were read; `Unwelcome` is thrown into it where
the device refused one. Whoever runs it sends the requests one after the other.

Ref: offload.md §3, §4, §6; `harp.tables.registers` (what is written last, cleared first)
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from typing import TypeAlias

from harp.offload.device import Identity, PeerSpec, Settings, SlotSpec
from harp.offload.registers import address_value, fields_of, word_of, words_of
from harp.offload.session import Ask, Urgency
from harp.tables.link import LinkOp
from harp.tables.offload import (
    BUCKETS,
    FENCE_ADDRESSES,
    LOCAL_ADDRESSES,
    TEMPLATE_OCTETS,
    Capability,
    SlotFlag,
)
from harp.tables.reasons import ACTIONS, OFFLOAD_REASONS, Action, Reason
from harp.tables.register_schema import WORD_BITS
from harp.tables.registers import BY_NAME

MAX_WORDS = 16
"""Words of one request: a longer answer would keep events waiting (offload.md §6)."""
TEMPLATE_WORDS = TEMPLATE_OCTETS * 8 // WORD_BITS
IDENTITY = BY_NAME["capabilities"].offset + BY_NAME["capabilities"].words

Words: TypeAlias = tuple[int, ...]
Program: TypeAlias = Generator[Ask, Words, None]


class Unwelcome(Exception):
    """The device refused a request."""


def read(
    name: str, index: int = 0, count: int | None = None, urgency: Urgency = Urgency.COMMAND
) -> Ask:
    """The words of an element, from the first on."""
    register = BY_NAME[name]
    return Ask(LinkOp.READ, register.address(index), count or register.words, (), urgency)


def write(
    name: str,
    index: int,
    words: Sequence[int],
    word: int = 0,
    urgency: Urgency = Urgency.COMMAND,
) -> Ask:
    """Words of an element from `word` on."""
    address = BY_NAME[name].address(index) + word
    return Ask(LinkOp.WRITE, address, len(words), tuple(words), urgency)


def once(ask: Ask) -> Program:
    """A program of one request."""
    yield ask


def write_all(name: str, words: Sequence[int]) -> Program:
    """A whole area whose elements stand side by side, in requests of MAX_WORDS."""
    for at in range(0, len(words), MAX_WORDS):
        part = tuple(words[at : at + MAX_WORDS])
        yield Ask(LinkOp.WRITE, BY_NAME[name].offset + at, len(part), part)


def identity_of(words: Sequence[int]) -> Identity:
    """From the first IDENTITY words of the map."""

    def fields(name: str) -> dict[str, int]:
        register = BY_NAME[name]
        return fields_of(name, words[register.offset : register.offset + register.words])

    version, has = fields("gateware_version"), fields("capabilities")
    text = f"{version['major']}.{version['minor']}.{version['patch']}"
    return Identity(
        gateware=text + "+" * version["dirty"],
        git_hash=fields("git_hash")["value"],
        parameter_hash=fields("parameter_hash")["value"],
        board=fields("board")["id"],
        capabilities=Capability(has["flags"] & int(Capability.HMAC | Capability.MONITOR_ONLY)),
        ports=has["ports"],
        peers=has["peers"],
        slots=has["slots"],
        clock_hz=has["clock_hz"],
    )


def guard_words(settings: Settings, armed: bool, **pulses: int) -> Words:
    """Register `guard`: settings, whether armed, and what is to happen now."""
    return words_of(
        "guard",
        armed=armed,
        action=settings.watchdog,
        lease_ms=settings.lease_ms,
        host_link_grace_us=settings.host_link_grace_us,
        **pulses,
    )


def control_words(settings: Settings, filter_enable: bool) -> Words:
    """Register `control`."""
    return words_of(
        "control",
        filter_enable=filter_enable,
        peers_complete=settings.peers_complete,
        demand_hop_limit=settings.demand_hop_limit,
        link_mirror=settings.link_mirror,
        harp_mh_type=settings.harp_mh_type,
        auth_subtype=settings.auth_subtype,
        pass_every=settings.pass_every,
    )


def silence(identity: Identity) -> Program:
    """Nothing is sent, judged, watched or armed any more, whoever left it so."""
    yield write("guard", 0, guard_words(Settings(), armed=False))
    yield write("control", 0, words_of("control"))
    for index in range(identity.slots):
        yield write("slot", index, (0,))
    enable = word_of("peer", "group")
    for index in range(identity.peers):
        yield write("peer", index, (0,), enable)


def prepare(identity: Identity, settings: Settings) -> Program:
    """A device that holds nothing but the settings; the filter is still off."""
    yield from silence(identity)
    forget = words_of("peer_command", forget=1)
    yield from write_all("peer_command", forget * identity.peers)
    yield write("sticky", 0, ((1 << WORD_BITS) - 1,))
    yield write("guard", 0, guard_words(settings, armed=False))
    yield write("control", 0, control_words(settings, filter_enable=False))
    yield from write_all("action", _actions(identity, settings))
    yield from write_all("mh_type", _resets("mh_type"))
    yield from write_all("bucket", _resets("bucket")[: 2 * (BUCKETS + identity.peers)])
    local = [address_value(address) for address in settings.local]
    local += [0] * (LOCAL_ADDRESSES - len(local))
    for at in range(0, len(local), 4):
        rows = [word for n in local[at : at + 4] for word in words_of("local", address=n)]
        yield from _as_far_as_there(write("local", at, rows))
    if Capability.MONITOR_ONLY in identity.capabilities:
        return
    for index in range(FENCE_ADDRESSES):
        words = words_of("fence")
        if index < len(settings.fence):
            entry = settings.fence[index]
            address = address_value(entry.address)
            prefix_len, own = entry.prefix_len, entry.own
            words = words_of("fence", address=address, prefix_len=prefix_len, own=own)
        yield from _as_far_as_there(write("fence", index, words))


def _as_far_as_there(ask: Ask) -> Program:
    """A build may have fewer rows than the map."""
    with contextlib.suppress(Unwelcome):
        yield ask


def _resets(name: str) -> list[int]:
    register = BY_NAME[name]
    return [word for index in range(register.count) for word in register.reset_words(index)]


def _actions(identity: Identity, settings: Settings) -> list[int]:
    words = _resets("action")
    drop = ACTIONS.index(Action.DROP)
    for index, reason in enumerate(OFFLOAD_REASONS):
        fields = fields_of("action", (words[index],))
        if reason is Reason.NOT_A_PEER and settings.strangers_pass:
            fields["action"] = ACTIONS.index(Action.PASS)
        if Capability.MONITOR_ONLY in identity.capabilities and fields["action"] == drop:
            fields["action"] = ACTIONS.index(Action.PASS)
        words[index] = words_of("action", index, **fields)[0]
    return words


def install_peer(index: int, spec: PeerSpec, fresh: bool = False) -> Program:
    """A peer in a row that was another's or nobody's. `fresh`: nobody's since `prepare`."""
    if not fresh:
        yield from remove_peer(index)
    if spec.watched:
        yield write("peer_timing", index, _timing(index, spec))
        yield write("peer_sequence", index, _sequence(index, spec))
    yield write("peer", index, _key(index, spec))
    if spec.watched:
        yield write("peer_command", index, words_of("peer_command", index, arm=1))


def update_peer(index: int, spec: PeerSpec) -> Program:
    """New times or sequences of a peer that is watched already; its silence is counted anew."""
    yield write("peer_timing", index, _timing(index, spec))
    yield write("peer_sequence", index, _sequence(index, spec))
    yield write("peer_command", index, words_of("peer_command", index, arm=1))


def remove_peer(index: int) -> Program:
    """A row that is nobody's."""
    yield write("peer", index, (0,), word_of("peer", "group"))
    yield write("peer_command", index, words_of("peer_command", index, forget=1))


def _timing(index: int, spec: PeerSpec) -> Words:
    return words_of(
        "peer_timing",
        index,
        deadline_us=spec.deadline_us,
        late_us=spec.late_us,
        multiplier=spec.multiplier,
    )


def _sequence(index: int, spec: PeerSpec) -> Words:
    return words_of("peer_sequence", index, multicast=spec.sequence)


def _key(index: int, spec: PeerSpec) -> Words:
    """A peer that is not watched is one whose HELLOs the board could not check: they pass as
    `mobility` and leave the monitor alone."""
    return words_of(
        "peer",
        index,
        address=address_value(spec.key.address),
        group=spec.key.group,
        any_vlan=1,
        mode=spec.mode if spec.watched else 0,
        authenticate=not spec.watched,
        enable=1,
    )


def template_of(frame: bytes) -> Words:
    """A frame as words of `slot_template`."""
    padded = frame + bytes(-len(frame) % 4)
    return tuple(int.from_bytes(padded[at : at + 4], "little") for at in range(0, len(padded), 4))


def stop_slot(index: int) -> Ask:
    """A slot stands still."""
    return write("slot", index, (0,), urgency=Urgency.NOW)


def install_slot(
    index: int, counts_on: int, spec: SlotSpec, held: Words, *, stands: bool = False
) -> Program:
    """A slot's frame and settings; it stands still meanwhile, which others hear: so nothing but
    kicks goes before. `held`: the template it has; `counts_on`: slot whose Sequence # it
    continues; `stands`: it was stopped already."""
    if not stands:
        yield stop_slot(index)
    wanted = template_of(spec.frame)
    changed = [n for n, word in enumerate(wanted) if n >= len(held) or held[n] != word]
    if changed:
        start = TEMPLATE_WORDS * index
        for at in range(changed[0], changed[-1] + 1, MAX_WORDS):
            part = wanted[at : min(at + MAX_WORDS, changed[-1] + 1)]
            yield write("slot_template", start + at, part, urgency=Urgency.NOW)
    flags = SlotFlag.ENABLE | SlotFlag.SEQUENCE | SlotFlag.CHECKSUM
    if spec.key.resign:
        flags |= SlotFlag.RESIGN
    words = words_of(
        "slot",
        index,
        flags=flags,
        mh_offset=spec.mh_offset,
        length=len(spec.frame),
        sequence_from=counts_on,
        period_us=spec.period_us,
        jitter=spec.jitter_percent,
        sequence=spec.sequence or 0,
    )
    if spec.sequence is None:  # it is the last word
        rest = words[1 : word_of("slot", "sequence")]
    else:
        rest = words[1:]
    yield write("slot", index, rest, 1, Urgency.NOW)
    yield write("slot", index, words[:1], urgency=Urgency.NOW)
