"""What members are called, for people."""

from __future__ import annotations

from ipaddress import IPv6Address

from harp.engine.config import EngineConfig


class MemberNames:
    """Names of configured members, by group and identity."""

    def __init__(self, config: EngineConfig) -> None:
        self._names = {
            (group.group, member.identity): member.name
            for group in config.groups
            for member in group.members
        }

    def of(self, group: int, identity: bytes) -> str:
        """A member's name; its address, if it was discovered."""
        return self._names.get((group, identity)) or str(IPv6Address(identity))
