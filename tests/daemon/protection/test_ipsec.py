"""The check of IPsec policies: by hand, against the kernel, and with strongSwan's own policies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path

import pytest

from harp.daemon.protection.ipsec import unprotected
from harp.daemon.protection.policies import ESP, InboundPolicy, Template
from harp.daemon.protection.swanctl import configuration
from harp.engine.config import GroupConfig, LinkConfig, MemberConfig, Protection, Security
from harp.tables.codepoints import DEFAULT_CODE_POINTS
from harp.tables.mh import NEXT_HEADER

HA1, HA2 = IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2")
REQUIRED = Template(protocol=ESP, transport=True, optional=False)
CHARON = "/usr/sbin/charon-systemd"


def group(security: Security = Security.IPSEC) -> GroupConfig:
    return GroupConfig(
        group=7,
        links=(LinkConfig("home"),),
        members=(MemberConfig("ha1", (HA1.packed,)), MemberConfig("ha2", (HA2.packed,))),
        self_index=0,
        virtual_address=IPv6Address("2001:db8::f").packed,
        protection=Protection(security=security, insecure=security is Security.NONE),
    )


def policy(
    *,
    source: str = f"{HA2}/128",
    protocol: int = NEXT_HEADER,
    mh_type: int | None = None,
    allow: bool = True,
    templates: tuple[Template, ...] = (REQUIRED,),
) -> InboundPolicy:
    return InboundPolicy(
        source=IPv6Network(source),
        destination=IPv6Network(f"{HA1}/128"),
        protocol=protocol,
        priority=1,
        index=8,
        mh_type=mh_type,
        allow=allow,
        templates=templates,
    )


HARP = DEFAULT_CODE_POINTS.mh_type_harp
PLAIN = policy(templates=())


@pytest.mark.parametrize(
    ("policies", "why"),
    [
        ([], "no inbound policy"),
        ([policy()], None),
        ([policy(source="::/0", protocol=0)], None),
        ([policy(source="2001:db8::3/128")], "no inbound policy"),
        ([policy(protocol=58)], "no inbound policy"),
        ([PLAIN], "the inbound policy does not require ESP"),
        ([PLAIN, policy()], "the inbound policy does not require ESP"),
        ([policy(), PLAIN], None),
        ([policy(mh_type=HARP)], None),
        ([policy(mh_type=5), policy()], None),
        ([policy(mh_type=5)], "no inbound policy"),
        (
            [policy(mh_type=HARP, templates=()), policy()],
            "the inbound policy does not require ESP",
        ),
        ([policy(allow=False)], "the inbound policy does not require ESP"),
        (
            [policy(templates=(Template(ESP, transport=False, optional=False),))],
            "the inbound policy does not require ESP",
        ),
        (
            [policy(templates=(Template(ESP, transport=True, optional=True),))],
            "the inbound policy does not require ESP",
        ),
        (
            [policy(templates=(Template(51, transport=True, optional=False),))],
            "the inbound policy does not require ESP",
        ),
    ],
)
def test_the_first_policy_that_fits_decides(policies: list[InboundPolicy], why: str | None) -> None:
    found = list(unprotected([group()], policies))
    assert [each.why for each in found] == ([why] if why else [])
    for each in found:
        assert str(each) == f"group 7: {why} for protocol 135 from {HA2} (ha2) to {HA1}"


def test_groups_with_other_protection_need_no_policy() -> None:
    assert not list(unprotected([group(Security.NONE)], []))
    assert "local_ts" not in configuration([group(Security.NONE)])


ASK = """
import sys
from harp.daemon.protection.ipsec import unprotected
from harp.daemon.protection.policies import inbound_policies
from tests_group import group
for each in unprotected([group()], inbound_policies()):
    print(each)
"""


def ask_in_namespace(before: str, tmp_path: Path) -> list[str]:
    """What the check says in a network namespace of its own after some commands."""
    shutil.copy(__file__, tmp_path / "tests_group.py")
    (tmp_path / "ask.py").write_text(ASK)
    done = subprocess.run(
        ["unshare", "-n", "-m", "sh", "-ec", f'{before}\nexec "$0" "$1"', sys.executable, "ask.py"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(tmp_path)]),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: security policies of the kernel")
TEMPLATE = "tmpl proto esp mode transport level"


@ROOT
@pytest.mark.parametrize(
    ("commands", "faults"),
    [
        ("", 1),
        (f"ip xfrm policy add src {HA2} dst {HA1} proto 135 dir in {TEMPLATE} required", 0),
        (f"ip xfrm policy add src {HA2} dst {HA1} proto 135 dir out {TEMPLATE} required", 1),
        (f"ip xfrm policy add src {HA2} dst {HA1} proto 135 dir in {TEMPLATE} use", 1),
        (
            (
                f"ip xfrm policy add src {HA2} dst {HA1} proto 135 dir in priority 9 "
                f"{TEMPLATE} required\n"
                f"ip xfrm policy add src {HA2} dst {HA1} proto 135 type {HARP} dir in priority 8"
            ),
            1,
        ),
        (
            (
                f"ip xfrm policy add src {HA2} dst {HA1} proto 135 dir in priority 9 "
                f"{TEMPLATE} required\n"
                f"ip xfrm policy add src {HA2} dst {HA1} proto 135 type 5 dir in priority 8"
            ),
            0,
        ),
        (
            (
                f"ip xfrm policy add src {HA2} dst {HA1} proto 135 dir in priority 9 "
                f"{TEMPLATE} required\nip xfrm policy add src ::/0 dst ::/0 dir in priority 8"
            ),
            1,
        ),
        (
            (
                f"ip xfrm policy add src {HA2} dst {HA1} proto 135 dir in priority 9 "
                f"{TEMPLATE} required\n"
                "ip xfrm policy add src 2001:db8:7::9/48 dst 2001:db8:8::9/48 dir in priority 8"
            ),
            0,  # with bits behind its prefix, as the kernel takes it
        ),
    ],
)
def test_the_kernels_policies_are_read(commands: str, faults: int, tmp_path: Path) -> None:
    assert len(ask_in_namespace(commands, tmp_path)) == faults


@ROOT
@pytest.mark.skipif(
    not (Path(CHARON).exists() and shutil.which("swanctl")),
    reason="needs strongSwan: charon-systemd, strongswan-swanctl",
)
def test_strongswan_loads_the_configuration_and_the_check_is_content(tmp_path: Path) -> None:
    (tmp_path / "harp.conf").write_text(configuration([group()]))
    # charon's socket and pid file stand in /run, which this mount namespace has for itself.
    faults = ask_in_namespace(
        f"""
        mount -t tmpfs none /run
        ip link set lo up
        ip address add {HA1}/64 dev lo nodad
        {CHARON} > charon.log 2>&1 &
        trap 'kill $!' EXIT
        for _ in $(seq 100); do [ -S /run/charon.vici ] && break; sleep 0.1; done
        swanctl --load-conns --file harp.conf > swanctl.log
        grep -q "loaded connection 'harp-7-ha2-0'" swanctl.log
        grep -q "successfully loaded 1 connections, 0 unloaded" swanctl.log
        """.replace("exec", ""),
        tmp_path,
    )
    assert faults == []
