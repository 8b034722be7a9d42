"""Protocol constants with their units: the defaults of the configuration.

Ref: harp.md §8 (constants), §3 to §7 where named
"""

from __future__ import annotations

US_PER_MS = 1_000
US_PER_S = 1_000_000

HELLO_INTERVAL_US = 1_000 * US_PER_MS
"""`hello_interval`: nominal time between HELLOs (harp.md §4)."""
MULTIPLIER = 3
"""HELLO intervals without a HELLO until a peer is down (harp.md §4)."""
HELLO_JITTER_PERCENT = 10
"""A HELLO leaves 0 to this much earlier than nominal (harp.md §4)."""
TAKEOVER_SKEW_INTERVALS = 2
"""`takeover_skew` per rank, in HELLO intervals (harp.md §5)."""
INIT_WAIT_INTERVALS = 3
"""`init_wait`, in own HELLO intervals (harp.md §5)."""
INIT_WAIT_MIN_US = 1_000 * US_PER_MS
"""Least `init_wait` (harp.md §5)."""
MAX_HELLO_RATE_PER_S = 10
"""`MAX_HELLO_RATE`: HELLOs on request per asker (harp.md §4)."""

INITIAL_STATE_SYNC_REQ_TIMER_US = 3_000 * US_PER_MS
"""First wait for the answer to an SS-REQ (harp.md §8)."""
INITIAL_SWITCH_REQ_TIMER_US = 1_000 * US_PER_MS
"""First wait for the answer to SO-REQ, SB-REQ and SW-COMP (harp.md §8)."""
BACKOFF_FACTOR = 2
"""Each repetition waits this many times longer (harp.md §8)."""
HARELIABILITY_TIMEOUT_US = 16_000 * US_PER_MS
"""`HARELIABILITY_TIMEOUT`: every repetition ends after it (harp.md §8)."""
SS_REP_TIMER_US = 20 * US_PER_MS
"""`SS_REP_TIMER`: first retransmission of an SS-REP (harp.md §6)."""
SS_REP_TIMER_MAX_US = 1_000 * US_PER_MS
"""Retransmission of SS-REPs doubles up to this (harp.md §6)."""
MAX_UPDATE_RATE_PER_S = 3
"""`MAX_UPDATE_RATE`: identical retransmissions from the fourth on (harp.md §8)."""
RECONCILE_TIMEOUT_US = 2_000 * US_PER_MS
"""`reconcile_timeout`: a new active takes state of members ahead within it (harp.md §5)."""
SWITCH_DRAIN_TIMEOUT_US = 2_000 * US_PER_MS
"""Longest wait for the log's acknowledgement in a SwitchOver (harp.md §5)."""
SYNC_TIMEOUT_US = 60_000 * US_PER_MS
"""`sync_timeout`: longest full sync (harp.md §8)."""
LOG_WINDOW_MESSAGES = 16_384
"""Most log messages unacknowledged (harp.md §6)."""
DIGEST_INTERVAL_US = 10_000 * US_PER_MS
"""`digest_interval`: between HELLOs with a Cache Digest (harp.md §6)."""
DIGESTS_KEPT = 1_024
"""Own digests a standby keeps by position (harp.md §6)."""
RESYNC_MIN_US = 60_000 * US_PER_MS
"""`resync_min`: between full syncs for a differing digest (harp.md §6)."""
DURABILITY_TIMEOUT_US = 100 * US_PER_MS
"""`durability_timeout`: then Success is answered `unprotected` (harp.md §6)."""
REPLAY_WINDOW_US = 5_000 * US_PER_MS
"""`replay_window`: timestamps further off are `clock` (harp.md §7)."""
HA_SWITCH_FIRST_US = 5_000 * US_PER_MS
"""First wait for the answer to a Home Agent Switch (RFC 5142 §8)."""
HA_SWITCH_MAX_US = 20_000 * US_PER_MS
"""Home Agent Switch repetition doubles up to this (RFC 5142 §8)."""
NA_RATE_PER_S = 1_000
"""`na_rate`: unsolicited Neighbor Advertisements (harp.md §8)."""
GOODBYE_HELLOS = 3
"""Times a HELLO without A, or a goodbye, is sent (harp.md §5, §9)."""
WRONG_GROUP_RATE_PER_S = 1
"""Most answers with Status 132 (harp.md §3)."""
