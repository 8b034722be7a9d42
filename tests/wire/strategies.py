"""Hypothesis strategies: every message class with every option where it is legal."""

from collections.abc import Iterable

from hypothesis import settings
from hypothesis import strategies as st

from harp.tables.codepoints import CodePoints
from harp.tables.harp_types import HarpType
from harp.wire import messages as msg
from harp.wire.mandatory import OF_BINDING

RUN = settings(derandomize=True, deadline=None, database=None, max_examples=400)
"""The same examples in every run; a slow machine is no failure."""

KNOWN_TYPES = {2, 3, 4, 5, 6, 7, 8, 9, 10, 19, 28, 34, 35, *range(241, 247)}
"""Option types that mean something under the default code points (harp.md §2, RFCs)."""
HA_HA = 241

octet, word = st.integers(0, 0xFF), st.integers(0, 0xFFFF)
long, huge = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
address = st.binary(min_size=16, max_size=16)
some = st.binary(max_size=40)
lifetime = word.map(lambda units: 4 * units)
"""Seconds that travel in units of 4 s."""

refresh_advice = st.builds(msg.RefreshAdvice, lifetime)
alternate_care_of = st.builds(msg.AlternateCareOf, address)
nonce_indices = st.builds(msg.NonceIndices, word, word)
binding_auth_data = st.builds(msg.BindingAuthData, some)
prefix = st.builds(msg.MobileNetworkPrefix, st.integers(0, 128), address)
link_layer = st.builds(msg.LinkLayerAddress, octet, some)
mn_identifier = st.builds(msg.MnIdentifier, octet, some)
mn_auth = st.builds(msg.Authentication, octet.filter(lambda n: n != HA_HA), long, some)
ha_ha = st.builds(msg.Authentication, st.just(HA_HA), long, address)
replay = st.builds(msg.ReplayProtection, huge)
vendor = st.builds(msg.Vendor, long, octet, some)
restart = st.builds(msg.RestartCounter, long)
ip_address = st.builds(msg.IpAddress, st.sampled_from(msg.AddressKind), address)
home_address = st.builds(msg.IpAddress, st.just(msg.AddressKind.HOME), address)
agent_address = st.builds(msg.IpAddress, st.just(msg.AddressKind.HOME_AGENT), address)
bid = st.builds(
    msg.BindingIdentifier,
    word,
    octet,
    octet,
    st.just(b"") | st.binary(min_size=4, max_size=4) | address,
)
binding = st.builds(msg.BindingCache, address, address, word, word, lifetime)
detection = st.builds(msg.Detection, long, octet)
aaa = st.builds(msg.Aaa, some)
digest = st.builds(msg.CacheDigest, long, huge)
position = st.builds(msg.SyncPosition, long, long)
configuration = st.builds(msg.Configuration, st.binary(min_size=8, max_size=8))
unknown = st.builds(
    msg.UnknownOption, st.integers(2, 255).filter(lambda n: n not in KNOWN_TYPES), some
)
other_address = st.builds(
    lambda code, rest: msg.UnknownOption(34, bytes((code,)) + rest),
    st.integers(0, 255).filter(lambda n: n not in (241, 242, 243)),
    st.binary(min_size=17, max_size=17),
)
"""An IP Address option whose Option-Code this version does not know."""

BY_CLASS = {
    msg.RefreshAdvice: refresh_advice,
    msg.AlternateCareOf: alternate_care_of,
    msg.NonceIndices: nonce_indices,
    msg.BindingAuthData: binding_auth_data,
    msg.MobileNetworkPrefix: prefix,
    msg.LinkLayerAddress: link_layer,
    msg.MnIdentifier: mn_identifier,
    msg.Authentication: mn_auth,
    msg.ReplayProtection: replay,
    msg.Vendor: vendor,
    msg.RestartCounter: restart,
    msg.IpAddress: ip_address,
    msg.BindingIdentifier: bid,
    msg.BindingCache: binding,
    msg.Detection: detection,
    msg.Aaa: aaa,
    msg.CacheDigest: digest,
    msg.SyncPosition: position,
    msg.Configuration: configuration,
    msg.UnknownOption: unknown | other_address,
}
option = st.one_of(*BY_CLASS.values())


