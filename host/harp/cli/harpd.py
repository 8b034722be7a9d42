"""`harpd`: the daemon on a router."""

from __future__ import annotations

import signal


def main() -> None:
    """Entry point; imports take half a second, in which Ctrl-C ends it without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from harp.cli.common import run
    from harp.cli.daemon import harpd

    run(harpd)


if __name__ == "__main__":
    main()
