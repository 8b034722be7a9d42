"""A full sync into the kernel's sets and maps: on every kernel, since these need no tunnel, so that
an emulated machine can be compared with its host."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

from tests.daemon.network import entered, namespace, until
from tests.daemon.site import CARE_OF, GROUP, VIRTUAL

from harp.daemon.dataplane.child import Child
from harp.daemon.dataplane.feed import block_frame
from harp.daemon.dataplane.plan import GroupPlan, Plan
from harp.daemon.dataplane.sets import checking_table, marking_table, tunnelling_table
from harp.daemon.dataplane.worker import WorkerGroup, WorkerPlan
from harp.daemon.netlink.nft import load
from harp.engine.effects import PrepareRoutes
from harp.wire.bulk import BindingRecord, BulkCodec
from harp.wire.codec import DEFAULT_CODEC

PLAN = Plan((GroupPlan(GROUP, "home", VIRTUAL, VIRTUAL, 11407, 11407, 0x11B, 60),), "harp0")
PATIENCE_S = 600.0
"""On an emulated processor that others want too."""


class Filling(NamedTuple):
    """What it took."""

    took_s: float
    """From the first binding told to the last one in the kernel."""
    worked_s: float
    """Processor time of the worker."""


def many(count: int) -> PrepareRoutes:
    """As many bindings as a full sync brings them."""
    records = (
        BindingRecord(
            VIRTUAL[:8] + (index + 4096).to_bytes(8), CARE_OF[:8] + index.to_bytes(8), 0, 1, 10
        )
        for index in range(count)
    )
    return PrepareRoutes(GROUP, BulkCodec(DEFAULT_CODEC).pack(records))


def filling(count: int) -> Filling:
    """Of `count` bindings, by the kernel backend's worker."""
    with namespace("ha") as name, entered(name):
        load(marking_table(PLAN) + tunnelling_table(PLAN) + checking_table(PLAN), "tables")
        told = WorkerPlan((WorkerGroup(GROUP, 11407, VIRTUAL),), PLAN.device)
        child = Child("harp.daemon.dataplane.kernel_worker", told, {})
        try:
            _settle(child)  # it has started
            child.put(block_frame(many(count)))
            worked_s, begin = _processor_s(child.pid), time.monotonic()
            _settle(child)
            took = Filling(time.monotonic() - begin, _processor_s(child.pid) - worked_s)
            assert (child.report.routes, child.report.failed) == (count, 0), child.report
        finally:
            child.stop()
        return took


def _settle(child: Child) -> None:
    child.flush()

    def flushed() -> bool:
        assert child.pump(), "the worker ended"
        return child.report.flushed == child.asked

    until(flushed, "in the kernel", PATIENCE_S)


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
