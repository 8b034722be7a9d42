"""Whatever is on the line: an error that says so, nothing else; and shapes of answers that lie."""

import contextlib
import io
import json
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harp.cli import looking
from harp.cli.common import Failure
from harp.daemon.control import protocol
from harp.daemon.control.protocol import Refused, Request, parse_answer, parse_request

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ("schema", "command", "group", "to", "ok", "result", "error", "events", "groups")
            )
            | st.text(max_size=4),
            inner,
            max_size=5,
        )
    ),
    max_leaves=10,
)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_requests(line: bytes) -> None:
    try:
        request = parse_request(line)
    except Refused as refused:
        assert refused.name is protocol.Wrong.BAD_REQUEST and refused.text
    else:
        assert isinstance(request, Request) and request.schema == protocol.SCHEMA


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_answers(line: bytes) -> None:
    try:
        answer = parse_answer(line)
    except ValueError as error:
        assert str(error).startswith("its answer") or "schema" in str(error)
    else:
        assert isinstance(answer["result" if answer["ok"] else "error"], dict)


class Lying:
    """A connection to something that answers in the right form with the wrong content."""

    def __init__(self, result: dict[str, Any]) -> None:
        self._result = result

    def __enter__(self) -> "Lying":
        return self

    def __exit__(self, *_: object) -> None: ...

    def call(self, command: str, **arguments: object) -> dict[str, Any]:
        return self._result


@pytest.mark.parametrize(
    "command", [looking.status, looking.peers, looking.offload, looking.events]
)
@given(result=st.dictionaries(st.sampled_from(("groups", "events", "offload", "filter")), JSON))
def test_contents_that_lie(command: Any, result: dict[str, Any]) -> None:
    with (
        patch.object(looking, "connect", lambda _: Lying(result)),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.suppress(Failure),
    ):
        command.main([], standalone_mode=False)
