"""How long the commands take that are typed most: the median of fresh processes.

    python tests/benchmarks/commands.py [ROUNDS]

The commands are taken in turn, so that what else the machine does slows all of them. No
test asserts this; tests/test_cli.py asserts that they load no torch.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = ("--help", "data list", "claims --committed", "run --help", "book --help")


def seconds(command: str) -> float:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pudm_lib", *command.split()],
        cwd=Path(__file__).resolve().parents[2],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - start


if __name__ == "__main__":
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    taken = {command: [] for command in COMMANDS}
    for _ in range(rounds):
        for command in COMMANDS:
            taken[command].append(seconds(command))
    for command, times in taken.items():
        print(
            f"{command:<20}{statistics.median(times):6.2f} s, "
            f"{min(times):.2f} to {max(times):.2f} in {rounds} rounds"
        )
