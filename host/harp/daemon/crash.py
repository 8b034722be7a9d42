"""A fault of harpd itself: one line for people, the rest in a file, and an end.

An engine that failed half way through an event is not to be trusted with a virtual address: harpd
withdraws as well as it can, its guard does the rest, and the service manager starts it again.
"""

from __future__ import annotations

import os
import traceback
from pathlib import Path

from harp.cli.common import Failure
from harp.daemon.log import LOGGER

FILE = "harpd.fault"
_MODE = 0o600
"""A traceback tells of members and bindings."""


def note(error: BaseException, state_dir: Path) -> Failure:
    """Writes where it happened into a file of the state directory; what to tell people."""
    path = state_dir / FILE
    text = "".join(traceback.format_exception(error))
    what = f"internal fault: {type(error).__name__}: {error}"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, _MODE), "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), _MODE)  # one from before may have another
            file.write(text)
    except OSError as why:
        LOGGER.error("%s: %s", path, why.strerror)
        return Failure(f"{what}; please report it")
    return Failure(f"{what}; please report it with {path}")
