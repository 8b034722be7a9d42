"""Keys from files and credentials; no message, value or repr shows one."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.daemon.config.kit import RIGHT

from harp.daemon.config.keys import KeyStore
from harp.daemon.config.load import examine, load
from harp.daemon.config.problem import BadConfig

SECRET = "00112233445566778899aabbccddeeff"
OTHER = "ffeeddccbbaa99887766554433221100"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "group7.key"
    path.write_text(SECRET + "\n")
    path.chmod(0o640)
    return path


def config(tmp_path: Path, *keys: str) -> Path:
    path = tmp_path / "harp.toml"
    blocks = "".join(f"[[group.key]]\n{each}\n" for each in keys)
    path.write_text(
        RIGHT.replace('security = "none"\ninsecure = true', 'security = "psk"') + blocks
    )
    return path


def test_from_a_file(tmp_path: Path, key: Path) -> None:
    path = config(tmp_path, f'spi = 256\nfile = "{key}"')
    found = load(path)
    (only,) = found.engine.groups[0].protection.keys
    assert only.key == bytes.fromhex(SECRET)
    assert found.group(7).key_sources == ((256, str(key)),)
    assert SECRET not in repr(found) and repr(only.key) not in repr(found)


def test_from_a_credential(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = config(tmp_path, 'spi = 256\ncredential = "group7.key"')
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(key.parent))
    assert load(path).engine.groups[0].protection.keys[0].key == bytes.fromhex(SECRET)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert load(path, key.parent).engine.groups[0].protection.keys
    with pytest.raises(BadConfig, match="CREDENTIALS_DIRECTORY is not set; put LoadCredential="):
        load(path)


def test_white_space_is_no_part_of_it(tmp_path: Path, key: Path) -> None:
    key.write_text("0011 2233 4455 6677\n8899 aabb ccdd eeff\n\n")
    path = config(tmp_path, f'spi = 256\nfile = "{key}"')
    assert load(path).engine.groups[0].protection.keys[0].key == bytes.fromhex(SECRET)


def chmod(mode: int) -> Callable[[Path], object]:
    return lambda path: path.chmod(mode)


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "cannot read {}: No such file or directory"),
    "everybody reads": (chmod(0o644), "everybody may read or change {}: run chmod o= {}"),
    "everybody writes": (chmod(0o602), "everybody may read or change {}: run chmod o= {}"),
    "short": (lambda p: p.write_text(SECRET[:-2]), "{}: the key has 15 octets, at least 16 wanted"),
    "no key": (
        lambda p: p.write_text("correct horse battery staple"),
        "{}: the key is not hexadecimal, two digits an octet",
    ),
    "binary": (lambda p: p.write_bytes(b"\xff" * 40), "{}: no text"),
    "a directory": (lambda p: (p.unlink(), p.mkdir()), "{} is no file"),
}


@pytest.mark.parametrize(("harm", "line"), WRONG.values(), ids=WRONG)
def test_wrong_files(tmp_path: Path, key: Path, harm: Callable[[Path], object], line: str) -> None:
    harm(key)
    found = examine(config(tmp_path, f'spi = 256\nfile = "{key}"'))
    (problem,) = found.problems
    assert str(problem) == (
        f"group 1 (id 7), key 1 (spi 256), file: {line.format(key, key)};"
        ' for example file = "/etc/harp/group7.key"'
    )
    assert SECRET[:-2] not in str(problem) and "horse" not in str(problem)


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ("spi = 256", "wants either a file or a credential"),
        ('spi = 256\nfile = "a"\ncredential = "b"', "wants either a file or a credential"),
        ('spi = 256\ncredential = "../b"', "a credential is a name, not a path"),
        ('spi = 255\nfile = "a"', "SPI 255 is not in 256 to 4294967295"),
    ],
)
def test_wrong_tables(tmp_path: Path, lines: str, what: str) -> None:
    (problem,) = examine(config(tmp_path, lines)).problems
    assert problem.what == what


def test_a_key_written_into_the_file_is_not_repeated(tmp_path: Path) -> None:
    found = examine(config(tmp_path, f'spi = 256\nkey = "{SECRET}"'))
    assert not any(SECRET in str(each) for each in found.problems)
    assert any(each.key == "key" and "unknown" in each.what for each in found.problems)


@pytest.mark.parametrize("name", ["file", "credential"])
def test_a_key_in_place_of_its_file_is_not_repeated(tmp_path: Path, name: str) -> None:
    (problem,) = examine(config(tmp_path, f'spi = 256\n{name} = "{SECRET}"')).problems
    assert problem.what == "is a key itself: put it into a file and name that"
    assert SECRET not in str(problem)


def test_the_same_spi_twice(tmp_path: Path, key: Path) -> None:
    lines = f'spi = 256\nfile = "{key}"'
    (problem,) = examine(config(tmp_path, lines, lines)).problems
    assert problem.place.endswith("key 2 (spi 256)")
    assert problem.what == "256: another key has this SPI"


def test_keys_of_mobile_nodes(tmp_path: Path, key: Path) -> None:
    key.write_text(
        f"# home address, SPI, key\n2001:db8:1::1000 256 {SECRET}\n\n"
        f"2001:db8:1::1001 0x101 {OTHER}  # the second\n"
    )
    one, two = KeyStore(None).mobile_keys(str(key), "")
    assert (one[1].spi, two[1].spi) == (256, 257)
    assert two[1].key == bytes.fromhex(OTHER)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("2001:db8:1::1000 256", "line 1: wants HOME-ADDRESS SPI KEY"),
        (f"2001:db8:1::1000 3 {SECRET}", "line 1: SPI 3 is not in 256 to 4294967295"),
        ("2001:db8:1::1000 256 00", "line 1: the key has 1 octets, at least 16 wanted"),
        (f"::1 256 {SECRET}\n::1 257 {OTHER}", "line 2: a second key of ::1"),
    ],
)
def test_wrong_keys_of_mobile_nodes(tmp_path: Path, key: Path, line: str, what: str) -> None:
    key.write_text(line + "\n")
    path = tmp_path / "harp.toml"
    path.write_text(
        RIGHT.replace("[group.home_agent]", f'[group.home_agent]\nmn_keys_file = "{key}"')
    )
    (problem,) = examine(path).problems
    assert problem.place == "group 1 (id 7), home_agent" and problem.what == f"{key} {what}"
    assert SECRET not in str(problem)


def test_mn_keys_of_home_agent_are_not_in_repr(key: Path) -> None:
    key.write_text(f"::5 256 {SECRET}\n")
    assert SECRET not in repr(KeyStore(None).mobile_keys(str(key), ""))
