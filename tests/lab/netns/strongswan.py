"""strongSwan for a member of the laboratory: keys and states of ESP are those IKE agrees upon.

Ref: strongswan.conf(5), swanctl(8), swanctl.conf(5); RFC 7296 (IKEv2); harp.md §7
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import TracebackType

from harp.cli.common import Failure
from harp.lab.netns.pause import pause
from harp.lab.netns.world import World

PROGRAM = Path("/usr/sbin/charon-systemd")
START_S = 120.0
"""On an emulated processor."""
_SETTINGS = """
charon-systemd {{
  filelog {{
    log {{ path = {directory}/charon.log
      default = 1
      flush_line = yes
    }}
  }}
  plugins {{
    include /etc/strongswan.d/charon/*.conf
    vici {{ socket = unix://{directory}/vici
    }}
  }}
}}
"""
_SECRETS = "secrets { ike-harp { secret = 0x%s } }\n" % ("5a" * 32)


class Charon:
    """The IKE daemon in a member's namespace; a context manager."""

    def __init__(self, world: World, name: str, directory: Path) -> None:
        self._world = world
        self._name = name
        self._directory = directory

    def __enter__(self) -> Charon:
        settings = self._directory / "strongswan.conf"
        settings.write_text(_SETTINGS.format(directory=self._directory), "utf-8")
        command = ("env", f"STRONGSWAN_CONF={settings}", str(PROGRAM))
        self._process = subprocess.Popen(
            self._world.command(self._name, *command),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(int(START_S / 0.2)):
            if (self._directory / "vici").exists():
                return self
            pause(0.2)
        raise Failure(f"strongSwan of {self._name} does not start: {self.said()[-3:]}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()

    def load(self, text: str) -> None:
        """What `harpctl ipsec-config` printed, with a shared secret as its head explains."""
        file = self._directory / "harp.conf"
        file.write_text(text.replace("auth = pubkey", "auth = psk") + _SECRETS, "utf-8")
        said = self._swanctl("--load-all", "--noprompt", "--file", str(file))
        if "loaded ike secret 'ike-harp'" not in said:
            raise Failure(f"swanctl: {said}")

    def associations(self) -> int:
        """Pairs of Security Associations for ESP in transport mode that IKE has installed."""
        return self._swanctl("--list-sas").count("INSTALLED, TRANSPORT")

    def said(self) -> list[str]:
        """Lines of its log."""
        return (self._directory / "charon.log").read_text("utf-8", "replace").splitlines()

    def _swanctl(self, command: str, *arguments: str) -> str:
        done = self._world.run(
            self._name, "swanctl", command, *arguments, "--uri", f"unix://{self._directory}/vici"
        )
        if done.returncode:
            raise Failure(f"swanctl {command}: {done.stderr or done.stdout}")
        return done.stdout
