"""Which tunnel, and who may send: against a model that knows only the list of bindings."""

from __future__ import annotations

from random import Random

from tests.daemon.site import CARE_OF, HOME, address

from harp.daemon.dataplane.bindings import Bindings, Network
from harp.daemon.dataplane.feed import (
    Frames,
    block_frame,
    flushed_frame,
    prepare_frame,
    remove_frame,
)
from harp.engine.config import Prefix
from harp.engine.effects import PrepareRoute, PrepareRoutes, RemoveRoute
from harp.wire.bulk import BindingRecord, BulkCodec
from harp.wire.codec import DEFAULT_CODEC

OTHER = address("2001:db8:2::77")
NET: Network = (address("2001:db8:77::"), 48)
INSIDE: Network = (address("2001:db8:77:1::"), 64)


def test_only_the_last_of_many_changes_counts() -> None:
    bindings = Bindings()
    bindings.prepare(HOME, 0, CARE_OF)
    bindings.prepare(HOME, 0, OTHER)
    assert bindings.changed == {(HOME, 128): OTHER}
    bindings.remove(HOME, 0)
    assert bindings.changed == {(HOME, 128): None} and len(bindings) == 0
    bindings.changed.clear()
    bindings.remove(HOME, 0)
    assert bindings.changed == {}


def test_the_same_again_changes_nothing() -> None:
    bindings = Bindings()
    for _ in range(2):
        bindings.prepare(HOME, 0, CARE_OF)
        bindings.prepare(HOME, 5, OTHER, (NET,))
        assert bindings.changed.pop((HOME, 128), CARE_OF) == CARE_OF
        bindings.changed.clear()
    assert bindings.changed == {}


def test_longest_prefix_first() -> None:
    bindings = Bindings()
    bindings.prepare(HOME, 0, CARE_OF, (NET,))
    bindings.prepare(address("2001:db8:1::2"), 0, OTHER, (INSIDE,))
    assert bindings.network_of(address("2001:db8:77:1::5")) == (address("2001:db8:1::2"), OTHER)
    assert bindings.network_of(address("2001:db8:77:2::5")) == (HOME, CARE_OF)
    assert bindings.network_of(address("2001:db8:78::5")) is None


def test_two_homes_with_the_same_prefix() -> None:
    """The latest one has it; when it goes, the other one has it again."""
    first, second = HOME, address("2001:db8:1::2")
    bindings = Bindings()
    bindings.prepare(first, 0, CARE_OF, (NET,))
    bindings.prepare(second, 0, OTHER, (NET,))
    assert bindings.networks == {NET: (second, OTHER)}
    bindings.prepare(first, 1, CARE_OF)
    assert bindings.networks == {NET: (second, OTHER)}, "nothing new about the prefix"
    bindings.changed.clear()
    bindings.remove(second, 0)
    assert bindings.networks == {NET: (first, CARE_OF)} and bindings.changed[NET] == CARE_OF
    assert bindings.may_send(address("2001:db8:77::5"), CARE_OF)
    assert not bindings.may_send(address("2001:db8:77::5"), OTHER)
    bindings.prepare(second, 0, OTHER, (NET,))
    bindings.remove(first, 0)
    bindings.remove(first, 1)
    assert bindings.networks == {NET: (second, OTHER)}
    bindings.remove(second, 0)
    assert bindings.networks == {} and bindings.changed[NET] is None


def test_clear() -> None:
    bindings = Bindings()
    bindings.prepare(HOME, 0, CARE_OF)
    bindings.prepare(HOME, 3, OTHER, (NET,))
    bindings.clear()
    assert len(bindings) == 0
    assert set(bindings.changed.values()) == {None}


def test_against_the_list_of_bindings() -> None:
    """Random bindings with BIDs and prefixes of their own: routes and senders follow."""
    rng = Random(4)
    homes = [address(f"2001:db8:1::{n}") for n in range(1, 5)]
    cares = [address(f"2001:db8:2::{n}") for n in range(1, 5)]
    bindings, routes = Bindings(), dict[Network, bytes]()
    model: dict[tuple[bytes, int], tuple[bytes, tuple[Network, ...]]] = {}
    for _ in range(3000):
        number, bid = rng.randrange(4), rng.randrange(3)
        home = homes[number]
        if rng.random() < 0.4:
            model.pop((home, bid), None)
            bindings.remove(home, bid)
        else:
            own = ((address(f"2001:db8:7{number}::"), 48),) if rng.random() < 0.3 else ()
            model[home, bid] = rng.choice(cares), own
            bindings.prepare(home, bid, *model[home, bid])
        for prefix, care_of in bindings.changed.items():
            if care_of is None:
                del routes[prefix]
            else:
                routes[prefix] = care_of
        bindings.changed.clear()
        assert routes == _routes(model)
        outer, inner = rng.choice(cares), rng.choice(homes)
        may = any(h == inner and c == outer for (h, _), (c, _) in model.items())
        assert bindings.may_send(inner, outer) == may
        assert bindings.senders(inner) == {c for (h, _), (c, _) in model.items() if h == inner}


def _routes(
    model: dict[tuple[bytes, int], tuple[bytes, tuple[Network, ...]]],
) -> dict[Network, bytes]:
    wanted: dict[Network, bytes] = {}
    for (home, _), (care_of, networks) in sorted(model.items(), reverse=True):
        wanted[home, 128] = care_of  # the lowest BID comes last
        wanted.update(dict.fromkeys(networks, care_of))
    return wanted


def test_frames_survive_any_cut() -> None:
    prefix = Prefix(*NET)
    record = BindingRecord(HOME, CARE_OF, 0, 1, 10)
    gone = BindingRecord(OTHER, CARE_OF, 0, 1, 0)
    block = BulkCodec(DEFAULT_CODEC).pack([record, gone])
    stream = (
        prepare_frame(PrepareRoute(7, OTHER, 0, CARE_OF))
        + block_frame(PrepareRoutes(7, block))
        + prepare_frame(PrepareRoute(7, OTHER, 9, CARE_OF, (prefix,)))
        + remove_frame(RemoveRoute(7, HOME, 0))
        + flushed_frame()
    )
    for size in (1, 7, 64, len(stream)):
        frames, bindings, count = Frames(), Bindings(), 0
        for at in range(0, len(stream), size):
            for frame in frames.take(stream[at : at + size]):
                frame.apply(bindings)
                count += 1
        assert count == 5
        assert bindings.hosts == {OTHER: CARE_OF}
        assert bindings.networks == {NET: (OTHER, CARE_OF)}
