"""Files of other programs, and traces beside them, as one HTML file that opens offline."""

from collections.abc import Sequence
from pathlib import Path

from visualize.figures.catalogue import SOURCE_FIGURES
from visualize.imports.records import Source
from visualize.imports.words import word_tables
from visualize.report.document import filled_page, plain_figures, plain_templates


def export_imports(sources: Sequence[Source], path: Path) -> None:
    """Writes the report; it is about 5 MB, nearly all of it plotly."""
    path.write_text(imports_html(sources), encoding="utf-8", errors="replace")


def imports_html(sources: Sequence[Source]) -> str:
    """The whole page as a text; figures that no source has anything for are left out."""
    drawn = {name: kind.draw(sources, "light") for name, kind in SOURCE_FIGURES.items()}
    return filled_page(
        "imported",
        "SpecDecodes beside other programs",
        {
            "subtitle": " · ".join(source.name for source in sources),
            "tables": [table._asdict() for table in word_tables(sources)],
            "figures": plain_figures({name: each for name, each in drawn.items() if each.data}),
            "templates": plain_templates(),
        },
    )
