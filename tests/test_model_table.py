"""The table of architectures in docs/models.md is of the transformers that is installed."""

from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tests.model_table import PAGE, Row, listed_kinds, row_of, with_table


def test_the_table_lists_the_types_that_transformers_knows() -> None:
    """Where it does not: `python -m tests.model_table`."""
    page = PAGE.read_text(encoding="utf-8")
    assert listed_kinds(page) == sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def test_some_rows_of_the_table_are_made_anew_as_they_stand() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = [row_of(kind) for kind in ("gpt_neox", "codegen", "bloom", "mamba", "roberta")]
    assert [row.how for row in rows] == ["own", "trees", "chains", "tokens", "refused"]
    assert all(f"{row}\n" in page for row in rows)


def test_counts_are_those_of_the_rows() -> None:
    page = "a\n<!-- architectures -->\nold\n<!-- end -->\nb\n"
    made = with_table(page, [Row("x", "trees", ""), Row("y", "refused", "why")])
    assert "| trees | 1 |" in made and "| chains | 0 |" in made and "| refused | 1 |" in made
    assert listed_kinds(made) == ["x", "y"] and "old" not in made and made.endswith("-->\nb\n")
