"""Models: what is loaded, what there is, and a draft model that fits."""

import gradio as gr

from app.pages.components.settings import SettingsPanel
from app.pages.components.view import QUIET, view

_MODE = "sd-classic"


def create_models_tab(settings: SettingsPanel) -> None:
    """Builds the view; a draft model that is chosen there comes into the settings."""
    models = view("models_view", label="Models")

    def use_draft(event: gr.EventData) -> list[str]:
        return [_MODE, str(event.draft)]

    models.select(
        use_draft, None, [settings.mode, settings.controls["draft"]], queue=False, **QUIET
    )
