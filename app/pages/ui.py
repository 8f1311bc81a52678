"""The frame of the page: theme, styles, head, and its tabs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr
from gradio.themes.utils import colors, sizes
from starlette.middleware import Middleware

from app.pages.components.settings import create_settings
from app.pages.components.view import view
from app.pages.tabs.batch import create_batch_tab
from app.pages.tabs.compare import create_compare_tab
from app.pages.tabs.lab import create_lab_tab
from app.pages.tabs.models import create_models_tab
from app.pages.tabs.playground import create_playground_tab
from app.pages.tabs.presets import create_presets_tab, preset_values
from app.runs.handlers import Handlers
from app.runs.session import ChatSession
from app.runs.visitors import VisitorCookie
from app.server.accounts import Accounts, Login
from app.server.api import create_endpoints
from app.server.archive_routes import archive_routes
from app.server.bodies import BodyLimit
from app.server.health import health_routes
from app.server.model_routes import model_routes
from app.server.paths import PREFIX, STATIC
from app.server.routes import routes
from presets.gallery import Preset

_SANS = ["ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
_MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
_HEAD = f"""
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="{PREFIX}/static/icon.svg" type="image/svg+xml">
"""


def create_page(handlers: Handlers, target: str, preset: Preset | None = None) -> gr.Blocks:
    """The whole page; nothing is launched or loaded by it."""
    values = preset_values(preset, target) if preset else {}
    with gr.Blocks(
        title="SpecDecodes", analytics_enabled=False, fill_width=True, fill_height=True
    ) as page:
        session = gr.State(ChatSession())
        with gr.Row(elem_id="topbar"):
            view("header", label="SpecDecodes")
            view("model_status", label="Model")
        with gr.Row(elem_id="workspace", equal_height=False):
            with gr.Column(scale=1, min_width=0, elem_id="settings"):
                settings = create_settings(handlers, target, values, preset)
            with _tab("playground"):
                playground = create_playground_tab(
                    handlers, session, settings, preset.prompt if preset else ""
                )
            with _tab("compare"):
                compare = create_compare_tab(handlers, session, settings)
            with _tab("batch"):
                create_batch_tab(handlers, session, settings)
            with _tab("lab"):
                create_lab_tab(handlers, session, settings)
            with _tab("runs"):
                view("runs_view", label="Kept runs")
            with _tab("presets"):
                create_presets_tab(session, settings, playground, compare)
            with _tab("models"):
                create_models_tab(settings)
        create_endpoints(handlers, target)
    return page


@contextmanager
def _tab(name: str) -> Iterator[None]:
    """A tab that is always mounted, so that it misses nothing; the header shows one of them."""
    with gr.Column(scale=4, min_width=0, elem_id=f"tab-{name}", elem_classes="tab"):
        yield


def mount_options(
    handlers: Handlers, *, with_metrics: bool = False, accounts: Accounts | None = None
) -> dict[str, Any]:
    """Arguments of `gradio.mount_gradio_app` that belong to the page and not to its address.

    With `accounts` nobody else gets an answer, from Gradio's routes or ours.
    """
    login = [] if accounts is None else [Middleware(Login, accounts=accounts)]
    return {
        "theme": _theme(),
        "css_paths": sorted(STATIC.glob("*.css")),
        "head": _HEAD,
        "footer_links": [],
        "run_history": False,
        "ssr_mode": False,
        "enable_monitoring": False,
        "show_error": True,
        "app_kwargs": {
            "routes": [
                *archive_routes(handlers.finder),
                *model_routes(handlers.pool, handlers.limits),
                *health_routes(handlers, with_metrics=with_metrics),
                *routes(handlers),
            ],
            "middleware": [*login, Middleware(BodyLimit), Middleware(VisitorCookie)],
        },
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
