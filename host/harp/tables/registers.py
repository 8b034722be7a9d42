"""The register map of the offload: the one declaration of it.

Ref: offload.md §6 (link and registers), §2 to §5 (what they mean)

Decoder, host driver, reference page and random-access tests are made from `REGISTERS`; the rules
of words, samples and arrays are in `harp.tables.register_schema`. Words that no register claims
read as 0 and answer `error`. A change of any name, offset or width needs a new `MAP_VERSION`.
"""

from harp.tables.codepoints import DEFAULT_CODE_POINTS
from harp.tables.harp_types import HARP_TYPES
from harp.tables.mh import HARP_MH, MH_TYPES, MhType
from harp.tables.offload import (
    BUCKETS,
    DEFAULT_BUCKETS,
    DEFAULT_REASON_BUCKETS,
    EVENT_KINDS,
    EVENT_STRIDE,
    FENCE_ADDRESSES,
    HEARTBEAT_BUCKET,
    LOCAL_ADDRESSES,
    MAX_LEASE_MS,
    PASS_EVERY,
    PEER_BUCKET,
    PEERS,
    SLOTS,
    TEMPLATE_OCTETS,
)
from harp.tables.reasons import ACTIONS, DEFAULT_ACTIONS, OFFLOAD_REASONS, OUTCOMES
from harp.tables.register_schema import WORD_BITS, Access, Field, Home, Register, checked

MAP_VERSION = 2
MAGIC = 0x48415250
""""HARP"."""
PORTS = 2
"""Port 0 is the network's, port 1 the host's; a monitor has port 0 alone."""

RO, RW, PULSE, W1C = Access.RO, Access.RW, Access.PULSE, Access.W1C


def _counter(name: str, unit: str, doc: str) -> Field:
    """A 48-bit counter on its own two words (offload.md §2: wraps, is never cleared)."""
    return Field(name, 48, RO, unit=unit, doc=doc)


_IDENTITY = (
    Register(
        "magic",
        0x0000,
        (Field("value", 32, RO, reset=MAGIC, doc='"HARP" in ASCII.'),),
        doc="Says that this is an offload.",
    ),
    Register(
        "map_version",
        0x0001,
        (Field("value", 32, RO, reset=MAP_VERSION, doc="Version of this map."),),
        doc="The host refuses a version that it does not know.",
    ),
    Register(
        "gateware_version",
        0x0002,
        (
            Field("patch", 8, RO, doc="Third number of the gateware's version."),
            Field("minor", 8, RO, doc="Second number."),
            Field("major", 8, RO, doc="First number."),
            Field("dirty", 1, RO, doc="1: built from a changed working tree.", at=31),
        ),
        doc="Version of the gateware.",
    ),
    Register(
        "git_hash",
        0x0003,
        (Field("value", 32, RO, doc="First 8 hexadecimal digits of the commit."),),
        doc="Source that the gateware was built from.",
    ),
    Register(
        "parameter_hash",
        0x0004,
        (Field("value", 32, RO, doc="First 4 octets of SHA-256 over the core's parameters."),),
        doc="Parameters that the gateware was built with.",
    ),
    Register(
        "board",
        0x0005,
        (Field("id", 32, RO, doc="Board, as listed by harp_boards; 0 is the simulated one."),),
        doc="Board that the gateware was built for.",
    ),
    Register(
        "capabilities",
        0x0006,
        (
            Field("flags", 16, RO, doc="harp.tables.offload.Capability."),
            Field("ports", 4, RO, doc="Ethernet ports."),
            Field("slots", 4, RO, doc="Slots."),
            Field("peers", 8, RO, doc="Peers."),
            Field("clock_hz", 32, RO, unit="Hz", doc="Clock of the core."),
            Field("buffer_octets", 32, RO, unit="octets", doc="Size of the frame buffer."),
        ),
        doc="What this build has.",
    ),
)

