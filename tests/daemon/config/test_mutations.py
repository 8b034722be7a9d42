"""Whatever stands in the file: an answer in lines, never a traceback."""

import copy
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.daemon.config.kit import FILE, RIGHT
from tests.daemon.config.test_schema import ALL

from harp.daemon.config.check import as_object
from harp.daemon.config.keys import KeyStore
from harp.daemon.config.load import Examined, examine, parse
from harp.daemon.config.schema import ROOT

KEYS = sorted(
    {name for _, setting in ALL for name in setting.spellings}
    | {each.name for each in (*ROOT.tables, *ROOT.tables[-1].tables)}
)
SCALARS = (
    st.none().map(lambda _: date(1979, 5, 27))
    | st.just(datetime(1979, 5, 27, tzinfo=UTC))
    | st.booleans()
    | st.integers()
    | st.sampled_from((-1, 0, 1, 2, 255, 256, 65535, 1 << 32, 1 << 64, 1 << 4000))
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(("::", "2001:db8:1::1", "2001:db8:1::/64", "ff02::1%eth0", "psk", "/", "\0"))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
PSK = RIGHT.replace('"none"', '"psk"') + '[[group.key]]\nspi = 256\nfile = "/nowhere"\n'


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A right document with one to five of its values, keys or tables changed."""
    document: dict[str, Any] = copy.deepcopy(tomllib.loads(draw(st.sampled_from((RIGHT, PSK)))))
    for _ in range(draw(st.integers(1, 5))):
        place: Any = document
        while isinstance(place, dict | list) and place and draw(st.integers(0, 3)):
            below = list(place.values()) if isinstance(place, dict) else place
            inner = [each for each in below if isinstance(each, dict | list)]
            if not inner:
                break
            place = draw(st.sampled_from(inner))
        if isinstance(place, dict):
            key = draw(st.sampled_from(sorted({*map(str, place), *KEYS})) | st.text(max_size=8))
            if draw(st.booleans()):
                place[key] = draw(VALUES)
            else:
                place.pop(key, None)
        elif draw(st.booleans()):
            place.append(draw(VALUES))
        else:
            place.clear()
    return document


def lines_only(found: Examined) -> None:
    assert (found.config is None) == bool(found.problems)
    for each in (*found.problems, *found.warnings):
        assert str(each).isprintable() and len(str(each)) < 2000
    as_object(found, [], None)


@given(mutated())
def test_documents(document: dict[str, Any]) -> None:
    lines_only(parse(document, FILE, KeyStore(None)))


@given(st.data())
def test_text(tmp_path_factory: Any, data: st.DataObject) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "harp.toml"
    text = bytearray(PSK, "utf-8")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path.write_bytes(text)
    lines_only(examine(path))
