"""What the commands import, and when."""

import signal
import subprocess
import sys

from core.runtime.early_interrupts import end_at_once
from core.runtime.imports import quick_imports

HEAVY = ("torch", "transformers", "pandas", "gradio", "hqq", "rich")


def loaded_after(code: str) -> set[str]:
    """Heavy packages that a fresh process has imported after the code."""
    report = f"import sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def test_options_are_read_before_torch_is_there() -> None:
    assert loaded_after("import core.generate") == set()


def test_headers_of_models_are_read_before_torch_is_there() -> None:
    assert loaded_after("import core.models.gguf_model, core.models.sources") == set()


def test_interrupts_are_as_before_once_all_is_imported() -> None:
    before = signal.getsignal(signal.SIGINT)
    with quick_imports():
        assert signal.getsignal(signal.SIGINT) is end_at_once
    assert signal.getsignal(signal.SIGINT) is before
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with quick_imports():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
