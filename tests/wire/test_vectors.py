"""The golden messages: each decodes as it says and builds back to the same octets.

Ref: tests/vectors/README.md; harp.md §2, §3
"""

import json
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest

from harp.wire import messages as msg
from harp.wire.auth import verify_ha_ha
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.describe import describe

from .judge import verdict

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "harp.json").read_text(encoding="utf-8")
)
every = pytest.mark.parametrize("vector", VECTORS, ids=[v["name"] for v in VECTORS])
valid = pytest.mark.parametrize(
    "vector",
    [v for v in VECTORS if v["expect"]["valid"]],
    ids=[v["name"] for v in VECTORS if v["expect"]["valid"]],
)


def _octets(vector: dict[str, Any]) -> tuple[bytes, bytes, bytes]:
    source, destination = IPv6Address(vector["src"]), IPv6Address(vector["dst"])
    return source.packed, destination.packed, bytes.fromhex(vector["mh"])


def test_there_are_vectors() -> None:
    assert len(VECTORS) >= 38
    assert {v["expect"]["valid"] for v in VECTORS} == {True, False}


@every
def test_decodes_as_expected(vector: dict[str, Any]) -> None:
    expect = {key: value for key, value in vector["expect"].items() if key != "auth"}
    described = describe(DEFAULT_CODEC.parse(*_octets(vector)))
    assert {key: described.get(key) for key in expect} == expect
    json.dumps(described)


@every
def test_second_opinion_agrees(vector: dict[str, Any]) -> None:
    """The judge of these tests is itself held to the vectors."""
    expect = vector["expect"]
    assert verdict(*_octets(vector)) == ("valid" if expect["valid"] else expect["reason"])


@valid
def test_builds_back(vector: dict[str, Any]) -> None:
    source, destination, payload = _octets(vector)
    message = DEFAULT_CODEC.parse(source, destination, payload)
    assert not isinstance(message, msg.Malformed)
    built = DEFAULT_CODEC.build(source, destination, message)
    assert built == payload[: 8 * (payload[1] + 1)]
    behind = payload[len(built) :]
    assert bool(behind) == (vector["name"] == "octets-behind")


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS if "auth" in v["expect"]], ids=lambda v: v["name"]
)
def test_authentication_holds(vector: dict[str, Any]) -> None:
    source, destination, payload = _octets(vector)
    auth = vector["expect"]["auth"]
    key = bytes.fromhex(auth["key"])
    message = DEFAULT_CODEC.parse(source, destination, payload)
    assert isinstance(message, msg.Harp)
    last = message.options[-1]
    assert isinstance(last, msg.Authentication) and last.spi == auth["spi"]
    assert verify_ha_ha(source, destination, payload, key)
    assert not verify_ha_ha(source, destination, payload, key[:-1] + b"\0")
