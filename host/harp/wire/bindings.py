"""The bindings that an SS-REP carries.

Ref: harp.md §2.2
"""

from __future__ import annotations

from collections.abc import Iterator

from harp.wire import messages as msg
from harp.wire.mandatory import OF_BINDING


def bindings(options: msg.Options) -> Iterator[tuple[msg.BindingCache, msg.Options]]:
    """Each Binding Cache Information option with the options that belong to it, in order."""
    current: msg.BindingCache | None = None
    own: list[msg.Option] = []
    for option in options:
        if isinstance(option, msg.BindingCache):
            if current:
                yield current, tuple(own)
            current, own = option, []
        elif current and type(option) in OF_BINDING:
            own.append(option)
    if current:
        yield current, tuple(own)


def outside_bindings(options: msg.Options) -> msg.Options:
    """The options of the message itself, in order."""
    found: list[msg.Option] = []
    in_binding = False
    for option in options:
        if isinstance(option, msg.BindingCache):
            in_binding = True
        elif not (in_binding and type(option) in OF_BINDING):
            found.append(option)
    return tuple(found)
