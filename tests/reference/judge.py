"""Compares what tshark shows of a HARP message with the decoded message, field by field."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv6Address
from typing import Any

from harp.tables.codepoints import DEFAULT_CODE_POINTS
from harp.tables.harp_types import HarpFlag
from harp.tables.layouts import HARP_FIELDS, HARP_FLAG_FILTERS, OPTION_LAYOUTS, View, WireField
from harp.tables.mh import BuFlag
from harp.tables.options import ADDRESS_PREFIX_LENGTH, IP_ADDRESS
from harp.wire import messages as msg
from harp.wire.auth import unix_us_from_ntp
from harp.wire.bindings import bindings, outside_bindings
from harp.wire.options import LAYOUTS

from .tshark import Layer, listed

_WIRE = {layout.cls: layout.wire for layout in LAYOUTS}
_KINDS = {
    msg.AddressKind.HOME: DEFAULT_CODE_POINTS.address_home,
    msg.AddressKind.HOME_AGENT: DEFAULT_CODE_POINTS.address_home_agent,
    msg.AddressKind.CARE_OF: DEFAULT_CODE_POINTS.address_care_of,
}
assert len(_WIRE) == len(OPTION_LAYOUTS)


def same_message(message: msg.Harp, layer: Layer) -> None:
    """Every field, flag, option and binding of `message` stands in `layer`, and no other."""
    for row in HARP_FIELDS:
        assert shown(row, layer) == getattr(message, row.name), row.name
    flags = layer["harp.flags_tree"]
    for flag, word in HARP_FLAG_FILTERS.items():
        assert flags[f"harp.flags.{word}"] == str(int(bool(message.flags & flag))), word
    assert set(HARP_FLAG_FILTERS) == set(HarpFlag)
    same_options(outside_bindings(message.options), layer)
    described = listed(layer, "harp.binding")
    carried = list(bindings(message.options))
    assert len(described) == len(carried)
    for (binding, own), tree in zip(carried, described, strict=True):
        same_options((binding, *own), tree)
        _same_bu_flags(binding, listed(tree, "harp.option_tree")[0])


def same_options(options: msg.Options, tree: Layer) -> None:
    """`options`, in order, are those directly below `tree`."""
    numbers, trees = listed(tree, "harp.option"), listed(tree, "harp.option_tree")
    assert len(numbers) == len(options), (numbers, options)
    for option, number, below in zip(options, numbers, trees, strict=True):
        if isinstance(option, msg.UnknownOption):
            _same_unknown(option, number, below)
            continue
        wire = _WIRE[type(option)]
        assert int(number) == wire.info.type_under(DEFAULT_CODE_POINTS)
        for row in wire.fields:
            if row.name:
                assert shown(row, below) == _wanted(option, row), (option, row.name)


def _same_unknown(option: msg.UnknownOption, number: str, below: Layer) -> None:
    assert int(number) == option.type
    assert int(below["harp.option.length"]) == len(option.data)
    if option.type == IP_ADDRESS.number:
        # Another Option-Code: the fields are readable all the same.
        assert int(below["harp.address.kind"]) == option.data[0]
        assert IPv6Address(below["harp.address"]).packed == option.data[2:]
    else:
        assert octets(below.get("harp.option.data", "")) == option.data


def _same_bu_flags(binding: msg.BindingCache, tree: Layer) -> None:
    for flag in BuFlag:
        name = f"harp.binding.flags.{(flag.name or '').lower()}"
        assert tree["harp.binding.flags_tree"][name] == str(int(bool(binding.flags & flag))), name


def _wanted(option: msg.Option, row: WireField) -> Any:
    if isinstance(option, msg.IpAddress) and row.name != "address":
        return _KINDS[option.kind] if row.name == "code" else ADDRESS_PREFIX_LENGTH
    value = getattr(option, row.name)
    return unix_us_from_ntp(value) if row.view is View.TIME else value


def shown(row: WireField, tree: Layer) -> Any:
    """What the tree says of a field, as the decoded message has it; time in µs since 1970."""
    text = tree.get(f"harp.{row.filter}", "")
    if row.view is View.ADDRESS:
        return IPv6Address(text).packed
    if row.view is View.OCTETS:
        return octets(text)
    if row.view is View.TIME:
        return unix_us(text)
    return int(text, 0)


def octets(text: str) -> bytes:
    """Octets that tshark wrote as 01:02:03."""
    return bytes.fromhex(text.replace(":", ""))


def unix_us(text: str) -> int:
    """µs since 1970 of "Jun 20, 2025 15:42:57.000000000 UTC"."""
    second, _, rest = text.partition(".")
    at = datetime.strptime(second, "%b %d, %Y %H:%M:%S").replace(tzinfo=UTC)
    return round(at.timestamp()) * 1_000_000 + int(rest.split()[0]) // 1000
