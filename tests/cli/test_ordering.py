"""`harpctl switchover` waits for the end of what it began."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.daemon.control.living import Living, living

from harp.cli import ordering
from harp.cli.harpctl import harpctl
from harp.engine.effects import Level, Log, Role, StateChanged
from harp.engine.events import Command

STANDBY, CLAIMING, ACTIVE, RESIGNING = Role.STANDBY, Role.CLAIMING, Role.ACTIVE, Role.RESIGNING
Steps = tuple[tuple[Role, Role, str], ...]


def ordered(tmp_path: Path, steps: Steps, *arguments: str) -> Result:
    """The command's end, where the engine accepts and these changes of role follow."""

    async def body(here: Living) -> Result:
        async def accept(
            group: int, command: Command, to: bytes | None = None, force: bool = False
        ) -> tuple[str, ...]:
            here.events.log(Log(Level.INFO, "another group", 8))
            for old, new, reason in steps:
                here.events.role(StateChanged(group, old, new, reason))
            return ()

        here.runtime.command = accept  # type: ignore[method-assign]
        words = ["--socket", str(here.socket), *arguments]
        return await asyncio.to_thread(CliRunner().invoke, harpctl, words)

    async def whole() -> Result:
        async with asyncio.timeout(30), living(tmp_path / "control") as here:
            return await body(here)

    return asyncio.run(whole())


TAKEN: Steps = ((STANDBY, CLAIMING, "switchover"), (CLAIMING, ACTIVE, "switchover"))
GIVEN: Steps = ((ACTIVE, RESIGNING, "switchback"), (RESIGNING, STANDBY, "switchback"))
KEPT: Steps = ((ACTIVE, RESIGNING, "switchback"), (RESIGNING, ACTIVE, "refused"))
REFUSED: Steps = ((STANDBY, CLAIMING, "switchover"), (CLAIMING, STANDBY, "refused"))


def test_a_role_that_was_taken(tmp_path: Path) -> None:
    done = ordered(tmp_path, TAKEN, "switchover")
    assert (done.exit_code, done.stdout) == (0, "group 7: this member is ACTIVE now\n")
    assert "STANDBY → CLAIMING (switchover)" in done.stderr
    assert "another group" not in done.stderr


def test_a_role_that_was_given(tmp_path: Path) -> None:
    done = ordered(tmp_path, GIVEN, "switchback", "--to", "ha2")
    assert (done.exit_code, done.stdout) == (0, "group 7: this member is STANDBY now\n")


def test_for_programs(tmp_path: Path) -> None:
    done = ordered(tmp_path, TAKEN, "switchover", "--json")
    assert json.loads(done.stdout) == {
        **{"schema": 1, "group": 7, "command": "switchover", "done": True, "refusals": []},
        "role": "ACTIVE",
    }
    assert not done.stderr


@pytest.mark.parametrize("steps", [REFUSED, KEPT])
def test_a_switch_that_came_to_nothing(tmp_path: Path, steps: Steps) -> None:
    done = ordered(tmp_path, steps, "switchover")
    assert done.exit_code == 1 and not done.stdout
    assert done.stderr.endswith("group 7: not switched: refused; see `harpctl events`\n")


def test_nothing_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "SWITCH_PATIENCE_S", 0.05)
    done = ordered(tmp_path, (), "switchover")
    assert done.exit_code == 1
    assert done.stderr.endswith("group 7: nothing switched within 0.05 s; see `harpctl events`\n")


def test_checks_and_holds_do_not_wait(tmp_path: Path) -> None:
    done = ordered(tmp_path, (), "switchover", "--check")
    assert (done.exit_code, done.stdout) == (0, "group 7: nothing is against a switch\n")