_CONTROL = (
    Register(
        "control",
        0x0020,
        (
            Field("filter_enable", 1, RW, doc="0: verdicts are counted, every good frame passes."),
            Field("peers_complete", 1, RW, doc="1: `not_a_peer` is dropped, whatever its action."),
            Field("demand_hop_limit", 1, RW, reset=1, doc="1: HARP needs hop limit 255."),
            Field("link_mirror", 1, RW, reset=1, doc="1: network link lost is shown to the host."),
            Field(
                "harp_mh_type",
                8,
                RW,
                reset=DEFAULT_CODE_POINTS.mh_type_harp,
                doc="MH Type of HARP messages.",
                at=8,
            ),
            Field(
                "auth_subtype",
                8,
                RW,
                reset=DEFAULT_CODE_POINTS.auth_subtype,
                doc="Subtype of the HA-HA authentication option.",
            ),
            Field(
                "pass_every",
                8,
                RW,
                reset=PASS_EVERY,
                unit="heartbeats",
                doc="Of a peer's `heartbeat` frames one in this many passes; 0: none.",
            ),
            Field(
                "harp_types",
                32,
                RW,
                at=32,
                reset=sum(1 << row.type for row in HARP_TYPES),
                doc="Bit n: HARP Type n is known; types from 32 on never are.",
            ),
        ),
        doc="Settings of the filter.",
    ),
    Register(
        "now",
        0x0028,
        (Field("us", 64, RO, unit="µs", doc="Time since reset; base of every timestamp."),),
        doc="Time of the core.",
    ),
    Register(
        "sticky",
        0x002A,
        (
            Field("reset", 1, W1C, doc="The core was reset."),
            Field("lease_lost", 1, W1C, doc="The lease ran out."),
            Field("watchdog_fired", 1, W1C, doc="The armed watchdog fired."),
            Field("buffer_full", 1, W1C, doc="A frame network → host found no room."),
            Field("host_overrun", 1, W1C, doc="A frame host → network found no room."),
            Field("verdict_late", 1, W1C, doc="A verdict came too late; a defect."),
        ),
        doc="What has happened since the host last cleared the bit.",
    ),
    Register(
        "uart",
        0x002C,
        (
            Field("divisor", 16, RO, doc="Clocks of the core an octet's bit."),
            _counter("bad_frames", "frames", "Link frames with a wrong CRC or COBS code."),
            _counter("repeats", "frames", "Requests that were a repeat and were not executed."),
        ),
        doc="Serial link.",
    ),
)

_GUARD = (
    Register(
        "guard",
        0x0040,
        (
            Field("kick", 1, PULSE, doc="Renews the lease for `lease_ms`."),
            Field("unfence", 1, PULSE, doc="Ends the fence and re-arms nothing."),
            Field("armed", 1, RW, doc="1: the watchdog fires when lease or host link is lost."),
            Field("action", 1, RW, doc="harp.tables.offload.WatchdogAction."),
            Field(
                "lease_ms", 8, RW, reset=MAX_LEASE_MS, unit="ms", doc="Length of the lease.", at=8
            ),
            Field(
                "host_link_grace_us",
                32,
                RW,
                reset=1_000_000,
                unit="µs",
                doc="Host link down for longer fires an armed watchdog.",
                at=32,
            ),
        ),
        doc="Lease and watchdog; a lease above 200 ms counts as 200.",
    ),
    Register(
        "guard_state",
        0x0042,
        (
            Field("lease", 1, RO, doc="1: the lease is live."),
            Field("fired", 1, RO, doc="1: fired and not yet unfenced."),
            Field("fenced", 1, RO, doc="1: HARP with A and listed NAs are dropped to the network."),
            Field("lease_left_us", 32, RO, unit="µs", doc="Rest of the lease.", at=32),
            _counter("fenced_frames", "frames", "Host frames that the fence dropped."),
        ),
        doc="What the guard is doing.",
    ),
    Register(
        "kick_answer",
        0x0048,
        tuple(
            Field(f"sequence_{n}", 16, RO, doc=f"Sequence # that slot {n} sent last; 0: none.")
            for n in range(SLOTS)
        ),
        home=Home.RAM,
        doc="What the answer to a kick carries: the slots' sequences.",
    ),
    Register(
        "fence",
        0x0300,
        (
            Field(
                "address",
                128,
                RW,
                doc="Target of NAs to drop, octet 0 lowest; unused if octet 0 is 0, as in ::.",
            ),
            Field("prefix_len", 8, RW, reset=128, doc="Leading bits that must match, 1 to 128."),
            Field("own", 1, RW, doc="1: NAs for it pass, whatever entries behind it say."),
        ),
        count=FENCE_ADDRESSES,
        stride=8,
        home=Home.RAM,
        doc="Addresses for which a fenced host may send no Neighbor Advertisement; the first that "
        "matches decides.",
    ),
)

