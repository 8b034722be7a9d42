"""Roles over time from what the wire showed."""

from harp.lab.netns.capture import Heard, Seen
from harp.lab.netns.history import spans
from harp.lab.netns.timeline import NS_PER_S

S = NS_PER_S


def told(*rows: tuple[float, str]) -> list[Seen]:
    return [Seen(int(at * S), "ha1", what) for at, what in rows]


def test_active_then_gone_and_back() -> None:
    heard = Heard(last_ns=10 * S, silences=[(4 * S, 6 * S)])
    seen = told((1, "S+"), (2, "A+"), (6, "A-"), (6, "S-"), (7, "S+"))
    assert spans("ha1", heard, seen, 0, 10 * S) == [
        (0, 1 * S, "silent"),
        (1 * S, 2 * S, "standby"),
        (2 * S, 4 * S, "active"),
        (4 * S, 6 * S, "silent"),
        (6 * S, 7 * S, "behind"),
        (7 * S, 10 * S, "standby"),
    ]


def test_goodbye_is_silence() -> None:
    seen = told((1, "S+"), (2, "A+"), (3, "left"))
    assert spans("ha1", Heard(last_ns=3 * S), seen, 0, 5 * S)[-1] == (3 * S, 5 * S, "silent")


def test_others_do_not_count() -> None:
    seen = [Seen(S, "ha2", "A+")]
    assert spans("ha1", Heard(), seen, 0, 2 * S) == [(0, 2 * S, "silent")]
