"""One `harpd` from start to end: what is opened in which order, and undone in the other.

Ref: harp.md §9 (withdrawing), §5 (INIT); systemd.service(5), daemon(7)
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from harp.cli.common import Failure
from harp.daemon import crash, privileges
from harp.daemon.assembly import Assembly, assemble, routes
from harp.daemon.clock import SystemClock
from harp.daemon.config.model import DaemonConfig
from harp.daemon.control.answers import Answers
from harp.daemon.control.server import Control
from harp.daemon.detection.inputs import BfdInput, VrrpInput
from harp.daemon.detection.listen import Listeners
from harp.daemon.endpoints import Endpoints, own_addresses
from harp.daemon.filter.nft import NftFilter
from harp.daemon.links import Links
from harp.daemon.log import LEVELS, LOGGER, LogWriter, tell
from harp.daemon.metrics.server import MetricsServer
from harp.daemon.metrics.taking import Taker
from harp.daemon.notify import Notifier
from harp.daemon.parts import Guard, Parts
from harp.daemon.protection.ipsec import unprotected
from harp.daemon.protection.policies import inbound_policies
from harp.daemon.protection.swanctl import configuration
from harp.daemon.reload import Reload
from harp.daemon.runtime import Runtime
from harp.daemon.taken import Taken, filter_of
from harp.daemon.timer import StepWatch
from harp.engine.config import Security
from harp.engine.engine import Engine
from harp.engine.events import ClockStepped

DAD_PATIENCE_S = 5.0
"""RFC 4862 §5.1: a second for each probe, one by default."""


def run(config: DaemonConfig, path: Path) -> None:
    """Runs until SIGTERM or SIGINT. `Failure`: it cannot start."""
    privileges.demand_capabilities()
    with privileges.single_instance(config.run_dir):
        log = LogWriter(LEVELS[config.log_level])
        try:
            for line in privileges.apply(config.scheduling):
                LOGGER.warning("%s", line)
            log.start()
            asyncio.run(Daemon(config, path).run())
        except (Failure, KeyboardInterrupt):
            raise
        except Exception as error:
            raise crash.note(error, config.state_dir) from None
        finally:
            log.close()


class Daemon:
    """What `run` runs."""

    def __init__(self, config: DaemonConfig, path: Path) -> None:
        self._config = config
        self._path = path
        self._clock = SystemClock()
        self._notifier = Notifier()
        self._stop = asyncio.Event()
        self._fault: BaseException | None = None

    async def run(self) -> None:
        """Opens everything, waits, closes everything."""
        asyncio.get_running_loop().set_exception_handler(self._failed)
        self._on_signals()
        _demand_policies(self._config)
        async with AsyncExitStack() as stack:
            await self._start(stack)
            await self._stop.wait()
            self._notifier.stopping()
            LOGGER.info("stopping")
            if self._fault is not None:
                raise self._fault

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback, such as a socket's or the timer's, raised what nobody expected: the end. A
        task that fails is one asker's business, unless it was at work on the engine (`Runtime`) or
        on the settings (`Reload`)."""
        fault = context.get("exception")
        if "handle" in context and isinstance(fault, Exception):
            self._end(fault)
        LOGGER.error("%s: %r", context["message"], fault)

    def _end(self, fault: Exception) -> None:
        """What is half done is not gone on with: withdraw, goodbye, exit status 1."""
        self._fault = self._fault or fault
        self._stop.set()

    async def _start(self, stack: AsyncExitStack) -> None:
        config = self._config
        engine = Engine(config.engine, random.SystemRandom(), self._clock.offset_us())
        runtime = Runtime(engine, self._clock, self._end)
        links = Links(own_addresses(config), runtime.deliver, tell)
        stack.callback(links.close)
        links.open()
        await _addresses_ready(links)
        endpoints = Endpoints(config, runtime, links, tell)
        stack.callback(endpoints.close)
        rules = self._open_filter(endpoints, stack)
        assembly = assemble(config, runtime, endpoints, links)
        stack.push_async_callback(assembly.on_role.close)
        await self._open(assembly.parts, stack)
        self._restore(engine, assembly.parts)
        await self._open_for_people(runtime, endpoints, assembly, rules, stack)
        self._watch_clock(runtime, stack)
        listeners = Listeners(_inputs(config), runtime.deliver, LOGGER.warning)
        listeners.open()
        stack.push_async_callback(listeners.close)
        privileges.settle_memory()
        links.settle()
        others = (*endpoints.others, *assembly.others)
        stack.push(_withdraws(assembly.parts.guard))
        runtime.start(assembly.parts, endpoints.members, others)
        stack.callback(runtime.stop)
        stack.push_async_callback(assembly.parts.offload.rest)
        links.tell_down()
        self._notifier.start_watchdog()
        stack.callback(self._notifier.close)
        self._notifier.ready(self._summary())
        LOGGER.info("started: %s", self._summary())

    async def _open_for_people(
        self,
        runtime: Runtime,
        endpoints: Endpoints,
        assembly: Assembly,
        rules: NftFilter | None,
        stack: AsyncExitStack,
    ) -> None:
        """Metrics, reload and the control socket."""
        taker = Taker(runtime, assembly.parts, assembly.tally, rules.status if rules else None)
        stack.callback(taker.close)
        metrics = MetricsServer(taker)
        try:
            await metrics.listen(self._config.metrics_listen)
        except Failure as error:  # nobody is to be without a home agent for that
            LOGGER.error("%s", error.format_message())
        stack.push_async_callback(metrics.close)
        take = Taken(runtime, rules, assembly, metrics, mip6=endpoints.mip6)
        reload = Reload(self._path, self._config, take, self._notifier, self._end)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload.on_signal)
        stack.push_async_callback(reload.close)
        counts = taker.filter_counts
        answers = Answers(runtime, assembly.parts, assembly.events, reload, self._path, counts)
        control = Control(self._config.control, answers, assembly.events)
        await control.open()
        stack.push_async_callback(control.close)

    async def _open(self, parts: Parts, stack: AsyncExitStack) -> None:
        """The guard first: it is forked while the process is small."""
        parts.guard.open()
        stack.callback(parts.guard.close)
        stack.callback(parts.journal.close)
        parts.data_plane.open()
        stack.callback(parts.data_plane.close)
        parts.announcer.open()
        stack.callback(parts.announcer.close)
        if detail := parts.data_plane.status().detail:
            LOGGER.info("%s", detail)
        await parts.offload.open()
        stack.push_async_callback(parts.offload.close)

    def _open_filter(self, endpoints: Endpoints, stack: AsyncExitStack) -> NftFilter | None:
        """Before anything is heard: what the kernel would answer wrongly must not reach it."""
        rules = filter_of(self._config, mip6=endpoints.mip6)
        if rules is None:
            return None
        loaded = NftFilter(rules)
        loaded.open()
        stack.callback(loaded.close)
        return loaded

    def _restore(self, engine: Engine, parts: Parts) -> None:
        """What was known before; the data plane of a restarted harpd knows none of it."""
        for group in engine.groups:
            engine.restore(group, parts.journal.restore(group))
        for route in routes(engine):
            parts.data_plane.prepare(route)

    def _on_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)

    def _watch_clock(self, runtime: Runtime, stack: AsyncExitStack) -> None:
        """Timestamps and the journal count in UNIX time."""
        watch, loop = StepWatch(), asyncio.get_running_loop()

        def stepped() -> None:
            watch.acknowledge()
            LOGGER.warning("the clock of this machine was set")
            runtime.deliver(ClockStepped(self._clock.offset_us()))

        loop.add_reader(watch.fileno(), stepped)
        stack.callback(watch.close)
        stack.callback(loop.remove_reader, watch.fileno())

    def _summary(self) -> str:
        groups = ", ".join(str(group.group) for group in self._config.engine.groups)
        return f"group {groups} from {self._path}"


