"""Hosts, sockets and who reaches them."""

import socket

import httpx
import pytest

from app.server.listening import is_own_machines, listen, own_address
from tests.app.scripted_engine import ScriptedEngine, load_scripted
from tests.browser.served import serve_pool
from tests.fuzz.served_targets import NUM_TOKENS, answer_of
from tests.page_client import PageClient


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.mark.parametrize(
    ("host", "told", "is_private"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.5", "127.0.0.5", True),
        ("0.0.0.0", "127.0.0.1", False),
        pytest.param("::1", "[::1]", True, marks=IPV6),
        pytest.param("[::1]", "[::1]", True, marks=IPV6),
        pytest.param("::", "[::1]", False, marks=IPV6),
        pytest.param("[::]", "[::1]", False, marks=IPV6),
    ],
)
def test_a_host_of_either_family_is_listened_at_and_told(
    host: str, told: str, is_private: bool
) -> None:
    sockets = listen(host, 0)
    port = sockets[0].getsockname()[1]
    assert own_address(sockets) == f"http://{told}:{port}"
    assert is_own_machines(sockets) is is_private
    place = told.strip("[]"), port
    socket.create_connection(place, timeout=10).close()
    for opened in sockets:
        opened.close()


def test_a_name_is_served_at_all_its_addresses_and_counts_as_them() -> None:
    sockets = listen("localhost", 0)
    assert is_own_machines(sockets)
    assert len({opened.getsockname()[1] for opened in sockets}) == 1
    for opened in sockets:
        opened.close()


@IPV6
def test_all_addresses_of_ipv6_are_those_of_ipv4_as_well() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this system keeps the families apart")
    (opened,) = listen("::", 0)
    port = opened.getsockname()[1]
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, port), timeout=10).close()
    opened.close()


def test_what_cannot_be_listened_at_is_an_oserror_that_says_why() -> None:
    (taken,) = listen("127.0.0.1", 0)
    with pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", taken.getsockname()[1])
    taken.close()
    for host in ("192.0.2.1", "name.invalid", ""):  # an address of nobody, and no names
        with pytest.raises(OSError, match=r"."):
            listen(host, 0)


@IPV6
def test_the_whole_page_is_served_at_ipv6() -> None:
    with serve_pool(load_scripted(ScriptedEngine()), "scripted", host="::1") as page:
        assert page.address.startswith("http://[::1]:")
        client = PageClient(page.address)
        assert answer_of(client)["stats"]["num_tokens"] == NUM_TOKENS
        assert client.http.get("/healthz").json()["status"] == "ok"
        client.close()


@pytest.mark.parametrize("host", ["127.0.0.5", pytest.param("::1", marks=IPV6)])
def test_no_other_site_reads_a_page_of_this_machine(host: str) -> None:
    with serve_pool(load_scripted(ScriptedEngine()), "scripted", host=host) as page:
        for origin, is_allowed in (
            ("https://elsewhere.example", False),
            ("null", False),
            ("http://[", False),
            (page.address, True),
            ("http://localhost:3000", True),
        ):
            answer = httpx.get(f"{page.address}/config", headers={"origin": origin})
            assert answer.status_code == 200
            allowed = answer.headers.get("access-control-allow-origin")
            assert allowed == (origin if is_allowed else None), origin
