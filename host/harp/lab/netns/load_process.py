"""The load generator as a process of its own: a core's worth of work beside what is measured.

Commands come as JSON lines on stdin, answers go out on stdout.
"""

from __future__ import annotations

import json
import subprocess
import sys
from array import array
from pathlib import Path
from types import TracebackType
from typing import Any

from harp.cli.common import Failure
from harp.lab.netns.load import Load, report
from harp.lab.netns.threads import hurry
from harp.lab.netns.world import MN, World


class LoadProcess:
    """The laboratory's end."""

    def __init__(
        self, world: World, nodes: int, agent: bytes, *, lifetime_s: int = 3600, seed: int = 1
    ) -> None:
        self.nodes = nodes
        self._audit = world.namespaces.directory / "acknowledged"
        command = (
            sys.executable,
            "-m",
            __name__,
            str(nodes),
            agent.hex(),
            str(lifetime_s),
            str(seed),
        )
        self._process = subprocess.Popen(
            world.command(MN, *command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._ask({"do": "report"})

    def __enter__(self) -> LoadProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def start(self, rate: int, *, filling: bool = False) -> None:
        """`rate` Binding Updates a second from now on; 0 ends it."""
        self._ask({"do": "start", "rate": rate, "filling": filling})

    def stop(self) -> None:
        """Sends nothing more."""
        self.start(0)

    def report(self) -> dict[str, Any]:
        """Counts since the beginning; waits are those since the last report."""
        return self._ask({"do": "report"})

    def acknowledged(self) -> array[int]:
        """By node, the Sequence # acknowledged last; -1: none."""
        self._ask({"do": "audit", "path": str(self._audit)})
        found = array("l")
        found.frombytes(self._audit.read_bytes())
        return found

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            raise Failure(f"the load generator ended: exit {self._process.wait()}") from None
        return answer


def main() -> None:
    """The process's end: runs in the mobile nodes' namespace."""
    hurry()
    nodes, agent, lifetime_s, seed = sys.argv[1:]
    with Load(int(nodes), bytes.fromhex(agent), int(lifetime_s), int(seed)) as load:
        for line in sys.stdin:
            command = json.loads(line)
            answer: dict[str, Any] = {}
            if command["do"] == "start":
                load.start(command["rate"], filling=command["filling"])
            elif command["do"] == "audit":
                Path(command["path"]).write_bytes(load.acknowledged.tobytes())
            else:
                answer = report(load)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