def _withdraws(guard: Guard) -> Callable[..., None]:
    """After a fault the guard does what harpd perhaps could not: before the other parts close,
    which takes longer than the peers' detection time."""

    def withdraw(kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            guard.close(withdraw=True)

    return withdraw


def _demand_policies(config: DaemonConfig) -> None:
    """harp.md §7: `ipsec` without a policy that demands it is not what the operator believes."""
    if all(g.protection.security is not Security.IPSEC for g in config.engine.groups):
        return
    try:
        policies = inbound_policies()
    except OSError as error:
        raise Failure(
            f'security = "ipsec": the kernel does not tell its policies: {error.strerror or error};'
            " `modprobe xfrm_user` loads what does"
        ) from None
    faults = [str(fault) for fault in unprotected(config.engine.groups, policies)]
    for fault in faults[1:]:
        LOGGER.error("%s", fault)
    if faults:
        print(configuration(config.engine.groups), flush=True)
        raise Failure(
            f"{faults[0]}; the strongSwan configuration just printed makes it (`harpctl "
            "ipsec-config` prints it again)"
        )


def _inputs(config: DaemonConfig) -> Iterator[BfdInput | VrrpInput]:
    """Detection sources beside HELLOs (harp.md §4)."""
    for _, settings in config.groups:
        yield from settings.detection


async def _addresses_ready(links: Links) -> None:
    """Waits for the kernel's duplicate address detection. `Failure`: an address is missing."""
    loop = asyncio.get_running_loop()
    links.check()
    if not links.waiting:
        return
    LOGGER.info("waiting for duplicate address detection of our own addresses")
    news = asyncio.Event()
    loop.add_reader(links.fileno(), _heard(links, news))
    try:
        async with asyncio.timeout(DAD_PATIENCE_S):
            while links.waiting:
                news.clear()
                await news.wait()
    except TimeoutError:
        LOGGER.warning("duplicate address detection takes long; going on without these links")
    finally:
        loop.remove_reader(links.fileno())
    links.check()


def _heard(links: Links, news: asyncio.Event) -> Callable[[], None]:
    def heard() -> None:
        links.drain(1)
        news.set()

    return heard
