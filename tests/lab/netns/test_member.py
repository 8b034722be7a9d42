"""A home agent's daemon: how it is started."""

import os
from pathlib import Path

import pytest

from harp.cli.common import Failure
from harp.lab.netns import privilege
from harp.lab.netns.member import Member, Settings
from harp.lab.netns.world import World

pytestmark = [pytest.mark.xdist_group("netns"), pytest.mark.usefixtures("netns")]
ROOT = Path(__file__).parents[3]


class _Teller(Member):
    module = "tests.lab.netns.says_priority"


def test_from_its_first_instruction_on_before_ordinary_programs_and_behind_all_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not privilege.may_be_real_time():
        pytest.skip("no real-time priority here: run as root")
    monkeypatch.chdir(ROOT)
    with World() as world:
        teller = _Teller("ha1", world, Settings())
        teller.start()
        with pytest.raises(Failure, match=rf"ended: {os.SCHED_FIFO} 1 / 0$"):  # its child: ordinary
            teller.wait_ready()
