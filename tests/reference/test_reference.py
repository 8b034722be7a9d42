"""The generated documents are fresh, and nothing of the tables is missing in them."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

from harp.reference.__main__ import GENERATED, main, stale
from harp.reference.docstrings import attribute_docs
from harp.reference.lua import Value, literal
from harp.tables import codepoints, constants, harp_types, layouts, mh, options
from harp.tables.codepoints import DEFAULT_CODE_POINTS
from harp.tables.reasons import REASONS
from harp.tables.registers import BOARD_PAGE, REGISTERS
from harp.wire import messages as msg
from harp.wire.options import LAYOUTS

EVERY = (*REGISTERS, *BOARD_PAGE)
ROOT = Path(__file__).resolve().parents[2]
DISSECTOR, PAGE, REGISTER_PAGE = GENERATED
LUA = (ROOT / DISSECTOR).read_text(encoding="utf-8")
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")


def rows() -> list[list[str]]:
    """Cells of every table row of the page."""
    lines = (line for line in TEXT.splitlines() if line.startswith("| "))
    return [line[2:-2].split(" | ") for line in lines]


def has_row(*cells: object) -> bool:
    wanted = {str(cell) for cell in cells}
    return any(wanted <= set(row) for row in rows())


def test_generated_files_are_fresh() -> None:
    assert stale(ROOT) == []
    assert main(["--check"]) == 0


def test_check_names_the_stale_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "docs").mkdir()
    assert main(["--root", str(tmp_path)]) == 0
    assert main(["--root", str(tmp_path), "--check"]) == 0
    (tmp_path / PAGE).write_text("old", encoding="utf-8")
    capsys.readouterr()
    assert main(["--root", str(tmp_path), "--check"]) == 1
    complaint = capsys.readouterr().err
    assert PAGE in complaint and DISSECTOR not in complaint


def test_without_a_docs_directory_it_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--root", str(tmp_path)])
    assert stopped.value.code == 2


def test_every_code_point_is_there_and_marked() -> None:
    for field in fields(DEFAULT_CODE_POINTS):
        value = getattr(DEFAULT_CODE_POINTS, field.name)
        assert has_row(f"`{field.name}`", value), field.name
        if isinstance(value, int):
            assert f'name = "{field.name}"' in LUA
    for row in options.OWN_OPTIONS:
        assert has_row(f"{row.type_under(DEFAULT_CODE_POINTS)} (TBD)", row.name)
    assert has_row(f"{DEFAULT_CODE_POINTS.mh_type_harp} (TBD)", mh.HARP_MH.name)
    assert TEXT.count("(TBD)") == len(options.OWN_OPTIONS) + 1


def test_every_message_flag_status_and_option_is_there() -> None:
    for message in harp_types.HARP_TYPES:
        assert has_row(int(message.type), message.name, message.direction, message.sequence)
        assert f'[{int(message.type)}] = "{message.name}"' in LUA
    for flag in harp_types.HarpFlag:
        assert has_row(f"0x{flag:02x}", flag.name)
    for status, name in harp_types.STATUS_NAMES.items():
        assert has_row(status, name)
        assert f'[{status}] = "{name}"' in LUA
    for row in options.OPTIONS:
        assert any(row.name in cells and row.source in cells for cells in rows()), row.name
    for layout in layouts.OPTION_LAYOUTS:
        for field in layout.fields:
            assert not field.name or has_row(layout.info.name, f"`harp.{field.filter}`")
    for known in mh.MH_TYPES:
        assert has_row(known.name, known.min_header_len, known.source)


def test_every_reason_is_there_in_order_with_its_action() -> None:
    at = [TEXT.index(f"| `{row.reason}` |") for row in REASONS]
    assert at == sorted(at)
    for order, row in enumerate(REASONS, 1):
        assert has_row(order, f"`{row.reason}`", row.doc, row.offload or "")


@pytest.mark.parametrize("module", [constants, mh, harp_types, options])
def test_every_documented_number_is_there_and_every_number_documented(module: ModuleType) -> None:
    assert module.__file__
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    numbers = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(getattr(module, target.id), int)
    }
    factors = {"US_PER_MS", "US_PER_S", "PAD1", "PADN"}
    assert numbers - factors == set(attribute_docs(module)) & numbers
    for name in numbers - factors:
        assert f"| `{name}` | " in TEXT, name


def test_defaults_have_their_units() -> None:
    assert has_row("`HELLO_INTERVAL_US`", "1 s")
    assert has_row("`SS_REP_TIMER_US`", "20 ms")
    assert has_row("`NA_RATE_PER_S`", "1,000 per second")
    assert has_row("`ADDRESS_PREFIX_LENGTH`", "128 bits")


def test_display_filters_are_unique() -> None:
    every = [*layouts.MH_FIELDS, *layouts.HARP_FIELDS]
    every += [field for layout in layouts.OPTION_LAYOUTS for field in layout.fields]
    filters = [field.filter for field in every if field.name]
    assert len(filters) == len(set(filters))


def test_layouts_are_the_fields_of_the_dataclasses() -> None:
    """The codec makes each option from its layout by position."""
    for layout in LAYOUTS:
        names = [field.name for field in layout.wire.fields if field.name]
        if layout.cls is not msg.IpAddress:
            assert names == [field.name for field in fields(layout.cls)], layout.cls
    head = [field.name for field in layouts.HARP_FIELDS]
    assert [*head, "options"] == [field.name for field in fields(msg.Harp)]
    assert sum(field.octets for field in (*layouts.MH_FIELDS, *layouts.HARP_FIELDS)) == (
        harp_types.FIXED_OCTETS
    )


def test_option_lengths_hold_their_layouts() -> None:
    for layout in layouts.OPTION_LAYOUTS:
        head = sum(field.octets for field in layout.fields)
        assert min(layout.info.lengths) == head
        assert layout.tail or set(layout.info.lengths) == {head}


def test_docstrings_of_classes_and_constants_are_found() -> None:
    assert "Experimental" in attribute_docs(codepoints)["CodePoints.mh_type_harp"]
    assert attribute_docs(constants)["MULTIPLIER"].startswith("HELLO intervals")


@pytest.mark.parametrize(
    ("value", "lua"),
    [
        (True, "true"),
        (-3, "-3"),
        ('a "b" \\ \n', '"a \\"b\\" \\\\ \\n"'),
        ([], "{}"),
        ([1, [2]], "{ 1, { 2 } }"),
        ({"a": 1, "b": None, "c": [False]}, "{ a = 1, c = { false } }"),
        ({7: "x"}, '{ [7] = "x" }'),
    ],
)
def test_python_values_as_lua(value: Value, lua: str) -> None:
    assert literal(value) == lua


def test_nil_in_a_list_is_refused() -> None:
    with pytest.raises(ValueError, match="nil"):
        literal([None])


def test_every_field_of_every_register_is_on_its_page() -> None:
    text = (ROOT / REGISTER_PAGE).read_text(encoding="utf-8")
    sections = {part.split("\n", 1)[0]: part for part in text.split("\n## ")[2:]}
    assert list(sections) == [register.name for register in EVERY]
    for register in EVERY:
        section = sections[register.name]
        assert f"Word {register.offset:04x}" in section
        for field in register.fields:
            row = next(r for r in section.splitlines() if f"| `{field.name}` |" in r)
            assert f"| {field.access} |" in row
            assert field.doc in row
