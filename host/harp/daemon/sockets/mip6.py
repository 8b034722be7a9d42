"""Whether the kernel handles the Home Address option itself, and telling it to let any through.

Ref: ip-xfrm(8); RFC 6275 §6.3; harp.md §10

With the kernel's `mip6` a wildcard state and policy bring Binding Updates to the raw socket with
the home address as their source. Without it a packet socket takes them (`home_address`).
"""

from __future__ import annotations

import subprocess

_STATE = ("src", "::", "dst", "::", "proto", "hao")
_STATE_MORE = ("mode", "ro", "flag", "wildrecv", "coa", "::")
_POLICY = ("src", "::/0", "dst", "::/0", "proto", "135", "type", "5", "dir", "in", "ptype", "sub")
_TEMPLATE = ("tmpl", *_STATE, "mode", "ro", "level", "use")
_EXISTS = "File exists"
_PATIENCE_S = 10


class HomeAddressOption:
    """The wildcard state and policy of this network namespace."""

    def __init__(self) -> None:
        self._made: list[tuple[str, ...]] = []

    def open(self) -> bool:
        """Makes them; False: this kernel has no `mip6`, or may not be asked. Those that are there
        already, of another program or of a harpd that died, are used and left alone."""
        if not self._make(("state", "add", *_STATE, *_STATE_MORE), ("state", "delete", *_STATE)):
            return False
        if not self._make(("policy", "add", *_POLICY, *_TEMPLATE), ("policy", "delete", *_POLICY)):
            self.close()
            return False
        return True

    def close(self) -> None:
        """Takes away what `open` made."""
        for undo in reversed(self._made):
            _ip(undo)
        self._made.clear()

    def _make(self, do: tuple[str, ...], undo: tuple[str, ...]) -> bool:
        said = _ip(do)
        if said == "":
            self._made.append(undo)
        return said == "" or _EXISTS in said


def remove_leftovers() -> None:
    """For `harpd --undo`: whoever made them."""
    _ip(("policy", "delete", *_POLICY))
    _ip(("state", "delete", *_STATE))


def _ip(words: tuple[str, ...]) -> str:
    """Runs `ip xfrm`; what it complains of, empty if of nothing."""
    command = ("ip", "-6", "xfrm", *words)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stderr.strip() or ("" if done.returncode == 0 else f"status {done.returncode}")
