"""A stand-in for harpd: serves group 7, feeds its guard, says HELLO; tests kill or stop it.

Arguments: run directory, `psk` or `none`, megabytes of memory that it locks. Says "serving" on
stdout, and each `Fenced`.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import struct
import sys
from pathlib import Path
from random import Random

from tests.daemon.site import GROUP, OWN, VIRTUAL, daemon_config, group_config, psk

from harp.daemon.clock import SystemClock
from harp.daemon.dataplane.plan import plan_of
from harp.daemon.dataplane.switch import Switch
from harp.daemon.guard.guard import Guard
from harp.daemon.netlink.connection import Netlink
from harp.engine.config import EngineConfig
from harp.engine.effects import SendPacket, SetServing
from harp.engine.engine import Engine
from harp.tables.constants import US_PER_S

INTERVAL_US = 200_000
"""A busy machine does not run a test for tens of milliseconds: that is no silence yet."""


def main() -> None:
    run_dir, security = Path(sys.argv[1]), sys.argv[2]
    group = group_config(psk() if security == "psk" else None, INTERVAL_US)
    config = daemon_config(run_dir, group)
    clock = SystemClock()
    guard = Guard(config, lambda event: print(event, flush=True), lambda *_: None)
    guard.open()
    rekeyed = daemon_config(run_dir, group_config(psk(257), INTERVAL_US))
    reload = list[int]()
    signal.signal(signal.SIGHUP, lambda number, _: reload.append(number))
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(50))
    ballast = bytearray(int(sys.argv[3]) << 20)
    ballast[::4096] = bytes(len(ballast) // 4096)
    ctypes.CDLL(None).mlockall(1)
    plan = plan_of(config)
    switch = Switch(plan, Netlink(), lambda text: print(text, flush=True))
    serving = SetServing(GROUP, True, VIRTUAL)
    guard.feed(clock.now_us())
    guard.serving(serving)
    switch.set(plan.groups[0], True, clock.now_us())
    engine = Engine(EngineConfig((group,)), Random(7), clock.offset_us())
    out = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 135)
    out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_CHECKSUM, struct.pack("=i", -1))
    out.bind((socket.inet_ntop(socket.AF_INET6, OWN), 0))
    number = socket.if_nametoindex("home")
    effects = engine.start(clock.now_us())
    told = False
    while True:
        for effect in effects:
            if isinstance(effect, SendPacket):
                to = (socket.inet_ntop(socket.AF_INET6, effect.destination), 0, 0, number)
                if effect.destination[0] == 0xFF:
                    out.sendto(effect.payload, to)
                guard.sent(effect)
        guard.feed(clock.now_us())
        if not told:
            told = True
            print("serving", flush=True)
        # The engine is alone and would take over by itself: only its HELLOs are wanted here.
        wake = min(guard.deadline or 0, engine.deadline or 0)
        select.select([], [], [], max(0, wake - clock.now_us()) / US_PER_S)
        if reload:
            reload.clear()
            guard.reconfigure(rekeyed)
        guard.feed(clock.now_us())
        switch.renew(clock.now_us())
        effects = engine.expire(clock.now_us())


if __name__ == "__main__":
    main()
