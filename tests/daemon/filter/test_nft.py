"""The software filter in a kernel: packets of every reason over a veth, counters, arrivals."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harp.daemon.filter.ruleset import Filter, ruleset
from harp.tables.reasons import Reason

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces"),
    pytest.mark.skipif(not shutil.which("nft"), reason="needs nft: Debian package nftables"),
]
SCRIPT = Path(__file__).with_name("through_kernel.py")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, int]]]:
    """What the script saw: by run, then counters and arrivals by name."""
    done = subprocess.run(
        ["unshare", "-n", sys.executable, str(SCRIPT)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=tmp_path_factory.mktemp("filter"),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, dict[str, dict[str, int]]] = json.loads(done.stdout)
    return result


DROPPED_ALWAYS = (
    Reason.FRAGMENTED,
    Reason.TRUNCATED,
    Reason.UNKNOWN_HARP_TYPE,
    Reason.BAD_SEQUENCE,
    Reason.BAD_HOP_LIMIT,
)


@pytest.mark.parametrize("reason", DROPPED_ALWAYS)
def test_what_is_never_good_is_dropped_and_counted(reason, seen) -> None:
    run = seen["each"]
    assert run["frames"][reason] == run["dropped"][reason] == 1
    assert reason not in run["arrived"]


@pytest.mark.parametrize(
    "name", [Reason.UNKNOWN_TYPE, Reason.BAD_PAYLOAD_PROTO, Reason.NOT_A_PEER, "harp"]
)
def test_what_harpd_must_see_passes_while_it_is_rare(name, seen) -> None:
    run = seen["each"]
    assert run["frames"][name] == 1
    assert run["dropped"][name] == 0
    assert run["arrived"][name] == 1


def test_both_bad_lengths_are_one_reason(seen) -> None:
    run = seen["each"]
    assert run["frames"][Reason.BAD_LENGTH] == 2
    assert run["arrived"]["too_short"] == run["arrived"]["too_long"] == 1


def test_transit_and_other_protocols_are_left_alone(seen) -> None:
    run = seen["each"]
    judged = sum(run["frames"].values()) - run["frames"]["original"]
    dropped = sum(run["dropped"].values())
    assert judged == sum(run["arrived"].values()) + dropped
    assert "transit" not in run["arrived"]


def test_the_original_of_a_binding_update_with_home_address_is_dropped(seen) -> None:
    run = seen["each"]
    assert run["frames"][Reason.MOBILITY] == 2
    assert run["arrived"]["mobility"] == 1
    assert run["frames"]["original"] == run["dropped"]["original"] == 1
    assert "home_address" not in run["arrived"]


def test_a_flood_passes_at_its_rate_and_harms_nobody_else(seen) -> None:
    run = seen["flood"]
    sent = run["sent"]
    for name in (Reason.BAD_LENGTH, Reason.NOT_A_PEER, Reason.UNKNOWN_TYPE):
        assert run["frames"][name] == sent["each"]
        passed = run["frames"][name] - run["dropped"][name]
        assert passed == run["arrived"][name] < sent["each"] // 2
    assert run["arrived"]["harp"] == sent["hellos"]
    assert run["dropped"]["harp"] == 0


def test_without_members_anybody_may_speak() -> None:
    rules = Filter(frozenset([bytes(16)]), frozenset(), 11, hop_limit=False)
    assert "@members" not in ruleset(rules)
    assert "hoplimit" not in ruleset(rules)
    assert "judge" in ruleset(rules)


def test_originals_alone(seen) -> None:
    run = seen["originals"]
    assert run["frames"] == run["dropped"] == {"original": 1}
    assert run["arrived"] == {"harp": 1}


def test_nothing_is_left(seen) -> None:
    assert seen["after"]["tables"] == {}
