"""What a dead harpd left goes, and nothing of anybody else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.daemon.network import entered, ip, namespace

from harp.cli import daemon as command
from harp.cli.daemon import harpd
from harp.daemon.config.problem import BadConfig
from harp.daemon.dataplane.leftovers import Made, clean, note, noted
from harp.daemon.netlink.connection import Netlink
from harp.daemon.netlink.links import links

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


@pytest.mark.parametrize(
    ("made", "kind", "gone"),
    [(("tuntap", "add", "harp0", "mode", "tun"), "tun", True),
     (("link", "add", "harp0", "type", "veth", "peer", "name", "other"), "veth", False)],
)  # fmt: skip
def test_an_interface_of_another_kind_is_left_alone(
    made: tuple[str, ...], kind: str, gone: bool, tmp_path: Path
) -> None:
    """Whatever name the configuration has for the tunnel."""
    with namespace("left") as name, entered(name):
        ip("-n", name, *made)
        netlink = Netlink()
        assert links(netlink)["harp0"].kind == kind
        assert clean(netlink, Made(tmp_path, (), (), (), "harp0")) == ["device harp0"] * gone
        assert ("harp0" in links(netlink)) is not gone
        netlink.close()


def test_a_broken_file_keeps_nothing_from_being_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a harpd made it has written down."""
    monkeypatch.setattr(command, "RUN_DIR", tmp_path)
    file = tmp_path / "harpd.toml"
    file.write_text("[[group]")
    note(Made(tmp_path, (), (), (), "harp0"))
    with namespace("left") as name, entered(name):
        ip("-n", name, "tuntap", "add", "harp0", "mode", "tun")
        with pytest.raises(BadConfig, match="not TOML"):
            harpd.main(["--undo", "-c", str(file)], standalone_mode=False)
        netlink = Netlink()
        assert "harp0" not in links(netlink)
        netlink.close()
    assert capsys.readouterr().out == "device harp0\n"
    assert noted(tmp_path) is None
