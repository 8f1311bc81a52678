"""Modules that wait until something asks for them."""

import subprocess
import sys
from pathlib import Path

import pytest

from core.runtime import deferred_modules

# What torch would say of an operator whose Python form was never registered is an error.
WHOLE_AGAIN = """
import sys
from core.runtime.imports import quick_imports
with quick_imports():
    import torch
assert type(sys.modules["torch._meta_registrations"]).__name__ == "_Waiting"
assert torch.Generator().manual_seed(1).initial_seed() == 1
assert "torch.export.exported_program" not in sys.modules
assert callable(torch.export.export)
square = torch.empty(3, 3, device="meta")
try:
    torch.linalg.eigvals(square)
except NotImplementedError:
    print("waits")
import transformers
print(tuple(torch.linalg.eigvals(square).shape))
"""


def test_torch_is_whole_once_transformers_is_imported() -> None:
    result = subprocess.run(
        [sys.executable, "-c", WHOLE_AGAIN], capture_output=True, text=True, check=True
    )
    assert result.stdout.split("\n")[:2] == ["waits", "(3,)"]


@pytest.fixture
def finder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that waits, and one that uses it."""
    (tmp_path / "waiting_module.py").write_text("NUMBER = 5\nprint('executed')\n")
    (tmp_path / "using_module.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(deferred_modules, "DEFERRED", ("waiting_module",))
    monkeypatch.setattr(deferred_modules, "USERS", ("using_module",))
    monkeypatch.setattr(sys, "meta_path", [deferred_modules._Finder(), *sys.meta_path])
    for name in ("waiting_module", "using_module"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("finder")
def test_a_module_waits_until_a_name_of_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    import waiting_module  # type: ignore[import-not-found]

    assert hasattr(waiting_module, "__file__") and not hasattr(waiting_module, "__path__")
    assert capsys.readouterr().out == ""
    assert waiting_module.NUMBER == 5
    assert capsys.readouterr().out == "executed\n"


@pytest.mark.usefixtures("finder")
def test_a_module_is_executed_before_one_that_uses_it(capsys: pytest.CaptureFixture[str]) -> None:
    import using_module  # type: ignore[import-not-found]  # noqa: F401
    import waiting_module  # noqa: F401

    assert capsys.readouterr().out == "executed\n"
    assert not any(isinstance(item, deferred_modules._Finder) for item in sys.meta_path)
