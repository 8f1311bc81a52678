"""What `core` exports: listed once, typed, documented, and imported when it is asked for."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import core
from tests.tiny_folder import save_tiny_model

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def test_the_list_is_this_one() -> None:
    """A name that goes or comes is a change for everybody: it stands in CHANGELOG.md as well."""
    assert sorted(core.__all__) == [
        "Accepted", "AttachedEngine", "BadLogitsError", "BlockSettings", "ClassicSettings", "Committed",
        "Drafted",
        "DrafterFailed", "DrafterSettings", "DrafterUnavailableError", "EagleSettings", "Engine",
        "Event", "Fork", "HybridSettings", "InvalidSettingError", "JoiningRun",
        "KernelsUnavailableError", "LayerSkipSettings", "LoadedModel",
        "MedusaSettings", "ModelUnavailableError", "MtpSettings", "NgramSettings", "Observed",
        "Prefilled",
        "ProfileStarted", "Prompt", "Proposed", "RunConfig", "RunFailed", "RunFinished", "RunStarted",
        "RunStats",
        "SamplingConfig", "ServerTotals", "ShareSdSettings",
        "SpecDecodesError", "StorageError", "SuffixMemory", "TokenTexts", "Trace", "TraceFormatError",
        "TreeSettings", "Verified", "fork_of", "load_target", "load_trace", "read_trace",
        "register_drafter", "save_trace", "write_trace",
    ]  # fmt: skip


def test_every_name_is_what_type_checkers_see() -> None:
    tree = ast.parse(Path(core.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.asname: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("core.")
        for alias in node.names
        if alias.asname  # which says that it is exported
    }
    assert set(seen) == set(core.__all__)
    for name, home in seen.items():
        assert home is not None
        assert getattr(core, name) is getattr(importlib.import_module(home), name)


def test_all_errors_and_events_are_among_them() -> None:
    from core.trace.events import EVENT_CLASSES

    errors = importlib.import_module("core.errors")
    classes = {name for name, value in vars(errors).items() if isinstance(value, type)} - {"Any"}
    classes |= {cls.__name__ for cls in EVENT_CLASSES.values()}
    assert classes <= set(core.__all__)


@pytest.mark.parametrize("name", core.__all__)
def test_a_name_is_explained_on_the_page(name: str) -> None:
    assert re.search(rf"`{name}`", PAGE.partition("## Names")[2])


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'core' has no attribute 'Motor'"):
        core.Motor  # noqa: B018
    assert set(core.__all__) <= set(dir(core))


def test_importing_the_library_imports_nothing_large() -> None:
    code = (
        "import sys, core\n"
        "from core import RunConfig, Trace, load_trace, SpecDecodesError\n"
        "large = {'torch', 'transformers', 'numpy', 'pandas', 'plotly', 'gradio'} & set(sys.modules)\n"
        "assert not large, large\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    target = save_tiny_model(tmp_path / "tiny")
    example, count = re.subn(r'^TARGET = ".*?"', f"TARGET = {target!r}", example, flags=re.M)
    assert count == 1
    paths = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", paths + example],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "tokens/s" in done.stdout
    assert (tmp_path / "run.jsonl").is_file()
    assert "plotly" in (tmp_path / "steps.html").read_text(encoding="utf-8")
