"""Messages as plain JSON values, with addresses and units for people and programs.

Ref: tests/vectors/README.md (the keys)
"""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Any, TypeAlias, assert_never

from harp.tables.harp_types import HARP_TYPES, HarpFlag, HarpType
from harp.tables.mh import MH_TYPES, MhType
from harp.wire import messages as msg
from harp.wire.bindings import bindings, outside_bindings
from harp.wire.mandatory import OF_BINDING

Json: TypeAlias = dict[str, Any]

_HARP_NAMES = {row.type: row.name for row in HARP_TYPES}
_MH_NAMES = {row.type: row.name for row in MH_TYPES}


def describe(message: msg.Message | msg.Malformed) -> Json:
    """`{"valid": true, "type": …}` or `{"valid": false, "reason": …, "detail": …}`."""
    if isinstance(message, msg.Malformed):
        return {"valid": False, "reason": str(message.reason), "detail": message.detail}
    return {"valid": True, **_message(message)}


def _message(message: msg.Message) -> Json:
    match message:
        case msg.Harp():
            return _harp(message)
        case msg.BindingUpdate():
            return {
                "type": _MH_NAMES[MhType.BINDING_UPDATE],
                "seq": message.sequence,
                "flags": message.flags,
                "lifetime_s": message.lifetime_s,
                **_options(message.options),
            }
        case msg.BindingAcknowledgement():
            return {
                "type": _MH_NAMES[MhType.BINDING_ACKNOWLEDGEMENT],
                "status": message.status,
                "flags": message.flags,
                "seq": message.sequence,
                "lifetime_s": message.lifetime_s,
                **_options(message.options),
            }
        case msg.BindingError():
            return {
                "type": _MH_NAMES[MhType.BINDING_ERROR],
                "status": message.status,
                "home_address": address(message.home_address),
                **_options(message.options),
            }
        case msg.BindingRefreshRequest():
            return {"type": _MH_NAMES[MhType.BINDING_REFRESH_REQUEST], **_options(message.options)}
        case msg.HomeAgentSwitch():
            return {
                "type": _MH_NAMES[MhType.HOME_AGENT_SWITCH],
                "addresses": [address(one) for one in message.addresses],
                **_options(message.options),
            }
        case msg.Heartbeat():
            return {
                "type": _MH_NAMES[MhType.HEARTBEAT],
                "response": message.response,
                "unsolicited": message.unsolicited,
                "seq": message.sequence,
                **_options(message.options),
            }
        case msg.OtherMobility():
            return {"type": _MH_NAMES[message.mh_type], "data": message.data.hex()}
    assert_never(message)


def _harp(message: msg.Harp) -> Json:
    described: Json = {
        "type": _HARP_NAMES[message.type],
        "group": message.group,
        "seq": message.sequence,
        "status": message.status,
        "flags": [flag.name for flag in HarpFlag if message.flags & flag],
        "preference": message.preference,
        "lifetime": message.lifetime_s,
        "interval_ms": message.interval_ms,
        "index": message.index,
    }
    if message.type is not HarpType.SS_REP:
        return described | _options(message.options)
    # An option of a binding that stands before the first of an answer belongs to nothing.
    described |= _options(outside_bindings(message.options), never_listed=OF_BINDING)
    described["bindings"] = [_binding(*pair) for pair in bindings(message.options)]
    return described


def _binding(binding: msg.BindingCache, own: msg.Options) -> Json:
    described: Json = {
        "home_address": address(binding.home_address),
        "care_of_address": address(binding.care_of_address),
        "flags": binding.flags,
        "seq": binding.sequence,
        "lifetime_s": binding.lifetime_s,
        "prefixes": [_prefix(one) for one in own if isinstance(one, msg.MobileNetworkPrefix)],
    }
    other: list[Json] = []
    for option in own:
        if isinstance(option, msg.MobileNetworkPrefix):
            continue
        one = _option(option) or _other_option(option)
        if isinstance(option, msg.UnknownOption):
            other.append(one)
            continue
        # The keys have room for one of a kind: the last.
        if one.keys() <= described.keys():
            other.append({name: described[name] for name in one})
        described |= one
    return described | ({"other_options": other} if other else {})


def _options(options: msg.Options, never_listed: frozenset[type] = frozenset()) -> Json:
    """`options` as the vectors list them; the rest, if any, in `other_options`."""
    listed, other = [], []
    for option in options:
        known = _option(option)
        if known and type(option) not in never_listed:
            listed.append(known)
        else:
            other.append(known or _other_option(option))
    return {"options": listed} | ({"other_options": other} if other else {})


def _option(option: msg.Option) -> Json | None:
    match option:
        case msg.IpAddress():
            return {option.kind.value: address(option.address)}
        case msg.AlternateCareOf():
            return {"alternate_care_of_address": address(option.address)}
        case msg.MobileNetworkPrefix():
            return {"prefix": _prefix(option)}
        case msg.RestartCounter():
            return {"restart_counter": option.value}
        case msg.Detection():
            return {"detection": [option.interval_us, option.multiplier]}
        case msg.CacheDigest():
            return {"digest": [option.count, f"{option.hash:016x}"]}
        case msg.SyncPosition():
            return {"sync_position": [option.term, option.position]}
        case msg.Configuration():
            return {"configuration": option.hash.hex()}
        case msg.BindingIdentifier():
            return {"bid": option.bid}
        case msg.Aaa():
            return {"aaa": option.data.hex()}
        case msg.Vendor():
            return {"vendor": [option.vendor_id, option.subtype, option.data.hex()]}
        case msg.RefreshAdvice():
            return {"refresh_advice_s": option.interval_s}
    return None


def _other_option(option: msg.Option) -> Json:
    match option:
        case msg.Authentication():
            value = [option.subtype, option.spi, option.tag.hex()]
            return {"authentication": value}
        case msg.ReplayProtection():
            return {"timestamp": f"{option.timestamp:016x}"}
        case msg.NonceIndices():
            return {"nonce_indices": [option.home, option.care_of]}
        case msg.BindingAuthData():
            return {"authenticator": option.authenticator.hex()}
        case msg.LinkLayerAddress():
            return {"link_layer_address": [option.code, option.address.hex()]}
        case msg.MnIdentifier():
            return {"mn_identifier": [option.subtype, option.identifier.hex()]}
        case msg.BindingCache():  # outside of an SS-REP
            return {"binding": _binding(option, ())}
        case msg.UnknownOption():
            return {"unknown": [option.type, option.data.hex()]}
    raise AssertionError(f"{option} is listed")


def _prefix(option: msg.MobileNetworkPrefix) -> str:
    return f"{address(option.prefix)}/{option.length}"


def address(octets: bytes) -> str:
    """An address of 16 octets as people write it (RFC 5952)."""
    return str(IPv6Address(octets))
