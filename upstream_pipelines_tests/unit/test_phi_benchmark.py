"""The labelled set of benchmarks/phi.py: made without the detector's help, the same from a seed, and what it shows holds."""

from __future__ import annotations

import ast
from pathlib import Path

from benchmarks import phi, phi_texts


def test_the_generator_knows_nothing_of_the_detector() -> None:
    """Words or shapes in common would make any detector look good."""
    tree = ast.parse(Path(phi_texts.__file__).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any((name or "").startswith("upstream_pipelines") for name in imported)


def test_what_is_sure_is_nearly_always_right_and_most_is_found() -> None:
    """Most likely wrong: a wider pattern that takes payers, claim numbers or denial texts for people."""
    labelled = list(phi_texts.texts(seed=11, each=12))
    assert labelled == list(phi_texts.texts(seed=11, each=12))
    report = phi.measured(labelled, phi.of_upstream(labelled))
    for field in ("payer", "denial_text"):
        harmless = report[field]["harmless"]
        assert {form: share for form, share in harmless.items() if share and not form.startswith("unseen")} == {}
        assert report[field]["precision"] > 0.95
        assert report[field]["recall"] > 0.8
        assert all(report[field]["by_kind"][kind] == 1 for kind in ("ssn", "phone", "email", "mrn", "member_id"))