_VERDICTS = (
    Register(
        "action",
        0x0080,
        (
            Field(
                "action",
                2,
                RW,
                reset=tuple(ACTIONS.index(DEFAULT_ACTIONS[reason]) for reason in OFFLOAD_REASONS),
                doc="harp.tables.reasons.ACTIONS; `absorb` elsewhere than at `heartbeat` passes; "
                "`bad_frame` is always dropped.",
            ),
            Field(
                "bucket",
                3,
                RW,
                reset=tuple(DEFAULT_REASON_BUCKETS.get(reason, 0) for reason in OFFLOAD_REASONS),
                doc="Bucket of `limit`.",
                at=8,
            ),
        ),
        count=len(OFFLOAD_REASONS),
        doc="What is done with a frame of each reason (index: OFFLOAD_REASONS).",
    ),
    Register(
        "mh_type",
        0x0100,
        (
            Field(
                "known",
                1,
                RW,
                reset=tuple(int(n in {row.type for row in MH_TYPES}) for n in range(256)),
                doc="0: `unknown_type`.",
            ),
            Field("allowed", 1, RW, reset=1, doc="0: `type_blocked`."),
            Field(
                "limited",
                1,
                RW,
                reset=tuple(int(n == MhType.HEARTBEAT) for n in range(256)),
                doc="1: `mobility` of this type goes through `bucket`.",
            ),
            Field(
                "bucket",
                3,
                RW,
                reset=tuple(HEARTBEAT_BUCKET * (n == MhType.HEARTBEAT) for n in range(256)),
                doc="Bucket of a limited type.",
                at=4,
            ),
            Field(
                "min_header_len",
                8,
                RW,
                reset=tuple(
                    next((row.min_header_len for row in MH_TYPES if row.type == n), 0)
                    for n in range(256)
                ),
                unit="8 octets",
                doc="Least Header Len; below it `bad_length`.",
                at=8,
            ),
        ),
        count=256,
        home=Home.RAM,
        doc=f"MH types; HARP's default is {HARP_MH.type}.",
    ),
    Register(
        "bucket",
        0x0200,
        (
            Field(
                "period_us",
                32,
                RW,
                reset=tuple(b.period_us for b in DEFAULT_BUCKETS)
                + (PEER_BUCKET.period_us,) * PEERS,
                unit="µs",
                doc="Time a token: 1,000,000 / rate; 0: no limit.",
            ),
            Field(
                "tolerance_us",
                32,
                RW,
                reset=tuple(b.tolerance_us for b in DEFAULT_BUCKETS)
                + (PEER_BUCKET.tolerance_us,) * PEERS,
                unit="µs",
                doc="(burst - 1) x period.",
            ),
        ),
        count=BUCKETS + PEERS,
        stride=2,
        home=Home.RAM,
        doc=f"Token buckets; from {BUCKETS} on those of the peers, for `heartbeat_news`.",
    ),
    Register(
        "local",
        0x0280,
        (Field("address", 128, RW, doc="A local address, first octet lowest; :: = unused."),),
        count=LOCAL_ADDRESSES,
        home=Home.RAM,
        doc="Destinations whose MH is judged; all unused: every one is.",
    ),
    Register(
        "reason_frames",
        0x0380,
        (_counter("frames", "frames", "Frames network → host of this reason."),),
        count=len(OFFLOAD_REASONS),
        home=Home.RAM,
        doc="Frames of each reason (index: OFFLOAD_REASONS).",
    ),
    Register(
        "outcome_frames",
        0x03C0,
        (_counter("frames", "frames", "Frames network → host of this outcome."),),
        count=len(OUTCOMES),
        home=Home.RAM,
        doc="Frames of each outcome (index: OUTCOMES).",
    ),
)

