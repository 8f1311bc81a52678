"""What the commands import, and when."""

import subprocess
import sys

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
