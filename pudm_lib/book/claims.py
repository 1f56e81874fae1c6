"""The claims of a set of figures as tables: for the console and for README.md.

Each claim was judged when its figure was made (pudm_lib.book.page.claim); here nothing is
computed anew.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pudm_lib.book.page import read_records
from pudm_lib.machine.paths import write_atomically

BEGIN, END = "<!-- results -->", "<!-- /results -->"
# The chapter whose claims README shows at once; those of the others can be unfolded.
MAIN = "05"


def read_claims(folder: Path, preset: str | None = None) -> list[dict]:
    """The figure records under a folder that have claims, of one preset or all.

    Raises:
        ValueError: there are none.
    """
    records = [
        record
        for record in read_records(folder)
        if record["claims"] and preset in (None, record["preset"])
    ]
    if not records:
        of_preset = f" of preset {preset!r}" if preset else ""
        raise ValueError(
            f"no figures with claims{of_preset} in {folder}; `make book` makes them"
        )
    return records


def verdict(claim: Mapping, preset: str) -> str:
    """ "holds", "FAILS" (ours), "differs" (a paper's: a finding) or, for preset "ci",
    "not judged"."""
    if preset == "ci":
        return "not judged"
    if claim["holds"]:
        return "holds"
    return "FAILS" if claim["source"] == "ours" else "differs"


def all_hold(records: Sequence[Mapping]) -> bool:
    return not any(verdict(c, preset) == "FAILS" for preset, _, c in _each(records))


def as_text(records: Sequence[Mapping]) -> str:
    """One line a claim under the name of its figure."""
    lines, heading = [], None
    for preset, figure, c in _each(records):
        if (preset, figure) != heading:
            heading = (preset, figure)
            lines += ["", f"{preset} / {figure}"]
        measured = f"{_value(c)}, {_bound(c)}"
        lines.append(
            f"  {verdict(c, preset):<10} {c['source']:<5} {c['claim']}: {measured}"
        )
    verdicts = [verdict(c, preset) for preset, _, c in _each(records)]
    counts = [f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts)]
    lines += ["", f"{len(verdicts)} claims: {', '.join(counts)}"]
    if "differs" in verdicts:
        lines.append("differs: a paper's claim that is not met here; see its chapter")
    return "\n".join(lines).lstrip("\n")


def as_markdown(records: Sequence[Mapping]) -> str:
    """README's results: the main experiment's table, then all others folded."""
    main = [r for r in records if r["figure"].startswith(MAIN)]
    others = [r for r in records if r not in main]
    folded = [
        "",
        f"<details><summary>The other chapters: {len(list(_each(others)))} claims"
        "</summary>",
        "",
        *_table(others),
        "",
        "</details>",
    ]
    return "\n".join([*_table(main), *(folded if others else [])])


def _table(records: Sequence[Mapping]) -> list[str]:
    lines = [
        "| preset | figure | claim | source | measured | bound | |",
        "|---|---|---|---|---|---|---|",
    ]
    for preset, figure, c in _each(records):
        cells = (
            preset,
            figure,
            c["claim"].replace("|", "\\|"),
            c["source"],
            _value(c),
            _bound(c),
            verdict(c, preset),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def write_into(readme: Path, table: str) -> None:
    """Replace what stands between the markers BEGIN and END.

    Raises:
        ValueError: the file lacks the markers.
    """
    text = readme.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{readme} lacks the lines {BEGIN} and {END}")
    write_atomically(readme, f"{before}{BEGIN}\n{table}\n{END}{after}")


def _each(records: Sequence[Mapping]) -> Iterator[tuple[str, str, Mapping]]:
    for record in records:
        for c in record["claims"]:
            yield record["preset"], record["figure"], c


def _value(c: Mapping) -> str:
    ends = [_number(end) for end in c["interval"] or ()]
    return _number(c["value"]) + (f" [{', '.join(ends)}]" if ends else "")


def _number(value: float | None) -> str:
    """JSON has no NaN, so figures.plain writes null for it."""
    return "not a number" if value is None else f"{value:.4g}"


def _bound(c: Mapping) -> str:
    words = {"at_least": "≥", "at_most": "≤"}
    return " and ".join(f"{words[n]} {_number(end)}" for n, end in c["bound"].items())