_PORTS = (
    Register(
        "port",
        0x0400,
        (
            _counter("rx_frames", "frames", "Frames from the MAC, bad ones included."),
            _counter("rx_octets", "octets", "Their octets, FCS included."),
            _counter("rx_fcs_errors", "frames", "Frames with a wrong FCS."),
            _counter("rx_errors", "frames", "Frames in which RX_ER was seen."),
            _counter("rx_runts", "frames", "Frames shorter than 64 octets."),
            _counter("rx_oversize", "frames", "Frames longer than 9,216 octets."),
            _counter("rx_overruns", "frames", "Frames lost for want of room behind this port."),
            _counter("tx_frames", "frames", "Frames handed to the MAC."),
            _counter("tx_octets", "octets", "Their octets, FCS included."),
            _counter("tx_errors", "frames", "Of them, ended with an error."),
        ),
        count=PORTS,
        stride=32,
        home=Home.RAM,
        doc="Counters of each port (0 network, 1 host).",
    ),
    Register(
        "port_state",
        0x0440,
        (
            Field("link", 1, RO, doc="1: link up and usable."),
            Field("full_duplex", 1, RO, doc="1: full duplex."),
            Field("speed", 2, RO, doc="0: 10, 1: 100, 2: 1000, 3: 10000 Mb/s."),
            Field("unsupported_speed", 1, RO, doc="1: the link's speed is not carried."),
            Field("no_clock", 1, RO, doc="1: the PHY gives no clock."),
            Field(
                "unknown_phy",
                1,
                RO,
                doc="1: another PHY than the board's answers, or none.",
            ),
            Field("high_water", 32, RO, unit="octets", doc="Most octets ever buffered.", at=32),
            Field("latency_max", 32, RO, unit="clocks", doc="Longest first word in to first out."),
        ),
        count=PORTS,
        stride=4,
        doc="State of each port; buffer and latency are those of frames that came in here.",
    ),
)

_SLOTS = (
    Register(
        "slot",
        0x0500,
        (
            Field("flags", 8, RW, doc="harp.tables.offload.SlotFlag; written last."),
            Field(
                "mh_offset",
                8,
                RW,
                unit="octets",
                doc="Where the MH begins in the template; 2 or 6 modulo 8, bits 0 and 1 are taken "
                "as 2.",
            ),
            Field("length", 9, RW, unit="octets", doc="Frame without FCS, 60 to 256."),
            Field("sequence_from", 3, RW, doc="Slot whose Sequence # this one counts.", at=28),
            Field("period_us", 32, RW, reset=1_000_000, unit="µs", doc="At least 100.", at=32),
            Field("jitter", 4, RW, unit="%", doc="0 to 10: sent up to this much early."),
            Field("spi", 3, RW, doc="Key of AUTHENTICATE; needs HMAC.", at=72),
            Field("sequence", 16, RW, doc="Sequence # sent last; the gateware counts on.", at=96),
        ),
        count=SLOTS,
        home=Home.RAM,
        doc="Slots, in index order when several are due.",
    ),
    Register(
        "slot_state",
        0x0540,
        (
            Field("sent", 32, RO, unit="frames", doc="Frames sent; wraps."),
            Field("missed", 32, RO, unit="frames", doc="Periods without a frame; wraps."),
        ),
        count=SLOTS,
        home=Home.RAM,
        doc="What each slot did.",
    ),
    Register(
        "slot_template",
        0x0800,
        (Field("octets", 32, RW, doc="Four octets of the frame, first octet lowest."),),
        count=SLOTS * TEMPLATE_OCTETS * 8 // WORD_BITS,
        home=Home.RAM,
        doc="Templates: slot n's begins at element 64 x n.",
    ),
)

_PEERS = (
    Register(
        "peer",
        0x1000,
        (
            Field("address", 128, RW, doc="Source of its HELLOs, first octet lowest."),
            Field("group", 8, RW, doc="Group ID."),
            Field("vlan", 12, RW, doc="VLAN ID of the inner tag; 0: untagged.", at=136),
            Field("any_vlan", 1, RW, doc="1: on whatever VLAN."),
            Field("mode", 1, RW, doc="harp.tables.offload.PeerMode."),
            Field("authenticate", 1, RW, doc="1: HELLOs must be signed; without HMAC 0."),
            Field("enable", 1, RW, doc="1: used; written last, cleared first.", at=159),
        ),
        count=PEERS,
        stride=8,
        home=Home.RAM,
        doc="Keys of the peers; the match keeps its own copy, the RAM answers reads.",
    ),
    Register(
        "peer_command",
        0x1100,
        (
            Field("arm", 1, PULSE, doc="Starts the deadline as if a HELLO came; state `up`."),
            Field("forget", 1, PULSE, doc="State `unknown`: no deadline, sequence or stored MH."),
        ),
        count=PEERS,
        doc="Commands to the monitor; `forget` goes before `arm` in one write.",
    ),
    Register(
        "peer_timing",
        0x1200,
        (
            Field("deadline_us", 40, RW, unit="µs", doc="HELLO to `peer_down`; 0: none."),
            Field("late_us", 40, RW, unit="µs", doc="HELLO to `peer_late`; 0: never.", at=64),
            Field("multiplier", 8, RW, reset=3, doc="Window: max(64, 2 x multiplier).", at=128),
        ),
        count=PEERS,
        stride=8,
        home=Home.RAM,
        doc="Timing of the peers; takes effect with the next HELLO or `arm`.",
    ),
    Register(
        "peer_sequence",
        0x1300,
        (
            Field("multicast", 16, RW, doc="Last Sequence # by multicast, 0: any is accepted."),
            Field("unicast", 16, RW, doc="Last Sequence # by unicast, 0: any is accepted."),
        ),
        count=PEERS,
        home=Home.RAM,
        doc="Written by the monitor with each accepted HELLO, and by the host.",
    ),
    Register(
        "peer_state",
        0x1400,
        (
            Field("heard_us", 64, RO, unit="µs", doc="Time of the last accepted HELLO; 0: none."),
            Field("state", 3, RO, doc="harp.tables.offload.PeerState."),
            Field("stored_words", 4, RO, unit="8 octets", doc="Length of the stored MH; 0: none."),
            Field("last_multicast", 16, RO, doc="Sequence # of the same sample.", at=96),
            Field("last_unicast", 16, RO, doc="Sequence # of the same sample."),
            _counter("accepted", "frames", "HELLOs accepted."),
            _counter("absorbed", "frames", "Of them, absorbed."),
        ),
        count=PEERS,
        stride=8,
        home=Home.RAM,
        doc="Snapshot of each peer.",
    ),
)

