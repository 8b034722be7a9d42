"""What changed bindings mean for forwarding.

Ref: harp.md §9 (routes prepared on every member); RFC 6275 §10.4.2; RFC 3963 §6.4, §6.7
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harp.engine.config import Prefix
from harp.engine.effects import Effect, PrepareRoute, RemoveRoute
from harp.engine.nemo import as_prefix
from harp.wire.maker import maker
from harp.wire.messages import MobileNetworkPrefix

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harp.engine.entries import Entry, Key
    from harp.engine.store import BindingStore

make_route = maker(PrepareRoute)


def route_effects(group: int, store: BindingStore, keys: Iterable[Key]) -> list[Effect]:
    """Routes of the bindings of `keys` as the store has them now: prepared or removed."""
    effects: list[Effect] = []
    for home_address, bid in keys:
        entry = store.get(home_address, bid)
        if entry:
            effects.append(prepare_route(group, entry))
        else:
            effects.append(RemoveRoute(group, home_address, bid))
    return effects


def prepare_route(group: int, entry: Entry) -> PrepareRoute:
    """The route of a live binding."""
    return make_route(
        group,
        entry.home_address,
        entry.bid,
        entry.care_of_address,
        tuple([p for p in map(_prefix, entry.options) if p]) if entry.options else (),
    )


def _prefix(option: object) -> Prefix | None:
    return as_prefix(option) if isinstance(option, MobileNetworkPrefix) else None
