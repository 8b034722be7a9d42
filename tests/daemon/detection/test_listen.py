"""Listeners wait for daemons that are not there yet."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from harp.daemon.detection.inputs import VrrpInput
from harp.daemon.detection.listen import Listeners
from harp.engine.config import DetectionSource
from harp.engine.events import Event, PeerReport, PeerReported

PEER = bytes(15) + b"\2"


def test_a_fifo_whose_directory_comes_later_is_listened_to(tmp_path: Path) -> None:
    fifo = tmp_path / "keepalived" / "notify"
    told: list[str] = []

    async def scene() -> Event:
        heard: asyncio.Queue[Event] = asyncio.Queue()
        listeners = Listeners(
            [VrrpInput(7, "home", PEER, "ha2", fifo)], heard.put_nowait, told.append, retry_s=0.01
        )
        listeners.open()
        async with asyncio.timeout(20):
            await asyncio.sleep(0.1)
            fifo.parent.mkdir()
            os.mkfifo(fifo)
            writing = os.open(fifo, os.O_RDWR)
            os.write(writing, b'INSTANCE "ha2" BACKUP 100\n')
            event = await heard.get()
            os.close(writing)
            await listeners.close()
        return event

    event = asyncio.run(scene())
    assert event == PeerReported(7, PEER, "home", DetectionSource.VRRP, PeerReport.UP)
    assert told[0].startswith(f"keepalived: {fifo}: No such file or directory")
    assert len(told) <= 2, "once, not at each try"
