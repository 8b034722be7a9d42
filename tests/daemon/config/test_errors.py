"""Every kind of mistake: the whole line that a person reads."""

import pytest
from tests.daemon.config.kit import RIGHT, changed, problems

G = "group 1 (id 7)"
SIMULATED = '[offload]\ndevice = "sim:/run/board"\n'
WRONG = {
    "unknown table": (
        "[deamon]\n" + RIGHT,
        "deamon: unknown; did you mean daemon?",
    ),
    "unknown key": (
        changed("hello_interval_ms", "helo_interval_ms"),
        f"{G}, helo_interval_ms: unknown; did you mean hello_interval_ms?",
    ),
    "unknown key, nothing near": (
        changed("interface", 'interface = "e"\nqqq'),
        f"{G}, link 1 (e), qqq: unknown; there are interface, multicast, slots",
    ),
    "type": (
        changed("id = 7", 'id = "7"'),
        'group 1 (7), id: "7" wants a whole number from 0 on; for example id = 7',
    ),
    "boolean is no number": (
        changed("id = 7", "id = true"),
        "group 1 (id true), id: true wants a whole number from 0 on; for example id = 7",
    ),
    "range of the engine": (
        changed("id = 7", "id = 256"),
        "group 1 (id 256), id: 256: 0 to 255; for example id = 7",
    ),
    "range of a register": (
        "[offload]\npass_every = 256\n" + RIGHT,
        "offload, pass_every: 256 wants a whole number from 1 to 255; for example pass_every = 64",
    ),
    "choice": (
        changed("id = 7", 'id = 7\nmode = "hot"'),
        f'{G}, mode: "hot" wants one of "virtual", "hard"; for example mode = "virtual"',
    ),
    "address": (
        changed('["2001:db8:1::2"]', '["2001:db8:1::zz"]'),
        (
            f'{G}, member 2 (ha2), addresses: ["2001:db8:1::zz"] wants a list, each an IPv6'
            ' address; for example addresses = ["2001:db8:1::1"]'
        ),
    ),
    "prefix with host bits": (
        changed('"2001:db8:1::/64"', '"2001:db8:1::1/64"'),
        (
            f'{G}, home_prefixes: ["2001:db8:1::1/64"] wants a list, each an IPv6 prefix with its'
            ' length, host bits zero; for example home_prefixes = ["2001:db8:1::/64"]'
        ),
    ),
    "prefix without length": (
        changed('"2001:db8:1::/64"', '"2001:db8:1::"'),
        (
            f'{G}, home_prefixes: ["2001:db8:1::"] wants a list, each an IPv6 prefix with its'
            ' length, host bits zero; for example home_prefixes = ["2001:db8:1::/64"]'
        ),
    ),
    "duration below a µs": (
        changed("hello_interval_ms = 10", "hello_interval_ms = 0.0001"),
        (
            f"{G}, hello_interval_ms: 0.0001 wants a whole number of µs;"
            " for example hello_interval_ms = 1000"
        ),
    ),
    "duration is NaN": (
        changed("hello_interval_ms = 10", "hello_interval_ms = nan"),
        (
            f"{G}, hello_interval_ms: nan wants a number from 0 to 31622400000;"
            " for example hello_interval_ms = 1000"
        ),
    ),
    "duration beyond its limit": (
        "[offload]\nlease_ms = 201\n" + RIGHT,
        "offload, lease_ms: 201 wants at most 200 ms; for example lease_ms = 100",
    ),
    "a simulated board too slow for these HELLOs": (
        SIMULATED + "lease_ms = 200\n" + RIGHT,
        (
            f"{G}, hello_interval_ms: 10 ms x 3 is too fast for a simulated board: at least 50 ms x"
            " 3; for example hello_interval_ms = 50"
        ),
    ),
    "a simulated board too slow for this multiplier": (
        SIMULATED
        + "lease_ms = 200\n"
        + changed("hello_interval_ms = 10", "hello_interval_ms = 50\nmultiplier = 2"),
        (
            f"{G}, multiplier: 50 ms x 2 is too fast for a simulated board: at least 50 ms x 3;"
            " for example multiplier = 3"
        ),
    ),
    "a simulated board too slow for this lease": (
        SIMULATED + changed("hello_interval_ms = 10", "hello_interval_ms = 50"),
        "offload, lease_ms: a simulated board wants a lease of 200 ms; for example lease_ms = 200",
    ),
    "a simulated board somewhere": (
        '[offload]\ndevice = "sim:"\nlease_ms = 200\n'
        + changed("hello_interval_ms = 10", "hello_interval_ms = 50"),
        (
            "offload, device: wants the path of the simulated board's terminal;"
            ' for example device = "sim:/run/harp/board"'
        ),
    ),
    "duration in two units": (
        changed("hello_interval_ms = 10", "hello_interval_ms = 10\nhello_interval_s = 1"),
        f"{G}, hello_interval_s: is given twice: there is hello_interval_ms too",
    ),
    "duration that the engine refuses": (
        changed("[group.sync]", "[group.sync]\nresync_min_s = 0"),
        f"{G}, sync, resync_min_s: 0: above 0; for example resync_min_s = 60",
    ),
    "missing": (changed("id = 7\n", ""), "group 1, id: is missing; for example id = 7"),
    "array of tables that is none": (
        "group = 7",
        "group: is no array of tables; for example [[group]] above its settings",
    ),
    "no group": ("", "no group is configured; for example [[group]] with id, me, link and member"),
    "me": (
        changed('me = "ha1"', 'me = "ha3"'),
        f'{G}, me: "ha3": is no member; there are ha1, ha2; for example me = "ha1"',
    ),
    "names twice": (
        changed('name = "ha2"', 'name = "ha1"'),
        f'{G}, member 2 (ha1), name: "ha1": another member has this name; for example name = "ha1"',
    ),
    "addresses and links": (
        changed('["2001:db8:1::2"]', '["2001:db8:1::2", "2001:db8:2::2"]'),
        (
            f"{G}, member 2 (ha2), addresses: 2 for 1 links: one for each, in their order;"
            ' for example addresses = ["2001:db8:1::1"]'
        ),
    ),
    "address twice": (
        changed('["2001:db8:1::2"]', '["2001:db8:1::1"]'),
        (
            f"{G}, member 2 (ha2), addresses: 2001:db8:1::1 is ha1's already;"
            ' for example addresses = ["2001:db8:1::1"]'
        ),
    ),
    "virtual address is a member's": (
        changed('["2001:db8:1::2"]', '["2001:db8:1::100"]'),
        (
            f"{G}, member 2 (ha2), addresses: 2001:db8:1::100 is the group's virtual address;"
            ' for example addresses = ["2001:db8:1::1"]'
        ),
    ),
    "multicast address": (
        changed('["2001:db8:1::2"]', '["ff02::1"]'),
        (
            f"{G}, member 2 (ha2), addresses: ff02::1 is a multicast address;"
            ' for example addresses = ["2001:db8:1::1"]'
        ),
    ),
    "no virtual address": (
        changed('virtual_address = "2001:db8:1::100"\n', ""),
        (
            f"{G}, virtual_address: is missing: all members share it (harp.md §1);"
            ' for example virtual_address = "2001:db8:1::100"'
        ),
    ),
    "virtual address in hard mode": (
        changed("id = 7", 'id = 7\nmode = "hard"'),
        f'{G}, mode: a virtual address wants mode = "virtual"; for example mode = "virtual"',
    ),
    "unspecified virtual address": (
        changed('"2001:db8:1::100"', '"::"'),
        (
            f'{G}, virtual_address: "::": is an unspecified address;'
            ' for example virtual_address = "2001:db8:1::100"'
        ),
    ),
    "interface name": (
        changed('"eth0"', '"eth0/1"'),
        (
            f'{G}, link 1 (eth0/1), interface: "eth0/1": is no interface name;'
            ' for example interface = "eth0"'
        ),
    ),
    "all witnesses": (
        RIGHT.replace("addresses =", "witness = true\naddresses ="),
        f"{G}, member: all are witnesses: nobody can serve",
    ),
    "quorum": (
        changed("id = 7", "id = 7\nquorum = 1"),
        (
            f"{G}, quorum: 1: more than half of the 2 members and witnesses, at most all; 0 for"
            " none; for example quorum = 2"
        ),
    ),
    "psk without key": (
        changed('security = "none"\ninsecure = true', 'security = "psk"'),
        f'{G}, security: "psk" wants a key; for example [[group.key]] with spi = 256 and file = …',
    ),
    "none is not meant": (
        changed("insecure = true\n", ""),
        (
            f'{G}, security: "none" lets everybody on the link take over; who means it writes it'
            " down; for example insecure = true"
        ),
    ),
    "signing key": (
        changed("insecure = true", "insecure = true\nsigning_spi = 300"),
        (
            f"{G}, signing_spi: 300: no key has this SPI; there are none;"
            " for example signing_spi = 256"
        ),
    ),
    "discovery without protection of its own": (
        changed('security = "none"\ninsecure = true', 'security = "ipsec"\ndiscover = true'),
        (
            f'{G}, discover: true: false, unless security = "psk" with auth = "enforce", or "none";'
            " for example discover = false"
        ),
    ),
    "journal_sync without journal": (
        changed("[daemon]", "[daemon]\njournal = false").replace(
            "[group.sync]", "[group.sync]\njournal_sync = true"
        ),
        (
            f"{G}, sync, journal_sync: there is no journal: [daemon] says journal = false;"
            " for example journal_sync = false"
        ),
    ),
    "relative path": (
        '[control]\nsocket = "run/harp"\n' + RIGHT,
        (
            'control, socket: "run/harp": is not an absolute path;'
            ' for example socket = "/run/harp/control"'
        ),
    ),
    "metrics": (
        changed('metrics_listen = ""', 'metrics_listen = "::1:9342"'),
        (
            'daemon, metrics_listen: "::1:9342": wants an address and a port, an IPv6 address in'
            ' brackets; for example metrics_listen = "[::1]:9342"'
        ),
    ),
    "kernel's tables": (
        "[tables]\nroute_table = 250\n" + RIGHT,
        (
            "tables, route_table: 250: tables 253 to 255 are the kernel's, 512 numbers are used;"
            " for example route_table = 11400"
        ),
    ),
    "code point used twice": (
        "[code_points]\noption_aaa = 241\n" + RIGHT,
        (
            "code_points, option_aaa: 241: already used by option_binding_cache;"
            " for example option_aaa = 243"
        ),
    ),
    "VRRP instance of nobody": (
        RIGHT + '[[group.detection]]\nsource = "vrrp"\nlink = "eth0"\ninstance = "i"\npeer = "ha1"',
        (
            f'{G}, detection 1 (vrrp), peer: "ha1": is no other member; there are ha2;'
            ' for example peer = "ha2"'
        ),
    ),
    "BFD where no link is": (
        RIGHT + '[[group.detection]]\nsource = "bfd"\nlink = "eth1"',
        (
            f'{G}, detection 1 (bfd), link: "eth1": is no link of the group; there are eth0;'
            ' for example link = "eth0"'
        ),
    ),
    "a board without a name": (
        '[offload]\ndevice = ""\n' + RIGHT,
        (
            'offload, device: "" wants text in quotes, not empty;'
            ' for example device = "/dev/ttyUSB1"'
        ),
    ),
    "mobile nodes without keys": (
        changed("[group.home_agent]", "[group.home_agent]\nmn_auth = true"),
        (
            f"{G}, home_agent, mn_keys_file: mn_auth wants the keys of the mobile nodes;"
            ' for example mn_keys_file = "/etc/harp/mobile-nodes.keys"'
        ),
    ),
}


@pytest.mark.parametrize(("text", "line"), WRONG.values(), ids=WRONG)
def test_one_line_says_all(text: str, line: str) -> None:
    assert problems(text) == [line]


def test_all_problems_are_told_at_once() -> None:
    text = changed("id = 7", 'id = 7\nmode = "hot"').replace('\nme = "ha1"', '\nme = "x"')
    assert [line.split(":")[0] for line in problems(text)] == [f"{G}, mode", f"{G}, me"]


def test_groups_are_told_apart() -> None:
    second = RIGHT[RIGHT.index("[[group]]") :]
    found = problems(RIGHT + second)
    assert found == [
        "group 2 (id 7), id: 7: another group has this id; for example id = 7",
        (
            'group 2 (id 7), virtual_address: "2001:db8:1::100": another group has this address;'
            ' for example virtual_address = "2001:db8:1::100"'
        ),
    ]


def test_a_long_value_is_cut() -> None:
    (line,) = problems(changed('me = "ha1"', f'me = ["{"x" * 500}"]'))
    assert len(line) < 150 and "…" in line
