"""Cases: cocotb tests of the core, each module one theme.

A test begins with a simulator of its own: RAMs keep their content over a reset.
"""

LINE_RATE = ("plain", "valid", "heartbeats", "malformed", "fault_runs", "chains", "mixed")
FLOODS = ("nothing", "plain", "malformed")

CASES: tuple[str, ...] = (
    "mix.mix",
    "wire.after_reset",
    "wire.lease_ends",
    "wire.mirrored_link",
    "latency.latency",
    *(f"line_rate.line_rate/kind={kind}" for kind in LINE_RATE),
    *(f"deadlines.in_time/flood={flood}" for flood in FLOODS),
    "deadlines.under_heartbeats",
    "slots.one/busy=False",
    "slots.one/busy=True",
    "slots.four",
    "slots.sequence_skips_zero",
    "slots.watchdog/cause=lease",
    "slots.watchdog/cause=link",
    "slots.unfenced_early",
    "slots.only_the_event",
    "registers.random_access",
    "registers.identity",
    "registers.samples",
    "registers.sticky_bits",
    "events.acknowledged_by_count",
    "events.repeated_until_then",
)
"""Module and test of each, as `make sim CASE=` takes them; a module alone is every test of it."""


MONITOR: tuple[str, ...] = ("monitor.judges", "monitor.sends", "monitor.refuses")
"""Cases of a build with one port."""

NETLIST: tuple[str, ...] = ("netlist.every_reason",)
"""Cases of the synthesised core, built small: 4 peers, 2 slots."""

PINS: dict[str, str] = {
    **dict.fromkeys(
        (
            *(f"pins.flood/pace={pace}" for pace in ("even", "net_fast", "host_fast")),
            "pins.faults",
            "pins.reset_in_frame/number=0",
            "pins.reset_in_frame/number=1",
            "pins.no_clock",
            "pins.other_speeds",
            "pins.stranger",
            "pins.link_lost",
            "pins.lock_lost",
            "pins.latency",
            "pins.judged",
            "serial.every_register",
            "serial.selftest",
        ),
        "colorlight_5a75b_r7",
    ),
    "pins.monitor": "ecpix5",
}
"""Cases of a board's whole top, and the board."""


def chosen(name: str) -> tuple[str, ...]:
    """The cases of that name: one, or a module's; none if there is no such case."""
    return tuple(
        case
        for case in (*CASES, *MONITOR, *NETLIST, *PINS)
        if case == name or case.split(".")[0] == name
    )
