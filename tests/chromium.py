"""One real Chromium for all tests that draw: Playwright allows one driver in a process."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Of several lists of features the last alone counts: to what an address bar would show, whose pages
# every window loads and no test sees, come those that Playwright switches off.
_SWITCHED_OFF = (
    "WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "WebUIOmniboxFullPopup",
    "AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable", "LensOverlay", "MediaRouter", "PaintHolding",
    "ThirdPartyStoragePartitioning", "AvoidCorsURLLoaderRestartOnRedirect", "OptimizationHints",
    "NetworkTimeServiceQuerying", "AimEnabled", "PreconnectToSearch",
)  # fmt: skip
# No sandbox inside containers, and no name but this machine's resolves.
LAUNCH_FLAGS = [
    f"--disable-features={','.join(_SWITCHED_OFF)}",
    "--no-sandbox",
    "--disable-gpu",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Playwright's browser."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        executable = find_chromium()
        if executable is None and not Path(driver.chromium.executable_path).exists():
            pytest.skip("no Chromium is installed; set SPECDECODES_CHROMIUM or run make test")
        chromium = driver.chromium.launch(executable_path=executable, args=LAUNCH_FLAGS)
        yield chromium
        chromium.close()


def find_chromium() -> str | None:
    """The browser named by the environment or on the path; None leaves it to Playwright."""
    named = os.environ.get("SPECDECODES_CHROMIUM")
    return named or shutil.which("chromium") or shutil.which("google-chrome")
