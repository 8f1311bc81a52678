"""A part of the page that a static JS module draws."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from app.runs.handlers import Handlers
from app.server.paths import PREFIX

# Of every listener: no public endpoint, and no overlay over a page that shows its own progress.
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

# `new Function` code has no address of its own, so the module's address is made from the page's.
# Values that arrive before the module has loaded are read from `props` by its `mount`.
_LOADER = """
const address = new URL("{prefix}/static/{module}.js", document.baseURI);
import(address.href).then(
  (module) => module.mount({{ element: element.querySelector(".view"), props, watch, trigger, server }}),
);
"""


def view(
    module: str,
    *,
    label: str,
    value: str = "",
    server_functions: list[Callable[..., Any]] | None = None,
) -> gr.HTML:
    """An HTML component that `static/<module>.js` fills; its value is read by script only."""
    return gr.HTML(
        value=value,
        html_template='<div class="view"></div>',
        js_on_load=_LOADER.format(prefix=PREFIX, module=module),
        server_functions=server_functions,
        apply_default_css=False,
        elem_id=module.replace("_", "-"),
        elem_classes="is-drawn",
        label=label,
    )


def asking_view(handlers: Handlers, module: str, *, label: str) -> gr.HTML:
    """A view whose script asks for what it missed of runs."""

    def since(request: str) -> str:  # Gradio marks it with an attribute, which a method refuses
        return handlers.since(request)

    return view(module, label=label, server_functions=[since])


def told_runs(event: gr.EventData) -> list[Any]:
    """The ids of runs that a view's script tells with an event; whoever asks may send anything."""
    runs = getattr(event, "runs", None)
    return runs if isinstance(runs, list) else []
