"""The register map for programs, from the one declaration; the page for people is
`docs/registers.md`.

Ref: offload.md §6; `harp.tables.registers`
"""

from __future__ import annotations

from typing import Any

from harp.tables.registers import BOARD_PAGE, REGISTERS


def rows() -> list[dict[str, Any]]:
    """Every register with its fields, for programs."""
    return [
        {
            "name": register.name,
            "address": register.offset,
            "count": register.count,
            "stride": register.stride,
            "doc": register.doc,
            "fields": [
                {
                    "name": field.name,
                    "at": field.at,
                    "width": field.width,
                    "access": field.access.value,
                    "reset": [register.reset_of(field, n) for n in range(register.count)],
                    "unit": field.unit,
                    "doc": field.doc,
                }
                for field in register.fields
            ],
        }
        for register in (*REGISTERS, *BOARD_PAGE)
    ]
