"""What all commands share: exits, one-line errors, settings from a file.

Exit status: 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import dataclasses
import io
import sys
import tomllib
from ipaddress import AddressValueError, IPv6Address
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec

from harp.tables.codepoints import CodePoints


class Failure(click.ClickException):
    """Something that was asked for could not be done: one line, exit 1."""

    exit_code = 1


def run(command: click.Command) -> NoReturn:
    """Runs a command as a program: whatever goes wrong is one line on stderr, never a traceback."""
    name = command.name or "harp"
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that has no "→" gets its escape.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        # Not standalone, click hands back the status of `Context.exit`.
        status = command.main(prog_name=name, standalone_mode=False)
    except click.Abort:
        _exit(name, "interrupted", 1)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        raise SystemExit(2) from None
    except click.UsageError as error:
        # click's own message spans lines with the usage; the hint is enough.
        _exit(name, f"{error.format_message()} (see `{_path(error, name)} --help`)", 2)
    except click.ClickException as error:
        _exit(name, error.format_message(), error.exit_code)
    except BrokenPipeError:
        raise SystemExit(1) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _exit(name, f"{where}{error.strerror or error}", 1)
    raise SystemExit(status if isinstance(status, int) else 0)


def _path(error: click.UsageError, name: str) -> str:
    return error.ctx.command_path if error.ctx else name


def _exit(name: str, message: str, status: int) -> NoReturn:
    click.echo(f"{name}: {' '.join(message.split())}", err=True)
    raise SystemExit(status)


class Ipv6(click.ParamType[bytes]):
    """An IPv6 address; the value is its 16 octets."""

    name = "address"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        if isinstance(value, bytes):
            return value
        try:
            return IPv6Address(value).packed
        except AddressValueError:
            self.fail(f"{value!r} is not an IPv6 address such as 2001:db8::1", param, ctx)


def read_code_points(path: Path) -> CodePoints:
    """Code points from the table `[code_points]` of a TOML file; `Failure` names what is wrong."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failure(f"{path}: not TOML: {error}") from None
    table = document.get("code_points", {})
    if not isinstance(table, dict):
        raise Failure(f"{path}: code_points: not a table; write [code_points] above its settings")
    known = [field.name for field in dataclasses.fields(CodePoints)]
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise Failure(
            f"{path}: [code_points] {unknown[0]}: no such code point; there are {', '.join(known)}"
        )
    try:
        return msgspec.convert(table, CodePoints, dec_hook=_from_toml)
    except (msgspec.ValidationError, ValueError) as error:
        raise Failure(f"{path}: [code_points] {error}") from None


def _from_toml(kind: type, value: object) -> object:
    return kind(value)
