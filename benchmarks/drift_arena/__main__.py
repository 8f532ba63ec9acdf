"""The command: python -m benchmarks.drift_arena. Chooses what is run; prints, draws and writes what came out."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.drift_arena.bars import bars
from benchmarks.drift_arena.cases import CASES, REPORTED_SEEDS, SEEDS_PER_CASE, TUNING_SEEDS, Case
from benchmarks.drift_arena.contestants import product_hash
from benchmarks.drift_arena.libraries import LIBRARIES, LibraryEnvironmentError, ensure_environment
from benchmarks.drift_arena.page import page
from benchmarks.drift_arena.plots import draw
from benchmarks.drift_arena.runner import HERE, Plan, run
from benchmarks.drift_arena.simulator import source_hash
from benchmarks.drift_arena.summary import summarise
from benchmarks.drift_arena.tables import table, text

CONTESTANTS = ("product", "fixed rule", *LIBRARIES, "oracle")
ROOT = HERE.parent.parent
PUBLISHED = HERE / "results.json"


def main() -> None:
    """Run the arena as the command line says."""
    options = _options()
    if options.redraw:
        _write(json.loads(PUBLISHED.read_text()), options)
        return
    contestants = [each for each in options.contestants if not (options.without_libraries and each in LIBRARIES)]
    if any(each in LIBRARIES for each in contestants):
        try:
            ensure_environment()
        except LibraryEnvironmentError as error:
            sys.exit(str(error))
    cases = [case for case in CASES if case.name in _chosen(options.cases)]
    customers = {each: customers_of(each, cases, options.long, options.customers) for each in contestants}
    plan = Plan(options.seed, options.results_dir, customers, json.loads(options.product_settings))
    count = len({each for own in customers.values() for each in own})
    told = _told(options, count)
    print(f"{count} customers, seeds {told['first_seed']} to {told['last_seed']}, {', '.join(contestants)}")
    for library in filter(LIBRARIES.__contains__, contestants):
        few = Counter(case for case, _ in customers[library])
        print(
            f"{library} on the first " + ", ".join(f"{number} of {case}" for case, number in few.items()) + " only"
        )
    started = time.perf_counter()
    results = run(plan, options.jobs)
    seconds = time.perf_counter() - started
    computed = sum(each["seconds"] for own in results.values() for each in own)
    print(f"{seconds:.0f} s; {computed:.0f} s of work in all, what was kept from before included\n")
    # What a run from nothing takes, also when this one went on from kept results.
    told |= {"seconds": round(computed), "minutes": computed / options.jobs / 60}
    summary = {"run": told, **summarise(results)}
    print(text(summary))
    if "product" in summary["contestants"]:
        rows = [
            [bar.asked, bar.measured, "yes" if bar.met else "NO"]
            for bar in bars(summary["contestants"]["product"])
        ]
        print("\n" + table(("bar", "measured", "met"), rows) if rows else "")
    _write(summary, options)


def takes_part(contestant: str, case: str) -> bool:
    """Whether a contestant runs on a case. The oracle needs the unchanged customers and the changes only."""
    return contestant != "oracle" or case == "null" or case.startswith("change")


def customers_of(
    contestant: str, cases: list[Case], long: bool, customers: int | None
) -> tuple[tuple[str, int], ...]:
    """The customers a contestant runs on: case and index; the libraries on the first few only."""
    chosen = []
    for case in cases:
        count = customers or (case.long if long else case.short)
        if contestant in LIBRARIES:
            count = min(count, case.libraries_long if long else case.libraries_short)
        if takes_part(contestant, case.name):
            chosen += [(case.name, index) for index in range(count)]
    return tuple(chosen)


def _told(options: argparse.Namespace, customers: int) -> dict[str, Any]:
    """What names the run, kept beside its figures."""
    from upstream_pipelines.drift.settings import METHOD_VERSION

    arguments = [each for each in sys.argv[1:] if each != "--publish"]
    return {
        "command": " ".join(["python -m benchmarks.drift_arena", *arguments]),
        "customers": customers,
        "first_seed": options.seed,
        "last_seed": options.seed + max(case.offset for case in CASES) + SEEDS_PER_CASE - 1,
        "simulator": source_hash(),
        "method_version": METHOD_VERSION,
        "method": product_hash(),
    }


def _write(summary: dict[str, Any], options: argparse.Namespace) -> None:
    """The summary, figures and page: into the results' folder, or to where they are published."""
    report = options.results_dir / "report"
    numbers, images, words = report / "results.json", report / "images", report / "arena.md"
    if options.publish or options.redraw:
        numbers, images, words = PUBLISHED, ROOT / "docs" / "images", ROOT / "docs" / "arena.md"
    numbers.parent.mkdir(parents=True, exist_ok=True)
    numbers.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    drawn = draw(summary, images)
    words.write_text(page(summary))
    print("\nwritten: " + ", ".join(str(path) for path in (numbers, words, *drawn)))


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
    parser.add_argument(
        "--seed", type=int, help="seed base (default 900000 with --long, else that of tuning, 100000)"
    )
    parser.add_argument(
        "--cases",
        nargs="+",
        default=[""],
        help="names of cases, or their beginnings (null is one case, null_ three, decoy nine); default all",
    )
    parser.add_argument("--customers", type=int, help="customers a case, instead of the short or long number")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--without-libraries", action="store_true", help="leave Evidently and NannyML out")
    parser.add_argument(
        "--product-settings", default="{}", help="drift settings that override the defaults, as JSON"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--results-dir", type=Path, default=HERE / ".results", help="finished results, for resuming"
    )
    parser.add_argument("--publish", action="store_true", help="write results.json, docs/arena.md and its images")
    parser.add_argument(
        "--redraw", action="store_true", help="write page and images again from results.json, run nothing"
    )
    options = parser.parse_args()
    if options.seed is None:
        # What is looked at while tuning must never be what is reported.
        options.seed = REPORTED_SEEDS if options.long else TUNING_SEEDS
    return options


if __name__ == "__main__":
    main()
