"""The software filter in the kernel: loaded, counted and removed through `nft`.

Ref: nft(8), libnftables-json(5)
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from harp.cli.common import Failure
from harp.daemon.filter.ruleset import DROPPED, FRAMES, REMOVE, TABLE, Filter, ruleset
from harp.daemon.netlink.nft import run_nft


@dataclass(frozen=True, slots=True)
class FilterStatus:
    """What the filter counted; empty where it is not loaded."""

    frames: dict[str, int]
    """Packets by reason; a limited one counts here too."""
    dropped: dict[str, int]
    """Those of them that were dropped."""


class NftFilter:
    """The table of one harpd in this network namespace."""

    def __init__(self, rules: Filter) -> None:
        self._rules = rules

    def open(self) -> None:
        """Loads the rules; those of a harpd before are replaced in the same transaction.

        `Failure`: no nft, no permission, a kernel without nf_tables."""
        _nft("-f", "-", text=ruleset(self._rules))

    def replace(self, rules: Filter) -> None:
        """Other rules; counters start anew. `Failure`: the old ones stay."""
        _nft("-f", "-", text=ruleset(rules))
        self._rules = rules

    def close(self) -> None:
        """Takes the table away."""
        remove()

    def status(self) -> FilterStatus:
        """Asking changes nothing. Takes some milliseconds: not for the loop's thread."""
        listed = json.loads(_nft("-j", "list", "counters", "table", "ip6", TABLE))
        packets = {
            str(each["counter"]["name"]): int(each["counter"]["packets"])
            for each in listed["nftables"]
            if "counter" in each
        }
        return FilterStatus(_named(packets, FRAMES), _named(packets, DROPPED))


def remove() -> None:
    """Takes away what a harpd left; that there is nothing is no error, nor that there is no nft:
    then nothing was loaded."""
    try:
        run_nft("-f", "-", script=REMOVE)
    except FileNotFoundError:
        return
    except OSError as error:
        raise Failure(f"the software filter: {error}") from None


def _named(packets: dict[str, int], prefix: str) -> dict[str, int]:
    return {
        name.removeprefix(prefix): count
        for name, count in sorted(packets.items())
        if name.startswith(prefix)
    }


def _nft(*words: str, text: str = "") -> str:
    try:
        return run_nft(*words, script=text)
    except FileNotFoundError as error:
        raise Failure(f"the software filter: {error}, or set enabled = false in [filter]") from None
    except OSError as error:
        raise Failure(f"the software filter: {error}") from None
