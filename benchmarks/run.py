"""Run the benchmarks: `python -m benchmarks.run --help`. `README.md` says what is measured, and how."""

import argparse
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import passthrough, requests, retrieval, scaled, startup, streaming
from benchmarks.figures import Figure, table
from benchmarks.nginx import find_nginx
from benchmarks.processes import Cores
from benchmarks.tools import Tools

FULL_ROUNDS, QUICK_ROUNDS = 5, 2
Measurement = Callable[[Path], list[Figure]]


def main() -> int:
    given = _parser().parse_args()
    if sys.platform != "linux":
        print("The benchmarks read /proc, so they run on Linux only.", file=sys.stderr)
        return 2
    figures = _measured(given)
    if given.json:
        given.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=1))
    missed = [figure.name for figure in figures if not figure.kept]
    print("\nMissed: " + "; ".join(missed) if missed else "\nAll limits were kept.")
    return 1 if missed and given.strict else 0


def _measured(given: argparse.Namespace) -> list[Figure]:
    cores = Cores.of_this_machine()
    print(_circumstances(cores, given), flush=True)
    figures = []
    for name, measure in _measurements(given, cores).items():
        if given.only and name not in given.only:
            continue
        began = time.perf_counter()
        with TemporaryDirectory(prefix="llm-backend-bench-") as folder:
            found = measure(Path(folder))
        print(f"\n## {name} ({time.perf_counter() - began:.0f} s)\n\n{table(found)}", flush=True)
        figures += found
    return figures


def _measurements(given: argparse.Namespace, cores: Cores) -> dict[str, Measurement]:
    tools = Tools(cores, given.upstream_binary, given.load_binary)
    rounds = given.rounds or (FULL_ROUNDS if given.full else QUICK_ROUNDS)
    quick = not given.full
    return {
        "streaming": lambda folder: streaming.measure(tools, folder, rounds=rounds, quick=quick, nginx=given.nginx),
        "passthrough": lambda folder: passthrough.measure(tools, folder, rounds=rounds, quick=quick, nginx=given.nginx),
        "scaled": lambda folder: scaled.measure(tools, folder, rounds=rounds, quick=quick),
        "requests": lambda folder: requests.measure(cores, folder, rounds=rounds),
        "startup": lambda folder: startup.measure(cores, folder, rounds=rounds),
        "retrieval": lambda folder: retrieval.measure(cores, folder, quick=quick),
    }


def _circumstances(cores: Cores, given: argparse.Namespace) -> str:
    alone = "\nThere is only one core: the tools disturb what they measure." if cores.measured == cores.tools else ""
    proxy = "" if given.nginx else "\nnginx is not installed: there is nothing to compare with."
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load}{alone}{proxy}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("--full", action="store_true", help="as for the figures in the README; takes half an hour")
    parser.add_argument("--rounds", type=int, help=f"of each measurement; {QUICK_ROUNDS}, or {FULL_ROUNDS} with --full")
    parser.add_argument(
        "--only",
        action="append",
        choices=["streaming", "passthrough", "scaled", "requests", "startup", "retrieval"],
        help="may be repeated",
    )
    parser.add_argument("--nginx", default=find_nginx(), help="the program to compare with; '' leaves it out")
    parser.add_argument("--upstream-binary", type=_program, help="a faster model server: PROGRAM PORT")
    parser.add_argument("--load-binary", type=_program, help="a faster client, with the arguments of load.py")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--strict", action="store_true", help="end with status 1 when a limit was missed")
    return parser


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise argparse.ArgumentTypeError(f"{name} is no program")
    return found


if __name__ == "__main__":
    raise SystemExit(main())
