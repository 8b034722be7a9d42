"""The register map: pinned for each version, and its import-time checks refuse what is wrong."""

import hashlib
import re
from typing import Any

import pytest

from harp.tables.offload import EVENT_INDEXES, EVENT_KINDS, EVENT_STRIDE
from harp.tables.reasons import Action
from harp.tables.register_schema import Access, Field, Home, Register, checked
from harp.tables.registers import BOARD_PAGE, BY_NAME, MAP_VERSION, PAGE_WORDS, REGISTERS

GOLDEN = {1: "b8df1fe93ab3af2e", 2: "38a333dcbd050893"}
"""First digits of SHA-256 over `_interface()`, for every map version ever used."""


PAGE_GOLDEN = {1: "837da7bd47327574", 2: "837da7bd47327574"}
"""The same over the board's page."""


def _interface(registers: tuple[Register, ...] = REGISTERS) -> str:
    """Everything that the host and the gateware of one map version must agree on."""
    return "\n".join(
        f"{register.name}.{field.name} {register.offset:#06x} {register.count} {register.stride} "
        f"{field.at} {field.width} {field.access}"
        for register in registers
        for field in register.fields
    )


def test_a_changed_map_has_a_new_version() -> None:
    digest = hashlib.sha256(_interface().encode()).hexdigest()[:16]
    assert GOLDEN[MAP_VERSION] == digest, _interface()
    digest = hashlib.sha256(_interface(BOARD_PAGE).encode()).hexdigest()[:16]
    assert PAGE_GOLDEN[MAP_VERSION] == digest, _interface(BOARD_PAGE)


def test_the_boards_page_is_one_that_the_core_leaves_free() -> None:
    page = {register.offset // PAGE_WORDS for register in BOARD_PAGE}
    assert len(page) == 1
    assert not page & {
        register.address(n) // PAGE_WORDS for register in REGISTERS for n in range(register.count)
    }


@pytest.mark.parametrize(
    ("name", "offset"),
    [("magic", 0), ("map_version", 1), ("control", 0x20), ("guard", 0x40), ("peer", 0x1000)],
)
def test_the_words_that_every_host_reads_first_stay(name: str, offset: int) -> None:
    assert BY_NAME[name].offset == offset


def test_after_reset_the_core_is_a_plain_wire() -> None:
    assert BY_NAME["control"].field("filter_enable").reset == 0
    assert BY_NAME["guard"].field("armed").reset == 0
    assert BY_NAME["slot"].field("flags").reset == 0


def test_reset_words_of_the_type_table() -> None:
    types = BY_NAME["mh_type"]
    assert types.reset_words(5) == (0x0103,), "Binding Update: known, allowed, at least 1"
    assert types.reset_words(11) == (0x0203,), "HARP: known, allowed, at least 2"
    assert types.reset_words(13) == (0x0137,), "Heartbeat: limited by bucket 3"
    assert types.reset_words(14) == (0x0002,), "not known"


def test_actions_of_the_table_are_those_of_the_specification() -> None:
    resets = BY_NAME["action"].field("action").reset
    assert isinstance(resets, tuple)
    assert resets.count(list(Action).index(Action.ABSORB)) == 1
    assert resets[0] == list(Action).index(Action.DROP), "bad_frame"


def test_every_event_has_an_id() -> None:
    assert set(EVENT_INDEXES) == set(EVENT_KINDS)
    assert max(EVENT_INDEXES.values()) <= EVENT_STRIDE


def test_ram_areas_are_bit_slices() -> None:
    for register in REGISTERS:
        if register.home is Home.RAM:
            assert register.offset % register.span == 0, register.name


def _field(name: str = "value", width: int = 32, **options: Any) -> Field:
    values: dict[str, Any] = {"access": Access.RW, "doc": "A value.", **options}
    return Field(name, width, **values)


def _register(name: str = "a", offset: int = 0, *fields: Field, **options: Any) -> Register:
    values: dict[str, Any] = {"doc": "A register.", **options}
    return Register(name, offset, fields or (_field(),), **values)


@pytest.mark.parametrize(
    ("registers", "complaint"),
    [
        ([_register(), _register("b", 0)], "b: overlaps a"),
        ([_register(count=4), _register("b", 3)], "b: overlaps a"),
        ([_register(), _register("a", 1)], "a: name used twice"),
        ([_register("a", 0, _field(), _field())], "a: name used twice"),
        ([_register("a", 0, _field(doc=""))], "a.value: no doc"),
        ([_register(doc="")], "a: no doc"),
        ([_register("a", 0, _field(width=4, reset=16))], "a.value: reset 16"),
        ([_register("a", 0, _field(reset=-1))], "a.value: reset -1"),
        ([_register("a", 0, _field(width=0))], "a.value: width 0"),
        ([_register("a", 0, _field(width=129))], "a.value: width 129"),
        ([_register("a", 0, _field("x", 8), _field("y", 32))], "a.y: crosses a word"),
        ([_register("a", 0, _field(width=64, at=8))], "a.value: wider than a word"),
        ([_register("a", 0, _field("x", 8), _field("y", 8, at=4))], "a.y: overlaps"),
        ([_register("a", 0, _field(access=Access.PULSE, reset=1))], "a.value: pulse field"),
        ([_register("a", 0, _field(reset=(1, 2)), count=4)], "a.value: 2 resets for 4"),
        ([_register(count=2, stride=3)], "a: stride 3"),
        ([_register("a", 2, count=4)], "a: offset is no multiple of 4"),
        ([_register("a", 0, _field(width=64), stride=1)], "a: 2 words in a stride of 1"),
        ([_register("a", 0x10000)], "a: past the end"),
    ],
)
def test_a_wrong_declaration_is_refused_by_name(registers: list[Register], complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(complaint)}"):
        checked(registers)


def test_fields_are_placed_upwards_and_wide_ones_on_words() -> None:
    (register,) = checked([_register("a", 0, _field("x", 8), _field("y", 40), _field("z", 8))])
    assert [field.at for field in register.fields] == [0, 32, 72]
    assert register.words == 3


def test_an_element_past_the_end_is_refused() -> None:
    (register,) = checked([_register(count=4)])
    assert register.address(3) == 3
    with pytest.raises(IndexError, match=r"a\[4\]"):
        register.address(4)
