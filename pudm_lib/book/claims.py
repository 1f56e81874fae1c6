"""What the figures claim: checks and predictions, how they are judged, and the tables
of them for the console and for README.md.

A *check* is mathematics, or a bound that was set by what had been seen: it must hold,
or the book is broken. A *prediction* is a sentence about the world, ours or a paper's,
that was written down before its seeds were run. It is judged on its interval, never
stops a build, and keeps its owner and its bound whatever comes out.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pudm_lib.machine.paths import write_atomically

SOURCES = ("ours", "paper")

BEGIN, END = "<!-- results -->", "<!-- /results -->"
# The chapter whose claims README shows at once; those of the others can be unfolded.
MAIN = "05"


def check(text: str, value: float, **bounds: float) -> dict:
    """A sentence that must hold. Whether it does is computed here, never given.

    Args:
        text: the sentence.
        value: the measured number.
        bounds: at_least, at_most, or both; `interval`, (low, high) of the value, is
            shown and not judged.

    Raises:
        ValueError: no bound.
    """
    made = _claim("check", "ours", text, value, **bounds)
    made["verdict"] = "holds" if _side(made["value"], made["bound"]) == 0 else "FAILS"
    return made


def predict(text: str, value: float, *, source: str = "ours", **bounds) -> dict:
    """A sentence written down before its seeds were run.

    *confirmed* if the whole interval satisfies the bound, *refuted* if no part of it
    does, *undecided* if it straddles the bound or there is no interval. With both
    bounds, "differs by at most", only an interval inside them is confirmed.

    Args:
        source: whose it is: "ours" or "paper".
        bounds: at_least, at_most; `interval`, (low, high) of the value.

    Raises:
        ValueError: no bound, or an unknown source.
    """
    made = _claim("prediction", source, text, value, **bounds)
    sides = {_side(end, made["bound"]) for end in made["interval"] or ()}
    if sides == {0}:
        made["verdict"] = "confirmed"
    else:
        made["verdict"] = "refuted" if sides in ({-1}, {1}) else "undecided"
    return made


def _claim(
    kind, source, text, value, *, at_least=None, at_most=None, interval=None
) -> dict:
    if at_least is None and at_most is None:
        raise ValueError(f"claim {text!r} has no bound: give at_least or at_most")
    if source not in SOURCES:
        raise ValueError(f"source={source!r}, must be one of {', '.join(SOURCES)}")
    bound = {"at_least": at_least, "at_most": at_most}
    return {
        "claim": text,
        "kind": kind,
        "source": source,
        "value": float(value),
        "interval": None if interval is None else [float(end) for end in interval],
        "bound": {name: float(end) for name, end in bound.items() if end is not None},
    }


def _side(value: float, bound: Mapping[str, float]) -> int | None:
    """-1 below the bound, 0 inside it, 1 above it; None for what was not measured."""
    low, high = bound.get("at_least", -math.inf), bound.get("at_most", math.inf)
    return None if math.isnan(value) else (value > high) - (value < low)


def read_records(folder: Path) -> list[dict]:
    """All figure records under a folder, by path.

    Raises:
        ValueError: a record that is not JSON or lacks a part; names the file.
    """
    records = []
    for path in sorted(folder.rglob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            record["figure"], record["preset"], record["claims"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a figure record: {error!r}") from error
        records.append(record)
    return records


def failed(claims: Sequence[Mapping]) -> list[str]:
    """A line for each check that does not hold; a refuted prediction is a finding."""
    return [
        f"{c['claim']}: {_value(c)}, bound {_bound(c)}"
        for c in claims
        if c["verdict"] == "FAILS"
    ]


def as_lines(claims: Sequence[Mapping]) -> list[str]:
    """A line for each claim."""
    return [
        f"  {c['verdict']:<10} {c['source']:<5} {c['claim']}: {_value(c)}, {_bound(c)}"
        for c in claims
    ]


def as_text(records: Sequence[Mapping]) -> str:
    """One line a claim under its figure, and how many have which verdict."""
    lines = []
    for record in records:
        title = f"{record['preset']} / {record['figure']}"
        lines += [title, *as_lines(record["claims"]), ""]
    verdicts = Counter(c["verdict"] for r in records for c in r["claims"])
    counts = [f"{count} {verdict}" for verdict, count in sorted(verdicts.items())]
    return "\n".join([*lines, f"{verdicts.total()} claims: {', '.join(counts)}"])


def read_claims(folder: Path, preset: str | None = None) -> list[dict]:
    """The figure records under a folder that have claims, of one preset or all.

    Raises:
        ValueError: there are none.
    """
    records = read_records(folder)
    found = [r for r in records if r["claims"] and preset in (None, r["preset"])]
    if not found:
        of_preset = f" of preset {preset!r}" if preset else ""
        raise ValueError(
            f"no figures with claims{of_preset} in {folder}; `make book` makes them"
        )
    return found


def as_markdown(records: Sequence[Mapping]) -> str:
    """README's results: the main experiment's table, then all others folded."""
    main = [r for r in records if r["figure"].startswith(MAIN)]
    others = [r for r in records if r not in main]
    lines = _table(main)
    if others:
        count = sum(len(r["claims"]) for r in others)
        words = f"<summary>The other chapters: {count} claims</summary>"
        lines += ["", f"<details>{words}", "", *_table(others), "", "</details>"]
    return "\n".join(lines)


def _table(records: Sequence[Mapping]) -> list[str]:
    lines = [
        "| preset | figure | claim | kind | source | measured | bound | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        for c in record["claims"]:
            text = c["claim"].replace("|", "\\|")
            cells = (record["preset"], record["figure"], text, c["kind"], c["source"])
            cells += (_value(c), _bound(c), c["verdict"])
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def write_into(readme: Path, table: str) -> None:
    """Replace what stands between the markers BEGIN and END.

    Raises:
        ValueError: the file lacks the markers.
    """
    text = readme.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{readme} lacks the lines {BEGIN} and {END}")
    write_atomically(readme, f"{before}{BEGIN}\n{table}\n{END}{after}")


def _value(c: Mapping) -> str:
    ends = [_number(end) for end in c["interval"] or ()]
    return _number(c["value"]) + (f" [{', '.join(ends)}]" if ends else "")


def _number(value: float | None) -> str:
    """JSON has no NaN, so `page.plain` writes null for it."""
    return "not a number" if value is None else f"{value:.4g}"


def _bound(c: Mapping) -> str:
    words = {"at_least": "≥", "at_most": "≤"}
    return " and ".join(f"{words[n]} {_number(end)}" for n, end in c["bound"].items())
