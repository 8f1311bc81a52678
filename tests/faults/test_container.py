"""The container of the Dockerfile, without Docker: its files on a read-only root, its user, its
environment, its volume and its command.

Namespaces of the system make the root; whoever may not make them skips this.
"""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.faults.killed import PATIENCE_S, ROOT, free_port
from tests.fuzz.served_targets import NUM_TOKENS, answer_of
from tests.own_cache import own_cache
from tests.page_client import PageClient
from tests.tiny_folder import save_tiny_model

TEXT = re.sub(r"\\\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
LINES = [line.split(None, 1) for line in TEXT.splitlines() if line and not line.startswith("#")]
# Everything of the machine is read only there; the tests' interpreter may lie in a home folder, which
# the user could not read.
MAKE_ROOT = """
set -e
mount -t tmpfs tmpfs "$NEW"
for place in /*; do
  if [ -L "$place" ]; then cp -a "$place" "$NEW$place"
  elif [ -d "$place" ]; then
    case "$place" in /tmp|/cache|/srv) continue;; esac
    mkdir "$NEW$place"
    mount --rbind "$place" "$NEW$place"
    mount -o remount,bind,ro "$NEW$place" 2>/dev/null || true
  fi
done
mkdir -p "$NEW/tmp" "$NEW/cache" "$NEW$PLACE"
mount -t tmpfs tmpfs "$NEW/tmp"
mount --bind "$VOLUME" "$NEW/cache"
mount --bind "$IMAGE" "$NEW$PLACE"
mount -o remount,bind,ro "$NEW$PLACE"
mount -o remount,ro "$NEW"
exec chroot "$NEW" setpriv --reuid "$OWNER" --regid "$GROUP" --clear-groups \
  --inh-caps +dac_read_search --ambient-caps +dac_read_search sh -c "cd $PLACE && exec \\"\\$@\\"" - "$@"
"""


def of(word: str) -> list[str]:
    """What stands behind a word of the Dockerfile, in order."""
    return [rest for first, rest in LINES if first == word]


def words_of(instruction: str) -> list[str]:
    """A command in its JSON form."""
    words = json.loads(instruction)
    assert isinstance(words, list)
    return words


(PLACE,) = of("WORKDIR")
ENVIRONMENT = dict(pair.split("=", 1) for line in of("ENV") for pair in shlex.split(line))
(COMMAND,) = map(words_of, of("CMD"))
(HEALTH,) = (words_of(rest.split("CMD", 1)[1]) for rest in of("HEALTHCHECK"))
OWNER, GROUP = of("USER")[-1].split(":")


def copy_image(folder: Path) -> None:
    """What the Dockerfile copies of the checkout."""
    for line in of("COPY"):
        *sources, target = line.split()
        for source in sources:
            place = folder / target / source if target == "./" else folder / target
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, place)


def test_it_copies_all_that_the_program_imports_and_sends_no_more(tmp_path: Path) -> None:
    copy_image(tmp_path)
    rooms = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    imported = {
        alias.split(".")[0]
        for path in tmp_path.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom | ast.Import)
        for alias in ([node.module or ""] if isinstance(node, ast.ImportFrom) else
                      [name.name for name in node.names])
    }  # fmt: skip
    assert imported & {path.name for path in ROOT.iterdir() if path.is_dir()} == rooms
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    sent = {name[1:] for name in ignored if name.startswith("!")}
    copied = {source for line in of("COPY") for source in line.split()[:-1]}
    assert {re.sub(r"requirements.*", "requirements*.txt", name) for name in copied} == sent


def test_it_runs_as_nobody_special_and_serves_to_all() -> None:
    assert (OWNER, GROUP) == ("1000", "1000") and TEXT.index("USER") < TEXT.index("CMD [")
    assert of("VOLUME") == [ENVIRONMENT["SPECDECODES_HOME"]] == ["/cache"]
    assert of("EXPOSE") == [ENVIRONMENT["GRADIO_SERVER_PORT"]]
    assert ENVIRONMENT["GRADIO_SERVER_NAME"] == "0.0.0.0"


class Container(NamedTuple):
    """A running one."""

    address: str
    environment: dict[str, str]
    image: Path
    volume: Path
    process: "subprocess.Popen[str]"


def may_make_a_root() -> bool:
    tools = all(shutil.which(tool) for tool in ("unshare", "setpriv", "chroot", "mount"))
    made = tools and subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        capture_output=True, check=False,
    ).returncode == 0  # fmt: skip
    return bool(made and hasattr(os, "getuid") and os.getuid() == 0)


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    if not may_make_a_root():
        pytest.skip("needs to be root, with unshare, setpriv and mount")
    image, volume, root = (
        tmp_path_factory.mktemp("container") / name for name in ("image", "volume", "root")
    )
    copy_image(image)
    root.mkdir()
    own_cache(volume)
    save_tiny_model(volume / "model")
    for path in (volume, *volume.rglob("*")):
        os.chown(path, int(OWNER), int(GROUP), follow_symlinks=False)
    port = str(free_port())
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        **ENVIRONMENT,
        "GRADIO_SERVER_PORT": port,
    }
    making = {
        "NEW": str(root), "IMAGE": str(image), "VOLUME": str(volume), "PLACE": PLACE,
        "OWNER": OWNER, "GROUP": GROUP,
    }  # fmt: skip
    within = ["unshare", "--mount", "sh", "-c", MAKE_ROOT, "-"]
    # A checkout or an interpreter in one of the hidden folders cannot be seen from there.
    tried = subprocess.run(
        [*within, COMMAND[0], "-c", "import gradio"],
        env=environment | making, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if tried.returncode:
        pytest.skip(f"no such root can be made here: {tried.stderr.strip()[-200:]}")
    process = subprocess.Popen(
        [*within, *COMMAND, "--target", "/cache/model"],
        env=environment | making,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    printed = ""
    try:
        for line in process.stdout:
            printed += line
            if line.startswith("SpecDecodes is at"):
                break
        else:
            raise AssertionError(f"the page did not start: {printed}")
        yield Container(f"http://127.0.0.1:{port}", environment, image, volume, process)
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def test_it_answers_and_writes_into_its_volume_alone(container: Container) -> None:
    before = {path: path.stat().st_mtime_ns for path in container.image.rglob("*")}
    status = Path(f"/proc/{container.process.pid}/status").read_text(encoding="utf-8")
    assert re.search(rf"^Uid:\s+{OWNER}\s+{OWNER}\s", status, re.M)
    client = PageClient(container.address)
    answer = answer_of(client)
    assert answer["stats"]["num_tokens"] == NUM_TOKENS
    (kept,) = client.http.get("/specdecodes/archive.json").json()["runs"]
    assert kept["run_id"] == answer["run"]
    client.close()
    assert {path: path.stat().st_mtime_ns for path in container.image.rglob("*")} == before
    (trace,) = (container.volume / "runs").rglob("*.jsonl")
    assert trace.stat().st_uid == int(OWNER)
    assert httpx.get(f"{container.address}/healthz").status_code == 200
    health = [sys.executable, *HEALTH[1:]]
    subprocess.run(health, env=container.environment, check=True, timeout=PATIENCE_S)


def test_nobody_writes_into_the_image(container: Container) -> None:
    for place in (PLACE, "/", "/usr", "/etc"):
        root = Path(f"/proc/{container.process.pid}/root")
        with pytest.raises(OSError, match="Read-only file system"):
            (root / place.lstrip("/") / "written").write_text("x")
