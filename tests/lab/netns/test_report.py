"""The report is one file with its plots, and shows text as text."""

from pathlib import Path
from typing import Any

from harp.lab.netns.report import write


def result(verdict: str = "pass") -> dict[str, Any]:
    return {
        "scenario": "kill-active",
        "verdict": verdict,
        "why": [] if verdict == "pass" else ["worst is 41 ms <script>"],
        "seed": 1,
        "seconds": 2.5,
        "machine": {"cores": 2, "kernel": "6.1", "load_average": 0.5},
        "figures": {"fault_to_na_ms": {"median": 30.1, "worst": 33.0}, "ok": True, "none": None},
        "timeline": [{"at_s": 1.0, "who": "ha1", "kind": "action", "what": "is killed"}],
        "records": {
            "takeovers_ms": {"node_death": [30.0, 31.5], "nothing": []},
            "labs": [
                {
                    "begin_s": 0.0,
                    "end_s": 2.0,
                    "roles": {"ha1": [(0.0, 1.0, "active"), (1.0, 2.0, "silent")]},
                    "pings": {"pings to ::1": {"sent": 2000, "outages": [(1.0, 1.03, 30)]}},
                }
            ],
            "logs": {"ha1": ["INFO <started>"]},
        },
    }


def test_one_file_with_everything(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "report.html"
    write([result()], place)
    page = place.read_text("utf-8")
    assert page.count("<svg") == 2
    for text in (
        "30 of 2000 pings to ::1 lost",
        "node death",
        "median 30.1",
        "INFO &lt;started&gt;",
    ):
        assert text in page
    # Nothing is fetched: no address but namespaces of SVG and its metadata.
    assert "src=" not in page
    assert "<link" not in page


def test_failure_is_told_and_escaped(tmp_path: Path) -> None:
    place = tmp_path / "report.html"
    write([result(), result("fail")], place)
    page = place.read_text("utf-8")
    assert "HARP laboratory: fail" in page
    assert "worst is 41 ms &lt;script&gt;" in page


def test_same_run_same_octets(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write([result()], tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
