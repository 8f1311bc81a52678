"""Rules of a model's generation_config.json that change its text and that no run applies by itself."""

from pathlib import Path
from typing import Any

from core.errors import shown
from core.models.weight_files import read_json_object

# With the values at which they change nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "bad_words_ids": (None, []),
    "begin_suppress_tokens": (None, []),
    "encoder_repetition_penalty": (None, 1.0),
    "exponential_decay_length_penalty": (None,),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "guidance_scale": (None, 1.0),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "no_repeat_ngram_size": (None, 0),
    "num_beams": (None, 1),
    "penalty_alpha": (None, 0.0),
    "repetition_penalty": (None, 1.0),
    "sequence_bias": (None, [], {}),
    "suppress_tokens": (None, []),
}

# Those that a run applies where its settings ask for the same.
_OPTIONS = {
    "min_new_tokens": "--min-new-tokens",
    "repetition_penalty": "--repetition-penalty",
}


def unapplied_rules(folder: Path) -> str:
    """Which of them a folder sets, in one sentence or two; empty where it sets none."""
    try:
        settings = read_json_object(folder / "generation_config.json")
    except (OSError, ValueError):
        return ""  # there is none, or it is told elsewhere
    found = {
        name: shown(settings[name])
        for name, neutral in _NEUTRAL.items()
        if name in settings and settings[name] not in neutral
    }
    if not found:
        return ""
    rules = ", ".join(f"{name} {value}" for name, value in found.items())
    options = [f"{_OPTIONS[name]} {value}" for name, value in found.items() if name in _OPTIONS]
    told = (
        f"Its generation_config.json asks for {rules}, which no run here applies by itself, so that "
        "transformers' own generate may write another text."
    )
    return f"{told} What can be applied is a setting: {', '.join(options)}." if options else told