_EVENTS = (
    Register(
        "event_ack",
        0x0600,
        (
            Field("id", 9, PULSE, doc="Event: code of its kind x 32 + index."),
            Field("count", 16, PULSE, doc="Its count as the host knows it.", at=16),
        ),
        doc="Clears the event if `count` is its count; otherwise it stays and is pushed again.",
    ),
    Register(
        "event_pending",
        0x0610,
        (Field("indexes", 32, RO, doc="Bit n: pending for index n."),),
        count=len(EVENT_KINDS),
        home=Home.RAM,
        doc="Pending events of each kind (index: EVENT_KINDS).",
    ),
    Register(
        "event",
        0x1800,
        (
            Field("first_us", 64, RO, unit="µs", doc="When it happened first since acknowledged."),
            Field("count", 16, RO, doc="How often since then, up to 65535; 0: not pending."),
        ),
        count=len(EVENT_KINDS) * EVENT_STRIDE,
        stride=4,
        home=Home.RAM,
        doc="Events by id (kind x 32 + index).",
    ),
)

REGISTERS: tuple[Register, ...] = checked(
    sorted(
        (*_IDENTITY, *_CONTROL, *_GUARD, *_VERDICTS, *_PORTS, *_SLOTS, *_PEERS, *_EVENTS),
        key=lambda register: register.offset,
    )
)
"""The core's, in order of offset. 0x2000 to 0x27FF waits for HMAC."""

PAGE_WORDS = 0x100
BOARD_PAGE: tuple[Register, ...] = checked(
    (
        Register(
            "port_test",
            0x0700,
            (
                Field(
                    "rx_delay",
                    7,
                    RW,
                    unit="25 ps",
                    doc="Delay of the receive pins beyond the board's own, to the cells' end.",
                ),
                Field("mute", 1, RW, doc="1: the port carries nothing."),
                Field("force", 1, RW, doc="1: it carries, whatever its PHY says of the link."),
            ),
            count=PORTS,
            doc="Tests of a port; all 0 in use.",
        ),
        Register(
            "mdio",
            0x0708,
            (
                Field("data", 16, RW, doc="What is written."),
                Field("register", 5, RW, doc="Register of the PHY (IEEE 802.3 §22.2.4)."),
                Field("phy", 5, RW, doc="Address of the PHY."),
                Field("bus", 1, RW, doc="Management bus."),
                Field("write", 1, RW, doc="1: write, 0: read."),
                Field("go", 1, PULSE, doc="Asks for it; done between two polls of the links."),
            ),
            doc="An access to a PHY; one at a time.",
        ),
        Register(
            "mdio_answer",
            0x0709,
            (
                Field("data", 16, RO, doc="What was read, or written."),
                Field("busy", 1, RO, doc="1: not done yet."),
            ),
            doc="What came of it.",
        ),
    )
)
"""The board's page, 0x0700 to 0x07FF: a board has it, a core alone answers `error` there."""

BY_NAME: dict[str, Register] = {register.name: register for register in (*REGISTERS, *BOARD_PAGE)}
