"""`harp-lab traffic`: mobile nodes by the thousand, against any home agent within reach.

Ref: RFC 6275 §11.7
"""

from __future__ import annotations

import json
import time
from ipaddress import IPv6Address, IPv6Network
from typing import Any

import click
from rich.console import Console

from harp.cli.common import Failure, Ipv6
from harp.lab.netns.load import Load, Place, report
from harp.lab.netns.pause import pause
from harp.lab.schema import SCHEMA


class _Mac(click.ParamType[bytes]):
    """A link-layer address; the value is its 6 octets."""

    name = "mac"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        try:
            octets = bytes.fromhex(str(value).replace(":", ""))
        except ValueError:
            octets = b""
        if len(octets) != 6:
            self.fail(f"{value!r} is not an address such as 02:00:00:00:00:fe", param, ctx)
        return octets


class _Prefix(click.ParamType[IPv6Network]):
    name = "prefix"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> IPv6Network:
        try:
            return IPv6Network(value)
        except ValueError:
            self.fail(f"{value!r} is not a prefix such as 2001:db8:1::/64", param, ctx)


@click.command(
    "traffic",
    epilog="Example: harp-lab traffic --agent 2001:db8:1::1 --interface eth1 "
    "--router 02:00:00:00:00:fe --home 2001:db8:1::/64 --care-of 2001:db8:f00::/40 "
    "--nodes 10000 --rate 2000 --seconds 30 --json",
)
@click.option("--agent", type=Ipv6(), required=True, help="Home agent to register with.")
@click.option("--interface", required=True, help="Interface towards the router.")
@click.option("--router", type=_Mac(), required=True, help="Link-layer address of the next hop.")
@click.option(
    "--home",
    type=_Prefix(),
    required=True,
    help="Home prefix; home addresses are in its upper half.",
)
@click.option(
    "--care-of",
    type=_Prefix(),
    required=True,
    help="Care-of addresses; the router must route it here.",
)
@click.option("--nodes", type=click.IntRange(1, 100_000), default=1000, show_default=True)
@click.option(
    "--rate",
    type=click.IntRange(1, 100_000),
    default=1000,
    show_default=True,
    help="Binding Updates a second.",
)
@click.option("--seconds", type=click.FloatRange(0.1), default=10.0, show_default=True)
@click.option(
    "--lifetime",
    type=click.IntRange(4, 262_140),
    default=600,
    show_default=True,
    help="Lifetime asked for, seconds.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object as the last line.")
def traffic(
    agent: bytes,
    interface: str,
    router: bytes,
    home: IPv6Network,
    care_of: IPv6Network,
    nodes: int,
    rate: int,
    seconds: float,
    lifetime: int,
    seed: int,
    as_json: bool,
) -> None:
    """Register mobile nodes that do not exist and refresh their bindings, at a steady rate.

    For a network of one's own: the answers come back to INTERFACE, nothing is forwarded. Exit
    status: 0 every node was acknowledged, 1 not.
    """
    place = Place(interface, router, upper_half(home), int(care_of[0]) + 1)
    errors = Console(stderr=True)
    try:
        load = Load(nodes, agent, lifetime, seed, place)
    except PermissionError:
        raise Failure(f"{interface}: packet sockets need root") from None
    except OSError as error:
        raise Failure(f"{interface}: {error.strerror}") from None
    begin = time.monotonic()
    with load:
        load.start(rate, filling=False)
        while (passed := time.monotonic() - begin) < seconds:
            pause(min(1.0, seconds - passed))
            errors.out(
                f"{passed:6.1f} s  {load.updates} sent, {sum(load.answers.values())} answered"
            )
        load.start(0, filling=False)
        pause(1.0)
        asked: dict[str, Any] = {"agent": str(IPv6Address(agent)), "nodes": nodes}
        result = asked | {"seconds": seconds} | report(load)
    click.echo(json.dumps({"schema": SCHEMA} | result) if as_json else _words(result))
    if result["filled"] < min(nodes, load.updates):
        raise Failure(f"{nodes - result['filled']} of {nodes} mobile nodes have no acknowledgement")


def upper_half(prefix: IPv6Network) -> int:
    """Where home addresses begin: far from those of routers and hosts."""
    return int(prefix[0]) + prefix.num_addresses // 2


def _words(result: dict[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in result.items())
