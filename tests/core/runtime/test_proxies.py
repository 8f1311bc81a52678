"""Proxies of the environment: never for this machine, and told where they are of no use."""

import os
from collections.abc import Iterator
from urllib.request import getproxies, proxy_bypass

import httpx
import huggingface_hub
import pytest

from core.errors import ModelUnavailableError
from core.models.hub import find_files
from core.models.hub_name import HubName
from core.runtime.proxies import spare_this_machine, without_proxies

NOWHERE = "127.0.0.1:9"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Without proxies, and as it was when the test is over."""
    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "")  # so that what the test leaves is taken back
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("before", [{}, {"NO_PROXY": "a.org, localhost"}, {"no_proxy": "a.org"}])
def test_this_machine_is_reached_without_a_proxy(
    environment: pytest.MonkeyPatch, before: dict[str, str]
) -> None:
    for name, value in before.items():
        environment.setenv(name, value)
    environment.setenv("HTTP_PROXY", f"http://{NOWHERE}")
    spare_this_machine()
    spare_this_machine()
    spared = os.environ["NO_PROXY"].split(",")
    assert spared == os.environ["no_proxy"].split(",")
    assert len(set(spared)) == len(spared)
    assert ("a.org" in spared) is bool(before)
    for host in ("localhost", "127.0.0.1", "::1"):
        assert proxy_bypass(host)
    assert not proxy_bypass("example.org")
    with httpx.Client() as client:
        direct = [str(pattern.pattern) for pattern, way in client._mounts.items() if way is None]
    assert {"all://localhost", "all://127.0.0.1", "all://[::1]"} <= set(direct)


def test_clients_of_imports_are_made_without_proxies(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALL_PROXY", f"socks://{NOWHERE}")
    environment.setenv("NO_PROXY", "a.org")
    with pytest.raises(ValueError, match="Unknown scheme"):
        httpx.Client()
    with without_proxies():
        httpx.Client().close()
    assert getproxies()["no"] == "a.org"
    assert "no_proxy" not in os.environ


@pytest.mark.parametrize("kind", ["socks", "socks4"])
def test_a_proxy_that_the_hub_cannot_be_asked_through_is_told(
    environment: pytest.MonkeyPatch, kind: str
) -> None:
    environment.setenv("ALL_PROXY", f"{kind}://{NOWHERE}")
    environment.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    huggingface_hub.close_session()
    with pytest.raises(ModelUnavailableError, match=f"scheme for proxy URL .*{kind}:"):
        find_files(HubName("none/such"))
    huggingface_hub.close_session()
