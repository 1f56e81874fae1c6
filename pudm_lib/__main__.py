"""The command line: python -m pudm_lib run|book|claims|doctor|data.

Whatever a user can get wrong ends in one line on stderr and exit code 2; --traceback
shows where it came from. Exit code 1 means that the work was done and the answer is no:
a chapter failed, a check does not hold. A command loads what it needs, and no more.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path

import pudm_lib as pu
from pudm_lib.machine import paths, stopping, terminal

# What `run` prints of a result.
SHOWN = (
    "seed non_sensitive_rate rate_low rate_high frechet_pixels frechet_pixels_floor "
    "frechet_classifier frechet_classifier_floor train_seconds"
).split()


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    terminal.print_anywhere()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    traceback = "--traceback" in arguments or bool(os.environ.get("PUDM_TRACEBACK"))
    try:
        # What is slow is loaded in here, so that to stop then is one line, too.
        with stopping.program():
            logging.basicConfig(format="%(message)s")
            level = "INFO" if pu.machine.processes.is_main() else "ERROR"
            logging.getLogger("pudm_lib").setLevel(level)
            options = _parser().parse_args(arguments)
            return options.command(options)
    except (KeyboardInterrupt, stopping.Stopped) as reason:
        return stopping.say(reason)
    # RuntimeError: a GPU without memory, a process that was killed.
    except (ValueError, OSError, RuntimeError) as error:
        if traceback:
            raise
        print(f"error: {paths.one_line(error)}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = terminal.Parser(
        prog="python -m pudm_lib",
        description="Keep diffusion models from generating what nobody wants.",
    )
    parser.add_argument(
        "--traceback", action="store_true", help="show where an error came from"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function, text: str, fill=None) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, fill=fill)
        sub.set_defaults(command=function)
        # Accepted after the command as well; `main` looks for it.
        sub.add_argument("--traceback", action="store_true", help=argparse.SUPPRESS)
        return sub

    command("run", _run, "train, sample and measure one experiment", _add_run)
    command("book", _book, "run the chapters headless", _add_book)
    command("claims", _claims, "what the figures claim, and if it holds", _add_claims)
    doctor = command(
        "doctor", _print, "what this machine has, lacks and takes for a model"
    )
    doctor.set_defaults(lines=lambda _: pu.book.report())
    command("data", _print, "find, fetch and look at data sets", _add_data)
    return parser


def _add_preset(parser, default: str | None = "laptop") -> None:
    text = f"default: {default}" if default else "default: all that are there"
    text = f"ci, laptop, gpu or paper; {text}"
    parser.add_argument("--preset", type=_preset, default=default, help=text)


def _preset(word: str) -> str:
    try:
        pu.experiments.check_preset(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return word


def _add_run(parser) -> None:
    _add_preset(parser)
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], help=">= 0; one model each"
    )
    parser.add_argument(
        "--inception",
        action="store_true",
        help="the papers' FID as well; needs torch-fidelity and its weights",
    )
    names = [name for name in pu.experiments.setting_fields() if name != "seed"]
    _add_settings(parser, names)


def _add_settings(parser, names: Sequence[str]) -> None:
    laptop, known = pu.experiment("laptop").flat(), pu.experiments.setting_fields()
    for name in names:
        setting = known[name]
        text = setting.metadata["help"].replace("%", "%%")  # argparse formats it
        if name == "beta":
            text += ", or auto: estimated from U and S"
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=_beta if name == "beta" else setting.type,
            metavar={int: "INT", float: "FLOAT", str: "WORD"}[setting.type],
            default=argparse.SUPPRESS,
            help=f"{text} (default: by preset, laptop {laptop[name]})",
        )


def _beta(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}, must be a number or auto"
        ) from None


def _settings(options) -> dict:
    given = vars(options)
    return {n: given[n] for n in pu.experiments.setting_fields() if n in given}


def _run(options) -> int:
    asked = partial(pu.experiment, options.preset, **_settings(options))
    results = pu.run_many([asked(seed=seed) for seed in options.seeds])
    if not pu.machine.processes.is_main():
        return 0
    table = pu.frame(results)[SHOWN]
    table.columns = [n.replace("non_", "non-").replace("_", " ") for n in SHOWN]
    print(table.to_string(index=False, float_format="{:.3f}".format))
    for result in results:
        e = result.experiment
        notes = pu.measures.not_measured(result.numbers, SHOWN)
        if e.beta_estimate is not None:
            notes += [f"beta={e.training.beta}, from {e.beta_estimate}"]
        for line in notes:
            print(f"{e.seed:>4}  {line}")
    print(f"judge right on {results[0].numbers['judge_accuracy']:.1%} of test images")
    if options.inception:
        for result in results:
            split = pu.make_split(result.experiment.data, result.experiment.seed)
            distance = pu.measures.inception_distance(result.samples, split.x_test)
            print(f"{result.experiment.seed:>4}  Inception distance {distance:.2f}")
    print(f"kept in {paths.runs_root()}")
    return 0


def _add_book(parser) -> None:
    _add_preset(parser)
    parser.add_argument(
        "--only", action="append", default=[], metavar="05", help="chapter; repeatable"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="settings",
        help="a chapter's parameter, such as beta=0.2; repeatable",
    )
    parser.add_argument(
        "--publish",
        action="store_true",
        help="then replace figures/PRESET, if every chapter passed (not for ci)",
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="run chapters also where nothing has changed since they ran",
    )


def _book(options) -> int:
    only = [name.strip() for item in options.only for name in item.split(",")]
    passed = pu.book.run_book(
        options.preset,
        only=only,
        settings=pu.book.parse_settings(*options.settings),
        publish_after=options.publish,
        again=options.again,
    )
    return 0 if passed else 1


def _add_claims(parser) -> None:
    _add_preset(parser, default=None)
    switch = partial(parser.add_argument, action="store_true")
    switch("--committed", help="of figures/, not of the run just made")
    switch("--table", help="print README's table (committed figures)")
    switch("--write-readme", help="put that table into README.md")


def _claims(options) -> int:
    committed = options.committed or options.table or options.write_readme
    folder = paths.curated_figures_root() if committed else paths.figures_root()
    claims = pu.book.claims
    records = claims.read_claims(folder, options.preset)
    if options.write_readme:
        readme = paths.project_root() / "README.md"
        claims.write_into(readme, claims.as_markdown(records))
    else:
        print(claims.as_markdown(records) if options.table else claims.as_text(records))
    return 1 if any(claims.failed(record["claims"]) for record in records) else 0


def _add_data(parser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="which data sets are found, and where")
    listing.set_defaults(lines=lambda _: pu.data.found_sets())
    fetch = actions.add_parser("fetch", help="download a data set into PUDM_DATA")
    fetch.set_defaults(lines=lambda options: [pu.book.fetch_set(options.name)])
    fetch.add_argument("name", choices=pu.data.NAMES)
    text = "draw images of a split, hidden ones marked"
    actions.add_parser("show", help=text, fill=_add_show).set_defaults(lines=_show)


def _add_show(parser) -> None:
    parser.add_argument("dataset", help="a name, a folder or an .npz file")
    sizes = [f.name for f in fields(pu.data.DataSettings) if f.name != "dataset"]
    _add_settings(parser, sizes)
    _add_preset(parser)
    parser.add_argument("--out", type=Path, required=True, help="a .png file")


def _show(options) -> list[str]:
    chosen = pu.experiment(options.preset, **_settings(options))
    return [pu.book.show_split(chosen, options.out)]


def _print(options) -> int:
    for line in options.lines(options):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
