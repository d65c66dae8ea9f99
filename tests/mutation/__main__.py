"""python -m tests.mutation: change the library in small ways, and see whether the tests notice.

Run it from the repository's folder. It ends with 1 where fewer than 85 % of the mutants are noticed, without those
that are reviewed and equal in effect.
"""

from __future__ import annotations

import argparse
import json
import math
import queue
import random
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from .bench import ROOT, Bench, Reach, record
from .mutants import Mutant, mutants_of
from .reviewed import EQUAL

_ARCHIVE = "block buffer gz zst index trailer intake maker reuse writer check extract target replay salvage tar"
MODULES = (
    *(f"archive/{name}" for name in _ARCHIVE.split()),
    *(f"store/{name}" for name in ("publish", "recover", "ledger", "journal", "manifest")),
    *("backup", "verify", "restore", "clean"),
)
ENOUGH = 0.85


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.mutation", description=__doc__)
    parser.add_argument("--module", action="append", choices=MODULES, metavar="M", help="such as store/publish")
    parser.add_argument("--sample", type=int, default=20, metavar="N", help="mutants a module (default: 20)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="which ones (default: 1)")
    parser.add_argument("--jobs", type=int, default=2, metavar="J", help="how many at once (default: 2)")
    parser.add_argument("--most", type=int, default=30, metavar="S", help="seconds of tests a mutant (default: 30)")
    parser.add_argument("--known", type=Path, default=ROOT / ".mutation.json", help="which test runs which line")
    parser.add_argument("--out", type=Path, metavar="FILE", help="one JSON object a mutant; those in it are not tried")
    return parser.parse_args(arguments)


def sample_of(module: str, count: int, seed: int) -> tuple[list[Mutant], int]:
    """Return the mutants of a module that are tried, and of how many they are taken."""
    path = f"backup_lib/{module}.py"
    every = list(mutants_of(path, (ROOT / path).read_text()))
    random.Random(f"{seed} {module}").shuffle(every)  # so that a larger sample holds the smaller one
    return every[:count], len(every)


def key_of(mutant: Mutant) -> str:
    """Return what names a mutant, wherever in its module it stands."""
    return f"{mutant.module.removeprefix('backup_lib/').removesuffix('.py')}: {mutant.where}: {mutant.change}"


def face_all(mutants: Sequence[Mutant], reach: Reach, options: argparse.Namespace, scratch: Path) -> dict[str, str]:
    """Return the verdict on each mutant, by `key_of`."""
    verdicts: dict[str, str] = {}
    if options.out and options.out.exists():
        verdicts = {told["mutant"]: told["verdict"] for told in map(json.loads, options.out.open())}
    benches: queue.SimpleQueue[Bench] = queue.SimpleQueue()

    def face(mutant: Mutant) -> None:
        bench = benches.get()
        try:
            verdict, test = bench.face(mutant)
        finally:
            benches.put(bench)
        told = {"mutant": key_of(mutant), "line": mutant.line, "verdict": verdict, "by": test}
        verdicts[key_of(mutant)] = verdict
        sys.stderr.write(f"{verdict}: {key_of(mutant)}\n")
        if options.out:
            with options.out.open("a") as file:
                file.write(json.dumps(told) + "\n")

    with ExitStack() as stack:
        for number in range(options.jobs):
            benches.put(stack.enter_context(Bench(scratch / str(number), reach, options.most)))
        with ThreadPoolExecutor(options.jobs) as pool:
            left = [mutant for mutant in mutants if key_of(mutant) not in verdicts]
            random.Random(options.seed).shuffle(left)  # what is done after an hour is a sample, too
            list(pool.map(face, left))
    return verdicts


def _interval(hits: int, tried: int) -> str:
    """Return Wilson's 95 % interval of a share, in per cent."""
    z, share = 1.96, hits / tried
    middle = share + z * z / (2 * tried)
    reach = z * math.sqrt(share * (1 - share) / tried + z * z / (4 * tried * tried))
    return " to ".join(f"{100 * (middle + side) / (1 + z * z / tried):.1f}" for side in (-reach, reach))


def _row(name: str, of: int, verdicts: Sequence[tuple[str, str]]) -> str:
    noticed = sum(verdict in ("killed", "hung") for _, verdict in verdicts)
    equal = sum(verdict not in ("killed", "hung") and key in EQUAL for key, verdict in verdicts)
    raw, fair = 100 * noticed / len(verdicts), 100 * noticed / max(1, len(verdicts) - equal)
    return f"| {name} | {of} | {len(verdicts)} | {noticed} | {equal} | {raw:.0f} % | {fair:.0f} % |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants that are asked for; return the exit code."""
    options = _parse(arguments)
    samples = {
        module: sample_of(module, options.sample, options.seed) for module in options.module or MODULES
    }
    mutants = [mutant for sample, _ in samples.values() for mutant in sample]
    with tempfile.TemporaryDirectory(prefix="mutation.") as name:
        scratch = Path(name)
        verdicts = face_all(mutants, record(options.known, scratch), options, scratch)
    told = [(key_of(mutant), verdicts[key_of(mutant)]) for mutant in mutants]
    lines = ["| module | mutants | tried | noticed | equal | raw | without equal |", "|---|--:|--:|--:|--:|--:|--:|"]
    for module, (sample, of) in samples.items():
        lines.append(_row(module, of, [(key, verdict) for key, verdict in told if key.startswith(f"{module}:")]))
    lines.append(_row("**all**", sum(of for _, of in samples.values()), told))
    noticed = sum(verdict in ("killed", "hung") for _, verdict in told)
    rest = [key for key, verdict in told if verdict not in ("killed", "hung") and key not in EQUAL]
    lines.append(f"\nnoticed, 95 % interval: {_interval(noticed, len(told))} %")
    sys.stdout.write("\n".join([*lines, *(f"survived: {key}" for key in rest)]) + "\n")
    return int(noticed < ENOUGH * (noticed + len(rest)))


if __name__ == "__main__":
    sys.exit(main())
