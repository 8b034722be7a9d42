"""Keys from files or systemd credentials: what is wrong is told, the key never.

Ref: harp.md §7; systemd.exec(5) (credentials)
"""

from __future__ import annotations

import os
import re
import stat
from ipaddress import IPv6Address
from pathlib import Path

from harp.daemon.config.files import read_at_most
from harp.engine.config import Key
from harp.tables.options import MIN_KEY_OCTETS, MIN_SPI

CREDENTIALS_DIRECTORY = "CREDENTIALS_DIRECTORY"
"""Environment variable in which systemd says where the credentials of a unit are."""
MAX_OCTETS = 64 * 1024 * 1024
"""Longest key file: a million mobile nodes."""

_HEX = re.compile("[0-9a-fA-F]+")


class BadKey(Exception):
    """A key that cannot be used; the text names its source, not its content."""


class KeyStore:
    """Where keys come from."""

    def __init__(self, credentials: Path | None) -> None:
        """`credentials`: the directory of the unit's credentials; None: there are none."""
        self._credentials = credentials

    @classmethod
    def of_process(cls) -> KeyStore:
        """Credentials as systemd gave them to this process."""
        directory = os.environ.get(CREDENTIALS_DIRECTORY)
        return cls(Path(directory) if directory else None)

    def key(self, spi: int, file: str, credential: str) -> Key:
        """The one key of a file or credential. Raises `BadKey`."""
        if not MIN_SPI <= spi < 1 << 32:
            raise BadKey(f"SPI {spi} is not in {MIN_SPI} to 4294967295")
        path = self._find(file, credential)
        return Key(spi, _octets("".join(_read(path).split()), str(path)))

    def mobile_keys(self, file: str, credential: str) -> tuple[tuple[bytes, Key], ...]:
        """The keys of mobile nodes, a line each. Raises `BadKey`."""
        path = self._find(file, credential)
        found: dict[bytes, Key] = {}
        for number, line in enumerate(_read(path).splitlines(), 1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            home, key = _mobile_key(words, f"{path} line {number}")
            if home in found:
                raise BadKey(f"{path} line {number}: a second key of {IPv6Address(home)}")
            found[home] = key
        return tuple(found.items())

    def _find(self, file: str, credential: str) -> Path:
        if bool(file) == bool(credential):
            raise BadKey("wants either a file or a credential")
        if len(file or credential) >= 2 * MIN_KEY_OCTETS and _HEX.fullmatch(file or credential):
            raise BadKey("is a key itself: put it into a file and name that")
        if file:
            return Path(file)
        if "/" in credential or credential in (".", ".."):
            raise BadKey("a credential is a name, not a path")
        if self._credentials is None:
            raise BadKey(
                f"systemd passed no credentials: {CREDENTIALS_DIRECTORY} is not set;"
                " put LoadCredential= into the unit, or use a file"
            )
        return self._credentials / credential


def _mobile_key(words: list[str], where: str) -> tuple[bytes, Key]:
    try:
        address, number, digits = words
        home, spi = IPv6Address(address), int(number, 0)
    except ValueError:
        raise BadKey(f"{where}: wants HOME-ADDRESS SPI KEY") from None
    if not MIN_SPI <= spi < 1 << 32:
        raise BadKey(f"{where}: SPI {spi} is not in {MIN_SPI} to 4294967295")
    return home.packed, Key(spi, _octets(digits, where))


def _octets(digits: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(digits)
    except ValueError:
        raise BadKey(f"{where}: the key is not hexadecimal, two digits an octet") from None
    if len(key) < MIN_KEY_OCTETS:
        raise BadKey(f"{where}: the key has {len(key)} octets, at least {MIN_KEY_OCTETS} wanted")
    return key


def _read(path: Path) -> str:
    """The text of a key file that nobody else can read."""
    try:
        # Opened once and judged by the descriptor: no other file can take its place in between.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no path"
        raise BadKey(f"cannot read {path}: {reason}") from None
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise BadKey(f"{path} is no file")
        if state.st_mode & stat.S_IRWXO:
            raise BadKey(f"everybody may read or change {path}: run chmod o= {path}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return read_at_most(file, MAX_OCTETS).decode("ascii")
    except (OSError, UnicodeDecodeError):
        raise BadKey(f"{path}: no text") from None
    finally:
        os.close(descriptor)
