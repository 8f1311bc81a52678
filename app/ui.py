"""The frame of the page: theme, styles, head, and its tabs."""

from typing import Any

import gradio as gr
from gradio.themes.utils import colors, sizes

from app.components.view import view
from app.handlers import Handlers
from app.routes import PREFIX, STATIC, routes
from app.tabs.playground import create_playground_tab

_SANS = ["ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
_MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
_HEAD = f"""
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="{PREFIX}/static/icon.svg" type="image/svg+xml">
"""
# Every visitor who waits or watches holds a thread.
_MAX_THREADS = 200


def create_page(handlers: Handlers, target: str) -> gr.Blocks:
    """The whole page; nothing is launched or loaded by it."""
    with gr.Blocks(
        title="SpecDecodes", analytics_enabled=False, fill_width=True, fill_height=True
    ) as page:
        with gr.Row(elem_id="topbar"):
            view("header", label="SpecDecodes")
            status = view("model_status", label="Model")
        create_playground_tab(handlers, target)
        page.load(
            handlers.watch_loading,
            None,
            status,
            concurrency_limit=None,
            show_progress="hidden",
            api_visibility="private",
        )
    return page


def launch_options(handlers: Handlers) -> dict[str, Any]:
    """Arguments of `Blocks.launch` that belong to the page and not to its address."""
    return {
        "theme": _theme(),
        "css_paths": sorted(STATIC.glob("*.css")),
        "head": _HEAD,
        "footer_links": [],
        "run_history": False,
        "max_threads": _MAX_THREADS,
        "ssr_mode": False,
        "enable_monitoring": False,
        "show_error": True,
        "app_kwargs": {"routes": routes(handlers.store)},
    }


def _theme() -> gr.themes.Base:
    """System fonts only: a theme with web fonts would ask other servers for them."""
    return gr.themes.Base(
        primary_hue=colors.indigo,
        neutral_hue=colors.slate,
        text_size=sizes.text_sm,
        spacing_size=sizes.spacing_sm,
        radius_size=sizes.radius_md,
        font=_SANS,
        font_mono=_MONO,
    )
