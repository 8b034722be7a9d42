"""A fault of harpd itself: one line for people, the rest in a file, and an end.

An engine that failed half way through an event is not to be trusted with a virtual address: harpd
withdraws as well as it can, its guard does the rest, and the service manager starts it again.
"""

from __future__ import annotations

import traceback
from pathlib import Path

from harp.cli.common import Failure
from harp.daemon.log import LOGGER

FILE = "harpd.fault"


def note(error: BaseException, state_dir: Path) -> Failure:
    """Writes where it happened into a file of the state directory; what to tell people."""
    path = state_dir / FILE
    text = "".join(traceback.format_exception(error))
    what = f"internal fault: {type(error).__name__}: {error}"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as why:
        LOGGER.error("%s: %s", path, why.strerror)
        return Failure(f"{what}; please report it")
    return Failure(f"{what}; please report it with {path}")
