"""Tables in the Dagster UI: what comes from outside stays text."""

from __future__ import annotations

from upstream_pipelines.defs.tables import markdown_table


def test_a_payers_name_becomes_neither_image_nor_link_nor_another_cell() -> None:
    table = (
        markdown_table(("payer",), [["![x](http://a.example/p.png) <img src=x> \\| a | b"]], "none").md_str or ""
    )
    row = table.splitlines()[-1]
    assert "![" not in row
    assert "<img" not in row.replace("\\<", "")
    assert row.replace("\\\\", "").replace("\\|", "").count("|") == 2


def test_no_rows_say_what_that_means_and_missing_values_are_dashes() -> None:
    assert markdown_table(("a",), [], "Nothing yet.").md_str == "Nothing yet."
    assert (markdown_table(("a", "b"), [[None, float("nan")]], "x").md_str or "").endswith("| - | - |")


def test_several_numbers_stand_in_a_cell_without_brackets() -> None:
    assert (markdown_table(("rows",), [[[1, 2, 3000]]], "x").md_str or "").endswith("| 1, 2, 3000 |")
