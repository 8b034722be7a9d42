"""`harp-board registers` and `harp-board selftest`: what has to do with registers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from harp.cli.common import Failure
from harp.tables.link import BAUD, MAX_BAUD
from harp.tables.registers import BY_NAME
from harp_boards.as_json import print_json


@click.command(epilog="Example: harp-board registers --port /dev/ttyUSB1 guard")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--port", metavar="URL", help="Read them from this device.")
@click.option("--baud", type=click.IntRange(1, MAX_BAUD), default=BAUD, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def registers(names: tuple[str, ...], port: str | None, baud: int, as_json: bool) -> None:
    """The register map, or with --port what a board's registers hold."""
    from harp_boards.register_rows import rows

    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        raise click.UsageError(f"{unknown[0]!r} is no register; there are {', '.join(BY_NAME)}")
    chosen = [row for row in rows() if not names or row["name"] in names]
    values = _values(port, baud, [row["name"] for row in chosen]) if port else None
    if as_json:
        print_json({"values": values} if port else {"registers": chosen})
    elif values is None:
        Console().print(_map(chosen))
    else:
        Console().print(_held(values))


def _values(port: str, baud: int, names: list[str]) -> dict[str, list[dict[str, int]]]:
    """What a device's registers hold; elements that its build has not are left out."""
    from harp.offload.client import Client, DeviceFailed
    from harp.offload.port import PortFailed, open_port

    values: dict[str, list[dict[str, int]]] = {}
    try:
        with Client(open_port(port, baud), baud) as client:
            client.identify()
            for name in names:
                values[name] = []
                for index in range(BY_NAME[name].count):
                    try:
                        values[name].append(client.read(name, index))
                    except DeviceFailed as error:
                        if "refused" not in str(error):
                            raise
                        break
    except (DeviceFailed, PortFailed) as error:
        raise Failure(str(error)) from None
    return values


def _map(rows: list[dict[str, Any]]) -> Table:
    table = Table()
    for column in ("word", "register", "field", "bits", "access", "unit", "what it is"):
        table.add_column(column)
    for row in rows:
        for field in row["fields"]:
            count = f"[{row['count']}]" if row["count"] > 1 else ""
            word, low = divmod(field["at"], 32)
            table.add_row(
                f"{row['address'] + word:#06x}",
                f"{row['name']}{count}".replace("[", "\\["),
                field["name"],
                f"{low} +{field['width']}",
                field["access"],
                field["unit"],
                field["doc"],
            )
    return table


def _held(values: dict[str, list[dict[str, int]]]) -> Table:
    table = Table()
    for column in ("register", "field", "value"):
        table.add_column(column)
    for name, elements in values.items():
        for index, fields in enumerate(elements):
            label = name if BY_NAME[name].count == 1 else f"{name}\\[{index}]"
            for field, value in fields.items():
                table.add_row(label, field, f"{value} ({value:#x})" if value > 9 else str(value))
                label = ""
    return table


@click.command(epilog="Example: harp-board selftest versa_ecp5 --port /dev/ttyUSB1 --serial 0042")
@click.argument("board")
@click.option("--port", required=True, metavar="URL", help="Serial port of the board.")
@click.option("--baud", type=click.IntRange(1, MAX_BAUD), default=BAUD, show_default=True)
@click.option("--serial", "serial_number", default="", help="Serial number, for the sheet.")
@click.option("--cable", is_flag=True, help="A cable joins the two ports: frames are sent.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the register walk.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object as the last line.")
@click.pass_context
def selftest(
    context: click.Context,
    board: str,
    port: str,
    baud: int,
    serial_number: str,
    cable: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Check a BOARD by its serial port; "simulated" for one that is.

    A line a check, for a production line. Exit status 1 if one fails. The board must not be in use:
    its filter, slots and watchdog are off afterwards.
    """
    from harp.offload.client import Client
    from harp.offload.port import PortFailed, open_port
    from harp_boards.selftest import Outcome, Selftest

    number, phys = _known(board)
    results = []
    try:
        with Client(open_port(port, baud), baud) as client:
            for result in Selftest(client, number, seed, cable, phys).run():
                results.append(result)
                click.echo(f"{result.check:14} {result.outcome:8} {result.detail}", err=as_json)
    except PortFailed as error:
        raise Failure(str(error)) from None
    failed = [result.check for result in results if result.outcome is Outcome.FAIL]
    if as_json:
        verdict = "fail" if failed else "pass"
        sheet = {"board": board, "serial": serial_number, "verdict": verdict}
        print_json(sheet | {"checks": [asdict(result) for result in results]})
    else:
        number_text = f", serial number {serial_number}" if serial_number else ""
        click.echo(f"{board}{number_text}: {'FAIL' if failed else 'PASS'}")
    context.exit(1 if failed else 0)


def _known(board: str) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Its number, and the places of its PHYs."""
    if board == "simulated":
        return 0, ()
    from harp_boards.boards import BOARDS  # Amaranth: an extra

    if board not in BOARDS:
        raise click.UsageError(f"{board!r} is no board; there are {', '.join(BOARDS)}, simulated")
    return BOARDS[board].number, BOARDS[board].phys
