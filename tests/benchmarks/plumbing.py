"""How much of the chapters' code is plumbing, by reading it: nothing is run.

    python tests/benchmarks/plumbing.py [FOLDER OF CHAPTERS]

A code line is plumbing if its statement imports, sets or repeats parameters, draws,
states a claim or saves a figure; all others carry an idea. Every statement is counted
by the lines it spans, blank lines and comments left out. The first line of a loop, a
condition or a function goes with its body where all of that is plumbing of one kind.
"""

import ast
import sys
from collections import Counter
from pathlib import Path

import jupytext

KINDS = ("imports", "parameters", "drawing", "claims", "saving", "idea")
# Calls by the last part of their name.
CLAIMS = {"claim", "assert_claims", "check", "predict", "prediction", "verdict"}
SAVING = {"show_figure", "numbers", "alt", "caption", "write_atomically", "loaded"}
MAKES_AXES = {"new_figure", "subplots", "figure", "Figure", "subplot_mosaic", "sheets"}
# Names that hold a chapter's settings, and what is derived from them for its figures.
PARAMETERS = {"settings", "chapter", "ours", "asserted", "usual", "page", "preset"}
AXES = {"ax", "axes", "axis", "fig", "figure", "plt", "plotting", "style"}


class Cell(ast.NodeVisitor):
    """Counts the lines of one cell by kind."""

    def __init__(self, source: str, tags: list[str], axes: set[str]):
        self.lines = source.splitlines()
        self.parameters = "parameters" in tags
        self.axes = axes  # names that hold axes or figures, of the chapter so far
        self.counts: Counter[str] = Counter()

    def count(self) -> Counter[str]:
        for statement in ast.parse("\n".join(self.lines)).body:
            self.statement(statement)
        return self.counts

    def statement(self, node: ast.stmt) -> set[str]:
        """Count a statement; the kinds found in it."""
        bodies = [getattr(node, part, None) or [] for part in ("body", "orelse")]
        bodies += [h.body for h in getattr(node, "handlers", [])]
        bodies += [getattr(node, "finalbody", None) or []]
        inner = [s for body in bodies for s in body]
        if not inner:
            kind = self.kind(node)
            self.counts[kind] += self.spanned(node.lineno, node.end_lineno)
            return {kind}
        self.bind(node)
        own = self.spanned(node.lineno, inner[0].lineno - 1)
        own = own or 1  # `if x: y` on one line
        kinds = set().union(*(self.statement(s) for s in inner))
        saved = isinstance(node, ast.With) and any(
            called(item.context_expr) in ("figure", "sheets") for item in node.items
        )
        kind = "saving" if saved else "idea"
        if not saved and len(kinds) == 1:
            (kind,) = kinds
        self.counts[kind] += own
        return kinds | {kind}

    def bind(self, node: ast.stmt) -> None:
        """Learn the names that a compound statement gives to axes."""
        if isinstance(node, ast.For) and self.draws(node.iter):
            self.axes |= first_names(node.target, node.iter, self.axes)
        if isinstance(node, ast.With):
            for item in node.items:
                if item.optional_vars is not None and makes(item.context_expr):
                    self.axes |= names(item.optional_vars)
        if isinstance(node, ast.FunctionDef):
            given = {a.arg for a in (*node.args.args, *node.args.kwonlyargs)}
            self.axes |= given & AXES

    def kind(self, node: ast.stmt) -> str:
        if isinstance(node, ast.Import | ast.ImportFrom):
            return "imports"
        if self.parameters:
            return "parameters"
        calls = {called(n) for n in ast.walk(node) if isinstance(n, ast.Call)}
        if calls & CLAIMS:
            return "claims"
        if calls & SAVING:
            return "saving"
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets += [node.target] if isinstance(node, ast.AugAssign) else []
        bound = set().union(*(names(t) for t in targets)) if targets else set()
        value = getattr(node, "value", None)
        if bound and value is not None and makes(value):
            self.axes |= bound
            return "drawing"
        if calls & {"use_book_style", "Page"} or (bound and bound <= PARAMETERS):
            return "parameters"
        if isinstance(node, ast.Expr) and self.draws(node):
            return "drawing"
        if bound and value is not None and root(value) in self.axes | AXES:
            return "drawing"
        return "idea"

    def draws(self, node: ast.AST) -> bool:
        found = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        return bool(found & (self.axes | AXES))

    def spanned(self, first: int, last: int) -> int:
        lines = (line.strip() for line in self.lines[first - 1 : last])
        return sum(bool(line) and not line.startswith("#") for line in lines)


def called(node: ast.AST) -> str:
    """The last part of the name that a call calls; "" for anything else."""
    if not isinstance(node, ast.Call):
        return ""
    return ast.unparse(node.func).rpartition(".")[2]


def makes(node: ast.AST) -> bool:
    return called(node) in MAKES_AXES


def root(node: ast.AST) -> str:
    """x of x.y(...)[0].z"""
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def first_names(target: ast.AST, over: ast.AST, axes: set[str]) -> set[str]:
    """The loop variables that stand for axes: those of zipped arguments that do."""
    if not isinstance(target, ast.Tuple):
        return names(target)
    parts = over.args if called(over) in ("zip", "enumerate") else [over]
    if called(over) == "enumerate":
        parts = [ast.Constant(0), *parts]
    if len(parts) != len(target.elts):
        return set()
    pairs = zip(target.elts, parts, strict=True)
    return set().union(*(names(t) for t, p in pairs if names(p) & (axes | AXES)))


def count_chapter(path: Path) -> Counter[str]:
    axes: set[str] = set()
    total: Counter[str] = Counter()
    for cell in jupytext.read(path).cells:
        if cell.cell_type == "code":
            tags = cell.metadata.get("tags", [])
            total += Cell(cell.source, tags, axes).count()
    return total


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "notebooks")
    print(f"{'chapter':<40}" + "".join(f"{kind:>11}" for kind in KINDS) + "  plumbing")
    whole: Counter[str] = Counter()
    for path in sorted(folder.glob("[0-9][0-9]_*.py")):
        found = count_chapter(path)
        whole += found
        print(line(path.stem, found))
    print(line("all", whole))


def line(name: str, found: Counter[str]) -> str:
    total = found.total()
    share = 1 - found["idea"] / total
    counts = "".join(f"{found[kind]:>11}" for kind in KINDS)
    return f"{name:<40}{counts}{share:>10.1%} of {total}"


if __name__ == "__main__":
    main()
