"""Pages of a cache that changes, and of one that is nearly empty."""

from harp.daemon.control.pages import PAGE, SLOTS, pages
from harp.engine.entries import Entry
from harp.engine.store import BindingStore
from harp.tables.constants import US_PER_S
from harp.wire.messages import BindingCache, SyncPosition

HERE = SyncPosition(1, 1)


def home(number: int) -> bytes:
    return (0x20010DB8 << 96 | number).to_bytes(16)


def filled(count: int) -> BindingStore:
    store = BindingStore()
    for number in range(count):
        store.apply((BindingCache(home(number), home(0), 0, 1, 400), ()), HERE, 0)
    return store


def test_pages_are_small_and_all_is_there() -> None:
    found = list(pages(filled(1000), 7, lambda: 0))
    assert max(map(len, found)) == PAGE
    assert len({each["home_address"] for page in found for each in page}) == 1000


def test_a_gap_is_walked_in_steps() -> None:
    """A million bindings that ended are no reason for the loop to stand still."""
    count = 3 * SLOTS
    store = filled(count)
    for number in range(count - 1):
        store.forget(home(number))
    found = list(pages(store, 7, lambda: 0))
    assert sum(map(len, found)) == 1 and found.count([]) >= 3


def test_what_stays_is_met_once_whatever_changes() -> None:
    store = filled(500)
    met: list[object] = []
    for number, page in enumerate(pages(store, 7, lambda: 0)):
        met += [each["home_address"] for each in page]
        store.forget(home(499 - number))
        store.apply((BindingCache(home(1000 + number), home(0), 0, 1, 400), ()), HERE, 0)
    stayed = {entry.home_address for _, entry in store.entries() if _old(entry)}
    assert len(met) == len(set(met)) and len(stayed) < 500
    assert len(set(met)) >= len(stayed)


def _old(entry: Entry) -> bool:
    return int.from_bytes(entry.home_address[8:]) < 500


def test_lifetimes_are_what_is_left() -> None:
    ((only,),) = [page for page in pages(filled(1), 7, lambda: 100 * US_PER_S) if page]
    assert only["lifetime_s"] == 300
