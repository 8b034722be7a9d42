"""Unix sockets that nobody reaches with other permissions than they shall have, at no moment."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def bound_for_owner(path: Path) -> socket.socket:
    """A stream socket at a path, for its owner alone, that does not listen yet. Raises OSError."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        made.bind(str(path))
    except OSError:
        made.close()
        raise
    finally:
        os.umask(before)
    return made
