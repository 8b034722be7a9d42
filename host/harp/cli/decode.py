"""`harpctl decode`: Mobility Headers from hexadecimal or a capture, for people and programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import click

from harp.cli.asking import as_line
from harp.cli.capture import BadCapture, read_capture
from harp.cli.common import Failure, Ipv6, read_code_points
from harp.tables.codepoints import DEFAULT_CODE_POINTS
from harp.tables.harp_types import HARP_TYPES
from harp.tables.layouts import HARP_FIELDS
from harp.tables.options import MIN_KEY_OCTETS, MIN_SPI
from harp.tables.reasons import Reason
from harp.wire import messages as msg
from harp.wire.auth import verify_ha_ha
from harp.wire.codec import Codec
from harp.wire.describe import address, describe
from harp.wire.packet import MobilityPacket

Keys: TypeAlias = Mapping[int, bytes]
"""SPI → key."""
Record: TypeAlias = dict[str, Any]


class SpiKey(click.ParamType[tuple[int, bytes]]):
    """`SPI:HEX`; the value is (SPI, key)."""

    name = "spi:hex"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, bytes]:
        if isinstance(value, tuple):
            return value
        spi, _, key = str(value).partition(":")
        try:
            parsed = int(spi, 0), bytes.fromhex(key)
        except ValueError:
            # The key itself stays out of messages.
            self.fail("not SPI:HEX, such as 256:000102030405060708090a0b0c0d0e0f", param, ctx)
        if not MIN_SPI <= parsed[0] < 1 << 32 or len(parsed[1]) < MIN_KEY_OCTETS:
            self.fail(
                f"the SPI is at least {MIN_SPI}, the key at least {MIN_KEY_OCTETS} octets",
                param,
                ctx,
            )
        return parsed


@click.command(
    epilog="Example: harpctl decode --src 2001:db8:1::a --dst ff02::114 "
    "3b020b00851e0007000100a800c8000303e8000001020000"
)
@click.argument("octets", metavar="HEX…", nargs=-1)
@click.option("--src", "source", type=Ipv6(), help="IPv6 source, for the checksum.")
@click.option("--dst", "destination", type=Ipv6(), help="IPv6 destination, for the checksum.")
@click.option(
    "--pcap",
    type=click.Path(readable=False, path_type=Path),
    help="Capture to read instead of HEX; - is standard input.",
)
@click.option("--key", "keys", type=SpiKey(), multiple=True, help="Judge HARP messages with it.")
@click.option(
    "--config",
    type=click.Path(readable=False, path_type=Path),
    help="TOML with [code_points].",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a message and line.")
@click.pass_context
def decode(
    context: click.Context,
    octets: tuple[str, ...],
    source: bytes | None,
    destination: bytes | None,
    pcap: Path | None,
    keys: tuple[tuple[int, bytes], ...],
    config: Path | None,
    as_json: bool,
) -> None:
    """Decode Mobility Headers: HEX is an IPv6 payload from the header's first octet on.

    Exit status 1 if one of them is not valid. Freshness (replay, clock) is not judged.
    """
    as_json = as_json or bool(context.obj)
    if bool(octets) == bool(pcap):
        raise click.UsageError("give either HEX or --pcap FILE", context)
    codec = Codec(read_code_points(config) if config else DEFAULT_CODE_POINTS)
    if pcap:
        records = _from_capture(codec, pcap, dict(keys))
    else:
        if source is None or destination is None:
            raise click.UsageError("HEX needs --src and --dst: the checksum covers them", context)
        payloads = [_octets(text, context) for text in octets]
        records = (judge(codec, source, destination, one, dict(keys)) for one in payloads)
    count = invalid = 0
    for record in records:
        count += 1
        invalid += not record["valid"]
        click.echo(as_line(record) if as_json else _for_people(record))
    if pcap and not count and not as_json:
        click.echo("no Mobility Header in this capture", err=True)
    if invalid:
        context.exit(1)


def _octets(text: str, context: click.Context) -> bytes:
    try:
        return bytes.fromhex(text.replace(":", ""))
    except ValueError:
        shown = text if len(text) <= 40 else text[:40] + "…"
        problem = "an odd number of digits" if _is_hex(text) else "not hexadecimal"
        raise click.UsageError(f"{shown!r}: {problem}; two digits an octet", context) from None


def _is_hex(text: str) -> bool:
    return all(digit in "0123456789abcdefABCDEF: " for digit in text)


def _from_capture(codec: Codec, path: Path, keys: Keys) -> Iterator[Record]:
    try:
        for captured in read_capture(path):
            where: Record = {"frame": captured.frame, "time_s": captured.time_s}
            found = captured.found
            if isinstance(found, MobilityPacket):
                where |= {"src": address(found.ip_source), "dst": address(found.ip_destination)}
                found_record = judge(codec, found.source, found.destination, found.payload, keys)
            else:
                found_record = describe(found)
            yield where | found_record
    except BadCapture as error:
        raise Failure(f"{path}: {error}") from None


def judge(codec: Codec, source: bytes, destination: bytes, payload: bytes, keys: Keys) -> Record:
    """One message described; with keys, a HARP message must be authenticated by one of them."""
    message = codec.parse(source, destination, payload)
    record = describe(message)
    if not keys or not isinstance(message, msg.Harp):
        return record
    mh = payload[: 8 * (payload[1] + 1)]
    fault = _auth_fault(codec, message, source, destination, mh, keys)
    return (
        describe(msg.Malformed(Reason.AUTH, fault)) if fault else record | {"authenticated": True}
    )


def _auth_fault(
    codec: Codec, message: msg.Harp, source: bytes, destination: bytes, mh: bytes, keys: Keys
) -> str:
    last = message.options[-1] if message.options else None
    if not isinstance(last, msg.Authentication) or last.subtype != codec.code_points.auth_subtype:
        return "no authentication option"
    if last.spi not in keys:
        return f"no key for SPI {last.spi}"
    if not verify_ha_ha(source, destination, mh, keys[last.spi]):
        return f"the authentication of SPI {last.spi} does not verify"
    return ""


def _for_people(record: Record) -> str:
    """One message: a line with where it was, what it is and its fields, then a line an option."""
    place = f"frame {record['frame']:<4}" if "frame" in record else ""
    if "src" in record:
        place += f"{record['src']} → {record['dst']}  "
    if not record["valid"]:
        return f"{place}not valid: {record['reason']} ({record['detail']})"
    words = [record["type"]]
    lines = []
    for name, value in record.items():
        if name in _SHOWN_ALREADY or _is_void(name, record["type"]):
            continue
        if name in ("options", "other_options", "bindings"):
            lines += [f"    {_item(item)}" for item in value]
        else:
            words.append(_field(name, value))
    return "\n".join([place + "  ".join(words), *lines])


_HARP_SOMETIMES = {field.name: field.types for field in HARP_FIELDS if field.types}
"""Attribute → HARP Types in which it means something; elsewhere it is 0 and ignored."""
_HARP_TYPES = {row.name: row.type for row in HARP_TYPES}
_SHOWN_ALREADY = ("frame", "time_s", "src", "dst", "valid", "type")


def _is_void(name: str, message: str) -> bool:
    """Whether a field means nothing in this HARP message."""
    attribute = "lifetime_s" if name == "lifetime" else name
    types = _HARP_SOMETIMES.get(attribute)
    return message in _HARP_TYPES and types is not None and _HARP_TYPES[message] not in types


def _item(item: Record) -> str:
    words = [_field(name, value) for name, value in item.items() if name != "other_options"]
    return "  ".join([*words, *map(_item, item.get("other_options", ()))])


def _field(name: str, value: object) -> str:
    """A field with its unit behind it."""
    if isinstance(value, list):
        separator = "" if name == "flags" else " "
        return f"{name} {separator.join(map(str, value)) or '-'}"
    if name == "flags":
        return f"flags 0x{value:04x}"
    if name == "lifetime":
        name = "lifetime_s"
    label, _, unit = name.rpartition("_")
    return f"{label} {value} {unit}" if unit in ("s", "ms") else f"{name} {value}"
