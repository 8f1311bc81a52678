"""`app.py` as a process of its own, in surroundings that people have."""

import json
import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from app.main import _parse, main
from core.trace.events import RunFinished
from core.trace.file import load_trace
from tests.app.test_listening import IPV6
from tests.faults.killed import free_port, start, start_server
from tests.fuzz.served_targets import NUM_TOKENS, answer_of
from tests.mcp_tools import call_tool
from tests.own_cache import own_cache
from tests.page_client import PageClient
from tests.tiny_folder import save_tiny_model

SIZE = "specdecodes/models/size.json"
NOBODY = "127.0.0.1:9"  # nothing listens there


def printed_address(home: Path, *options: str) -> "tuple[subprocess.Popen[str], str]":
    """A page on a model that is not there, and the address that it prints."""
    process = start(home, "app.py", "--target", "none/such", "--port", str(free_port()), *options)
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if line.startswith("SpecDecodes is at "):
            return process, line.removeprefix("SpecDecodes is at ").strip()
    raise AssertionError(f"the page did not start: {printed}")


def test_proxies_of_the_environment_are_not_for_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first fails whoever asks it, the second whoever makes a client that may have to."""
    proxies = {"HTTP_PROXY": f"http://{NOBODY}", "all_proxy": f"socks5://{NOBODY}"}
    for name, proxy in proxies.items():
        monkeypatch.setenv(name, proxy)
    server, address = printed_address(tmp_path, "--mcp")
    try:
        with httpx.Client(base_url=address, trust_env=False) as client:
            assert client.get("/config").status_code == 200
            named = client.get(SIZE, params={"target": "/nowhere"})
            assert "not offered here" not in named.text, "any model, for this machine alone"
        for name in proxies:
            monkeypatch.delenv(name)
        # The tools ask the page over HTTP, from within its own process.
        assert call_tool(address.rstrip("/"), "list_runs") == "[]"
    finally:
        server.kill()


def test_the_interface_for_programs_is_served_alone_and_without_gradio(tmp_path: Path) -> None:
    port = free_port()
    options = ["--target", "none/such", "--port", str(port), "--metrics"]
    accounts = tmp_path / "accounts"
    accounts.write_text("ada:secret\n")
    server = start(tmp_path, "app.py", *options, "--api-only", "--auth", str(accounts))
    try:
        assert server.stdout is not None
        line = server.stdout.readline().strip()
        assert line == f"Programs for OpenAI's API take http://127.0.0.1:{port}/v1"
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert client.get("/healthz").status_code in (200, 503)
            assert client.get("/metrics").status_code == 401
            assert client.get("/").status_code == 401
            client.headers["authorization"] = "Bearer ada:secret"
            assert "specdecodes_queue_length" in client.get("/metrics").text
            assert client.get("/").status_code == 404, "there is no page"
            names = [model["id"] for model in client.get("/v1/models").json()["data"]]
            assert names == ["none/such", "smollm2-135m"]
            loaded = Path(f"/proc/{server.pid}/maps")
            if loaded.exists():
                assert "/gradio/" not in loaded.read_text()
    finally:
        server.kill()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--api-only", "--share"], "--share is for the page, and --api-only serves none"),
        (["--api-only", "--mcp"], "--mcp is for the page"),
        (["--api-batch", "0"], "'0' is no size; give a number from 1 to 256"),
        (["--api-settings", "{"], "the settings cannot be used: Expecting property name"),
        (["--api-settings", "[]"], "the settings cannot be used: they are no JSON object"),
        (["--api-settings", '{"mode": "magic"}'], "mode is 'magic'; give one of naive"),
        (["--api-settings", '{"seed": 1}'], "specdecodes has 'seed'; it holds mode"),
    ],
)
def test_options_of_the_interface_that_cannot_be_are_told(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(options)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert sentence in told and told.count("\n") == 1


@IPV6
def test_the_printed_address_has_the_root_path_of_the_environment_and_ipv6(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_ROOT_PATH", "/demo")
    server, address = printed_address(tmp_path, "--host", "::1")
    try:
        assert address.startswith("http://[::1]:") and address.endswith("/demo/")
        assert httpx.get(f"{address}config").json()["root"] == address.rstrip("/")
        # A proxy lets others in.
        named = httpx.get(address + SIZE, params={"target": "/nowhere"})
        assert "not offered here" in named.text
        script = httpx.get(f"{address}specdecodes/static/page.js")
        assert script.status_code == 200
    finally:
        server.kill()


def test_gradios_own_variables_say_where_the_page_is_as_a_hub_sets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    monkeypatch.setenv("GRADIO_SERVER_PORT", str(port))
    monkeypatch.setenv("GRADIO_ROOT_PATH", "https://owner-page.example.org")
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("SPACE_ID", "owner/page")
    monkeypatch.delenv("HOME", raising=False)
    home, target = Path(own_cache(tmp_path / "home")), save_tiny_model(tmp_path / "target")
    server = start(home, "app.py", "--target", target)
    assert server.stdout is not None
    try:
        assert server.stdout.readline() == "SpecDecodes is at https://owner-page.example.org/\n"
        client = PageClient(f"http://127.0.0.1:{port}")
        assert client.http.get("/config").json()["root"] == "https://owner-page.example.org"
        assert answer_of(client)["stats"]["num_tokens"] == NUM_TOKENS
        # Others reach it.
        assert "not offered here" in client.http.get(SIZE, params={"target": "/nowhere"}).text
        client.close()
    finally:
        server.kill()
        server.wait()


def test_options_go_before_gradios_variables_and_odd_ones_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRADIO_SERVER_NAME", "192.0.2.1")
    monkeypatch.setenv("GRADIO_SERVER_PORT", "many")
    options = _parse(["--host", "127.0.0.1", "--port", "80"])
    assert (options.host, options.port) == ("127.0.0.1", 80)
    with pytest.raises(SystemExit) as caught:
        _parse([])
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert "'many' is no port; give a number from 1 to 65535" in told and told.count("\n") == 1
    monkeypatch.setenv("GRADIO_SERVER_PORT", "")
    assert (_parse([]).host, _parse([]).port) == ("192.0.2.1", 7860)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--root-path", "/a b"), "give a path such as /specdecodes"),
        (("--host", "192.0.2.1"), "192.0.2.1:"),
        (("--ray", "127.0.0.1:9"), "ray"),
        (("--host", "name.invalid"), "give another --host or --port"),
        (
            ("--tensor-parallel", "2", "--workers", "2"),
            "--workers and --tensor-parallel exclude each other",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_in_a_sentence(
    options: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    process = start(tmp_path, "app.py", *options)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert told in printed and len(printed.splitlines()) == 1


def test_an_interrupt_ends_the_program_and_keeps_the_answer_so_far(tmp_path: Path) -> None:
    server, address = start_server(tmp_path, save_tiny_model(tmp_path / "target"))
    client = PageClient(address)
    changed = {"message": "Go on", "setting-mode": "naive", "setting-max-new-tokens": 470}
    for message in client.stream("send", **changed):
        if json.loads(message).get("stats", {}).get("num_tokens"):
            server.send_signal(signal.SIGINT)
            break
    printed, _ = server.communicate(timeout=60)
    assert (server.returncode, printed) == (0, "")
    (shelf,) = (tmp_path / "runs").iterdir()
    (trace,) = [load_trace(path) for path in shelf.glob("*.jsonl")]
    assert trace.first(RunFinished).reason in ("stopped", "length")
    assert not list(shelf.glob("*.open"))
