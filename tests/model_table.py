"""Writes the table of architectures in docs/models.md: `python -m tests.model_table` (minutes)."""

import re
from argparse import ArgumentParser
from collections import Counter
from typing import NamedTuple

from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from core.backends.transformers.twin import found_for
from core.families.description import reason_against
from core.models.quiet import quiet_transformers
from tests.core.models.every_mode import NoModelError, small_configuration
from tests.module_map import ROOT

PAGE = ROOT / "docs" / "models.md"
_PLACE = re.compile(r"(<!-- architectures -->\n).*?(<!-- end -->)", re.DOTALL)
_ROW = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
# How a type is computed, in the order of the counts, with what that means.
_OWN, _REFUSED, _NONE = "own", "refused", "no defaults"
_MEANING = {
    _OWN: "our own forward, all modes, drafts are trees",
    "trees": "transformers' module, `naive`, `ngram`, `sd-classic` and `hybrid`, drafts are trees",
    "chains": "the same, drafts are chains",
    "tokens": "the same, drafts are chains that are computed token by token",
    _REFUSED: "refused by a sentence when it is loaded",
    _NONE: "the defaults of its configuration make no small model, so that nothing is known of it here; "
    "a model with all its settings is tried when it is loaded",
}


class Row(NamedTuple):
    """One type as transformers knows it."""

    kind: str
    how: str
    remark: str

    def __str__(self) -> str:
        return f"| `{self.kind}` | {self.how} | {self.remark} |"


def row_of(kind: str) -> Row:
    """What becomes of a small model of a type."""
    try:
        config = small_configuration(kind)
    except NoModelError as error:
        return Row(kind, _NONE, _plain(str(error)))
    if reason_against(config.to_dict()) is None:
        return Row(kind, _OWN, "")
    found = found_for(config)
    if found.reason_against is not None:
        return Row(kind, _REFUSED, found.reason_against)
    text = config.get_text_config()
    kinds = sorted(set(getattr(text, "layer_types", None) or []))
    return Row(kind, found.way, ", ".join(kinds).replace("_", " "))


def _plain(text: str) -> str:
    """A part of another library's message that a table can hold."""
    text = re.sub(r"[|`]", "", text)
    return text if len(text) <= 90 else text[:90].rstrip() + " ..."


def table(rows: list[Row]) -> str:
    counts = Counter(row.how for row in rows)
    lines = [
        f"Of the {len(rows)} types that transformers maps to causal language models:",
        "",
        "| computed | types | which means |",
        "| --- | --- | --- |",
        *(f"| {how} | {counts[how]} | {meaning} |" for how, meaning in _MEANING.items()),
        "",
        "| type | computed | layers, or why not |",
        "| --- | --- | --- |",
        *map(str, rows),
    ]
    return "\n".join(lines) + "\n"


def with_table(page: str, rows: list[Row]) -> str:
    """The page with the table between its marks made anew."""
    return _PLACE.sub(lambda match: match[1] + table(rows) + match[2], page)


def listed_kinds(page: str) -> list[str]:
    """The types that the page's table has."""
    found = _PLACE.search(page)
    assert found is not None, "docs/models.md has lost its marks"
    return _ROW.findall(found[0])


if __name__ == "__main__":
    ArgumentParser(description="Tries all architectures and writes docs/models.md.").parse_args()
    quiet_transformers()
    rows = []
    for kind in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        rows.append(row_of(kind))
        print(rows[-1], flush=True)
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")
