"""`harpctl ipsec-config`: a strongSwan configuration for the groups under IPsec."""

from __future__ import annotations

from pathlib import Path

import click

from harp.cli.asking import json_option, print_json, wants_json
from harp.cli.common import Failure
from harp.daemon.config.load import load
from harp.daemon.config.option import config_option
from harp.daemon.protection.swanctl import configuration
from harp.engine.config import Security


@click.command(
    name="ipsec-config", epilog="Example: harpctl ipsec-config > /etc/swanctl/conf.d/harp.conf"
)
@config_option("Configuration file of harpd; the daemon need not run.")
@json_option
@click.pass_context
def ipsec_config(context: click.Context, config: Path, as_json: bool) -> None:
    """Print swanctl.conf for the members of the groups with security = "ipsec"."""
    groups = load(config).engine.groups
    if not any(group.protection.security is Security.IPSEC for group in groups):
        raise Failure(f'{config}: no group has security = "ipsec"')
    text = configuration(groups)
    if wants_json(context, as_json):
        print_json({"swanctl": text})
    else:
        click.echo(text, nl=False)
