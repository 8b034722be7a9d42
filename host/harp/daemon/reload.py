"""Takes a changed configuration while harpd runs, without giving the role away.

Ref: systemd.service(5) (Type=notify-reload); harp.md §7 ("a running group can be moved to a key
without an outage")
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harp.cli.common import Failure
from harp.daemon.config.difference import Difference, difference, live_part
from harp.daemon.config.load import load
from harp.daemon.config.model import DaemonConfig
from harp.daemon.log import LOGGER
from harp.daemon.notify import Notifier

Take = Callable[[DaemonConfig, DaemonConfig], None]
"""Told the configuration before, and after with all that can be taken at once."""


class Reload:
    """What SIGHUP and `harpctl reload` do; `config` is what harpd runs with."""

    def __init__(self, path: Path, config: DaemonConfig, take: Take, notifier: Notifier) -> None:
        self.config = config
        """With everything that was taken so far."""
        self._path = path
        self._take = take
        self._notifier = notifier

    def __call__(self) -> Difference:
        """Reads the file and takes what can be taken. `Failure`: the file is not right, and
        everything stays as it is."""
        self._notifier.reloading()
        try:
            new = load(self._path)
            found = difference(self.config, new)
            taken = live_part(self.config, new)
            self._take(self.config, taken)
            self.config = taken
        finally:
            self._notifier.ready("reloaded")
        for line in found.live:
            LOGGER.info("reload: %s", line)
        for line in found.restart:
            LOGGER.warning("reload: %s", line)
        if not found.changes:
            LOGGER.info("reload: nothing has changed in %s", self._path)
        return found

    def on_signal(self) -> None:
        """SIGHUP."""
        try:
            self()
        except Failure as error:
            LOGGER.error("reload: %s; going on as before", error.format_message())
