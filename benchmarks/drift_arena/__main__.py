"""The command: python -m benchmarks.drift_arena. Chooses what is run, prints the tables, writes the summary."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks.drift_arena.cases import CASES, SEEDS_PER_CASE
from benchmarks.drift_arena.runner import HERE, Plan, run
from benchmarks.drift_arena.summary import summarise
from benchmarks.drift_arena.tables import text

REPORTED_SEEDS = 900_000
CONTESTANTS = ("product", "fixed rule", "oracle")


def main() -> None:
    """Run the arena as the command line says."""
    options = _options()
    names = _chosen(options.cases)
    customers = tuple(
        (case.name, index)
        for case in CASES
        if case.name in names
        for index in range(options.customers or (case.long if options.long else case.short))
    )
    plan = Plan(
        options.seed,
        options.results_dir,
        {each: tuple(one for one in customers if takes_part(each, one[0])) for each in options.contestants},
        json.loads(options.product_settings),
    )
    last = options.seed + max(case.offset for case in CASES) + SEEDS_PER_CASE - 1
    print(f"{len(customers)} customers, seeds {options.seed} to {last}, {', '.join(options.contestants)}")
    started = time.perf_counter()
    summary = summarise(run(plan, options.jobs))
    print(f"{time.perf_counter() - started:.0f} s\n")
    print(text(summary))
    if options.json:
        options.json.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n")


def takes_part(contestant: str, case: str) -> bool:
    """Whether a contestant runs on a case. The oracle needs the unchanged customers and the changes only."""
    return contestant != "oracle" or case == "null" or case.startswith("change")


def _chosen(wanted: list[str]) -> set[str]:
    """The cases named, or, for what is no case's name, those that begin with it."""
    every = {case.name for case in CASES}
    chosen: set[str] = set()
    for name in wanted:
        found = {name} if name in every else {each for each in every if each.startswith(name)}
        if not found:
            sys.exit(f"No case is named or begins with {name}. There are {', '.join(sorted(every))}.")
        chosen |= found
    return chosen


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift_arena", description=__doc__)
    parser.add_argument("--long", action="store_true", help="the run whose figures are reported")
    parser.add_argument("--seed", type=int, default=REPORTED_SEEDS, help="seed base; tuning uses another (100000)")
    parser.add_argument(
        "--cases",
        nargs="+",
        default=[""],
        help="names of cases, or their beginnings (null is one case, null_ three, decoy nine); default all",
    )
    parser.add_argument("--customers", type=int, help="customers a case, instead of the short or long number")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument(
        "--product-settings", default="{}", help="drift settings that override the defaults, as JSON"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--results-dir", type=Path, default=HERE / ".results", help="finished results, for resuming"
    )
    parser.add_argument("--json", type=Path, help="also write the summary there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
