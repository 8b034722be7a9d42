"""The model's own constants against the shared tables: both were typed in from the spec."""

import pytest

from harp.tables import codepoints, harp_types, mh, offload, options, reasons, registers
from harp_sim.model import golden
from harp_sim.model.config import Config, default_types
from harp_sim.model.events import EventKind
from harp_sim.model.monitor import PeerState

PAIRS = {
    "mh next header": (golden.NEXT_MOBILITY, mh.NEXT_HEADER),
    "no next header": (golden.NEXT_NONE, mh.NO_NEXT_HEADER),
    "payload proto": (golden.PAYLOAD_PROTO_NONE, mh.NO_NEXT_HEADER),
    "hop limit": (golden.HOP_LIMIT, mh.HOP_LIMIT),
    "heartbeat type": (golden.MH_TYPE_HEARTBEAT, mh.MhType.HEARTBEAT),
    "harp type": (golden.MH_TYPE_HARP, codepoints.DEFAULT_CODE_POINTS.mh_type_harp),
    "auth subtype": (
        golden.AUTHENTICATION_HA_HA,
        codepoints.DEFAULT_CODE_POINTS.auth_subtype,
    ),
    "min lengths": (golden.MH_MIN_HEADER_LEN, {r.type: r.min_header_len for r in mh.MH_TYPES}),
    "hello": (golden.HARP_HELLO, harp_types.HarpType.HELLO),
    "last harp type": (golden.HARP_TYPE_MAX, max(harp_types.HarpType)),
    "A": (golden.FLAG_ACTIVE, harp_types.HarpFlag.A),
    "R": (golden.FLAG_REPLY, harp_types.HarpFlag.R),
    "reasons": (tuple(golden.DEFAULT_ACTION), reasons.OFFLOAD_REASONS),
    "actions": (golden.DEFAULT_ACTION, reasons.DEFAULT_ACTIONS),
    "outcomes": (golden.OUTCOME_ORDER, reasons.OUTCOMES),
    "shortest frame": (golden.MIN_FRAME_OCTETS, offload.MIN_FRAME_OCTETS),
    "longest frame": (golden.MAX_FRAME_OCTETS, offload.MAX_FRAME_OCTETS),
    "fcs": (golden.FCS_OCTETS, offload.FCS_OCTETS),
    "tags": (golden.VLAN_TAGS_MAX, offload.MAX_VLAN_TAGS),
    "chain headers": (golden.CHAIN_HEADERS_MAX, offload.MAX_EXTENSION_HEADERS),
    "chain octets": (golden.CHAIN_OCTETS_MAX, offload.MAX_EXTENSION_OCTETS),
    "kept": (golden.KEPT_OCTETS, offload.STORED_MH_OCTETS),
    "pass every": (golden.PASS_EVERY, offload.PASS_EVERY),
    "window": (golden.SEQUENCE_WINDOW, offload.SEQUENCE_WINDOW),
    "lateness": (golden.DEADLINE_SLACK_US, offload.EVENT_LATENESS_US),
    "peers": (golden.PEERS, offload.PEERS),
    "slots": (golden.SLOTS, offload.SLOTS),
    "local": (golden.LOCAL_ENTRIES, offload.LOCAL_ADDRESSES),
    "fence": (golden.FENCE_ENTRIES, offload.FENCE_ADDRESSES),
    "buckets": (golden.BUCKETS, offload.BUCKETS),
    "template": (golden.TEMPLATE_OCTETS_MAX, offload.TEMPLATE_OCTETS),
    "period": (golden.PERIOD_MIN_US, offload.MIN_PERIOD_US),
    "jitter": (golden.JITTER_PERCENT_MAX, offload.MAX_JITTER_PERCENT),
    "slot share": (golden.SLOT_LINE_PERCENT, offload.SLOT_SHARE_PERCENT),
    "resigns": (golden.RESIGN_TIMES, offload.RESIGN_REPEATS),
    "resign spacing": (golden.RESIGN_SPACING_US, offload.RESIGN_SPACING_US),
    "lease": (golden.LEASE_MS_MAX, offload.MAX_LEASE_MS),
    "events": (golden.EVENT_ORDER, tuple(offload.EVENT_KINDS)),
    "model's events": (golden.EVENT_ORDER, tuple(EventKind)),
    "event ceiling": (golden.LIMITED_EVENTS_PER_SECOND, offload.MAX_FLOOD_EVENTS_PER_SECOND),
    "flood index": (golden.FLOOD_PEERS_INDEX, offload.FLOOD_PEERS_INDEX),
    "reason buckets": (golden.DEFAULT_BUCKET, offload.DEFAULT_REASON_BUCKETS),
    "heartbeat bucket": (golden.HEARTBEAT_BUCKET, offload.HEARTBEAT_BUCKET),
    "peer states": (
        [state.upper() for state in PeerState],
        [state.name for state in offload.PeerState],
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_constant_is_the_shared_one(name: str) -> None:
    own, shared = PAIRS[name]
    assert own == shared


def test_option_types() -> None:
    assert golden.OPTION_PAD1 == options.PAD1
    assert golden.OPTION_PADN == options.PADN
    assert golden.OPTION_AUTHENTICATION == options.AUTHENTICATION.number
    assert golden.OPTION_TIMESTAMP == options.REPLAY_PROTECTION.number
    assert options.REPLAY_PROTECTION.lengths == (golden.OPTION_TIMESTAMP_OCTETS,)


def _reset(register: str, field: str, index: int = 0) -> int:
    declared = registers.BY_NAME[register]
    reset = next(entry.reset for entry in declared.fields if entry.name == field)
    return reset if isinstance(reset, int) else reset[index]


def test_scalar_settings_reset_to_the_map_s_values() -> None:
    config = Config()
    for name in ("filter_enable", "peers_complete", "demand_hop_limit", "link_mirror"):
        assert getattr(config, name) == _reset("control", name)
    assert config.pass_every == _reset("control", "pass_every")
    assert config.harp_type == _reset("control", "harp_mh_type")
    assert config.harp_types == _reset("control", "harp_types")
    assert config.auth_subtype == _reset("control", "auth_subtype")
    assert config.lease_ms == _reset("guard", "lease_ms")
    assert config.host_link_grace_us == _reset("guard", "host_link_grace_us")
    assert config.watchdog_armed == _reset("guard", "armed")


def test_tables_reset_to_the_map_s_values() -> None:
    config = Config()
    for index, reason in enumerate(reasons.OFFLOAD_REASONS):
        rule = config.rules[reason]
        assert reasons.ACTIONS.index(rule.action) == _reset("action", "action", index)
        assert rule.bucket == _reset("action", "bucket", index)
    for index, bucket in enumerate(config.buckets):
        assert bucket.period_us == _reset("bucket", "period_us", index)
        assert bucket.tolerance_us == _reset("bucket", "tolerance_us", index)
    for mh_type, entry in default_types().items():
        assert _reset("mh_type", "known", mh_type) == 1
        assert _reset("mh_type", "min_header_len", mh_type) == entry.min_header_len
        assert _reset("mh_type", "limited", mh_type) == (entry.bucket is not None)
        assert _reset("mh_type", "bucket", mh_type) == (entry.bucket or 0)
    known = {n for n in range(256) if _reset("mh_type", "known", n)}
    assert known == set(default_types())
