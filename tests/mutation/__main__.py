"""python -m tests.mutation: change the library in small ways, and see whether the tests notice.

Run it from the repository's folder. It ends with 1 where fewer than 85 % of the mutants are noticed, without
those that are reviewed and equal in effect.
"""

from __future__ import annotations

import argparse
import json
import math
import queue
import random
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from .bench import ROOT, Bench, Reach, record
from .mutants import Mutant, mutants_of
from .reviewed import EQUAL

_WRITES = "block gz zst tar index trailer intake maker reuse writer"
_READS = "members check order extract target replay salvage"
MODULES = (
    *(f"archive/{name}" for name in f"{_WRITES} {_READS}".split()),
    *(
        f"store/{name}"
        for name in ["publish", "recover", "theirs", "making", "lines", "ledger", "journal", "manifest"]
    ),
    *("backup", "verify", "agreement", "restore", "clean"),
)
ENOUGH = 0.85
_NOTICED = ("killed", "hung")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.mutation", description=__doc__)
    known = ROOT / ".mutation.json"
    add = parser.add_argument
    add("--module", action="append", choices=MODULES, metavar="M", help="such as store/publish; all without")
    add("--sample", type=int, default=20, metavar="N", help="mutants a module (default: %(default)s)")
    add("--seed", type=int, default=1, metavar="S", help="which ones (default: %(default)s)")
    add("--jobs", type=int, default=2, metavar="J", help="how many at once (default: %(default)s)")
    add("--most", type=int, default=30, metavar="S", help="seconds of tests a mutant (default: %(default)s)")
    add("--known", type=Path, default=known, metavar="FILE", help="where it is noted which test runs what")
    add("--out", type=Path, metavar="FILE", help="one JSON object a mutant; those in it are not tried again")
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


def face_all(mutants: Sequence[Mutant], reach: Reach, options: argparse.Namespace) -> dict[str, str]:
    """Return the verdict on each mutant, by `key_of`."""
    verdicts: dict[str, str] = {}
    benches: queue.SimpleQueue[Bench] = queue.SimpleQueue()

    def face(mutant: Mutant) -> None:
        bench = benches.get()
        try:
            verdict, test = bench.face(mutant)
        finally:
            benches.put(bench)
        verdicts[key_of(mutant)] = verdict
        sys.stderr.write(f"{verdict}: {key_of(mutant)}\n")
        if options.out:
            told = {"mutant": key_of(mutant), "line": mutant.line, "verdict": verdict, "by": test}
            with options.out.open("a") as file:
                file.write(json.dumps(told) + "\n")

    with ExitStack() as stack:
        for _ in range(options.jobs):
            benches.put(stack.enter_context(Bench(reach, options.most)))
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(face, mutants))
    return verdicts


def _known_verdicts(out: Path | None) -> dict[str, str]:
    if out is None or not out.exists():
        return {}
    return {told["mutant"]: told["verdict"] for told in map(json.loads, out.read_text().splitlines())}


def _interval(hits: int, tried: int) -> str:
    """Return Wilson's 95 % interval of a share, in per cent."""
    z, share = 1.96, hits / tried
    middle = share + z * z / (2 * tried)
    reach = z * math.sqrt(share * (1 - share) / tried + z * z / (4 * tried * tried))
    return " to ".join(f"{100 * (middle + side) / (1 + z * z / tried):.1f}" for side in (-reach, reach))


def _row(name: str, of: int, verdicts: Sequence[tuple[str, str]]) -> str:
    noticed = sum(verdict in _NOTICED for _, verdict in verdicts)
    equal = sum(verdict not in _NOTICED and key in EQUAL for key, verdict in verdicts)
    raw, fair = 100 * noticed / len(verdicts), 100 * noticed / max(1, len(verdicts) - equal)
    return f"| {name} | {of} | {len(verdicts)} | {noticed} | {equal} | {raw:.0f} % | {fair:.0f} % |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants that are asked for; return the exit code."""
    options = _parse(arguments)
    samples = {
        module: sample_of(module, options.sample, options.seed) for module in options.module or MODULES
    }
    mutants = [mutant for sample, _ in samples.values() for mutant in sample]
    verdicts = _known_verdicts(options.out)
    if left := [mutant for mutant in mutants if key_of(mutant) not in verdicts]:
        verdicts |= face_all(left, record(options.known), options)
    told = [(key_of(mutant), verdicts[key_of(mutant)]) for mutant in mutants]
    lines = ["| module | mutants | tried | noticed | equal | raw | without equal |", f"|---{'|--:' * 6}|"]
    for module, (_, of) in samples.items():
        lines.append(_row(module, of, [each for each in told if each[0].startswith(f"{module}:")]))
    lines.append(_row("**all**", sum(of for _, of in samples.values()), told))
    noticed = sum(verdict in _NOTICED for _, verdict in told)
    rest = [key for key, verdict in told if verdict not in _NOTICED and key not in EQUAL]
    lines.append(f"\nnoticed, 95 % interval: {_interval(noticed, len(told))} %")
    sys.stdout.write("\n".join([*lines, *(f"survived: {key}" for key in rest)]) + "\n")
    return int(noticed < ENOUGH * (noticed + len(rest)))


if __name__ == "__main__":
    sys.exit(main())