@st.composite
def options(draw: st.DrawFn, most: int = 8) -> msg.Options:
    """Any options in any order; HA-HA authentication only at the end."""
    chosen = draw(st.lists(option, max_size=most))
    return (*chosen, draw(ha_ha)) if draw(st.booleans()) else tuple(chosen)


MANDATORY = {HarpType.SS_REQ: home_address | prefix | vendor, HarpType.REKEY: agent_address}
"""Type → what it must carry besides Sync Positions and bindings (harp.md §2.1)."""


@st.composite
def harp(draw: st.DrawFn, types: Iterable[HarpType] = HarpType) -> msg.Harp:
    """A legal HARP message: what is mandatory is there, nothing is misplaced."""
    kind = draw(st.sampled_from(tuple(types)))
    index = draw(st.sampled_from((0, 1, 2, 65535)))
    chosen = list(draw(options()))
    tail = [chosen.pop()] if chosen and _is_ha_ha(chosen[-1]) else []
    if kind in MANDATORY:
        chosen.insert(draw(st.integers(0, len(chosen))), draw(MANDATORY[kind]))
    if kind in (HarpType.SS_REP, HarpType.SS_ACK) or any(
        isinstance(one, msg.CacheDigest) for one in chosen
    ):
        chosen.insert(0, draw(position))
    if kind is HarpType.SS_REP and index == 0:
        chosen = _as_log(chosen, draw(binding))
    return msg.Harp(
        kind,
        draw(octet),
        draw(st.integers(1, 0xFFFF)),
        *(draw(octet), draw(octet)),
        *(draw(word), draw(word), draw(word)),
        index,
        (*chosen, *tail),
    )


def _is_ha_ha(one: msg.Option) -> bool:
    return isinstance(one, msg.Authentication) and one.subtype == HA_HA


def _as_log(chosen: list[msg.Option], first: msg.BindingCache) -> list[msg.Option]:
    """harp.md §2.2: options of a binding stand behind one."""
    at = next((i for i, one in enumerate(chosen) if type(one) in OF_BINDING), len(chosen))
    return [*chosen[:at], first, *chosen[at:]]


update = st.builds(msg.BindingUpdate, word, word, lifetime, options())
acknowledgement = st.builds(msg.BindingAcknowledgement, octet, word, lifetime, octet, options())
error = st.builds(msg.BindingError, octet, address, options())
refresh_request = st.builds(msg.BindingRefreshRequest, options())
switch = st.builds(msg.HomeAgentSwitch, st.lists(address, max_size=5).map(tuple), options())
heartbeat = st.builds(msg.Heartbeat, long, word, options())
other_mobility = st.sampled_from((1, 2, 3, 4)).flatmap(
    lambda kind: st.builds(
        msg.OtherMobility,
        st.just(kind),
        st.integers(2 if kind < 3 else 3, 6).flatmap(
            lambda words: st.binary(min_size=8 * words - 6, max_size=8 * words - 6)
        ),
    )
)
message = st.one_of(
    harp(), update, acknowledgement, error, refresh_request, switch, heartbeat, other_mobility
)


@st.composite
def code_points(draw: st.DrawFn) -> CodePoints:
    """Any legal numbers for what the draft left TBD."""
    free = st.integers(36, 255)
    own = draw(st.lists(free, min_size=6, max_size=6, unique=True))
    codes = draw(st.lists(st.integers(5, 255), min_size=3, max_size=3, unique=True))
    mh_type = draw(st.integers(8, 255).filter(lambda n: n not in (12, 13)))
    return CodePoints(mh_type, *own, *codes, draw(st.integers(3, 255)))
