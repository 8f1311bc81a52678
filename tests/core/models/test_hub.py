"""Models of the hub, by every name that people write; the hub is a stand-in that notes what it gives."""

import fnmatch
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub.errors import RepositoryNotFoundError

from core.errors import ModelUnavailableError
from core.models.hub import fetch, find_files
from core.models.hub_name import HubName, hub_name
from core.models.size import model_size
from core.models.sources import find_model
from core.runtime.storage import no_progress
from tests.core.models.folders import ids_of, save_module
from tests.tiny_models import tiny_model

SHA = "0123456789abcdef" * 2 + "01234567"


class Hub:
    """One repository, owner/name, with the files of a folder."""

    def __init__(self, content: Path, cache: Path):
        self.content = content
        self.cache = cache / SHA
        self.is_reached = True
        self.revisions: list[str | None] = []
        self.fetched: list[str] = []

    def model_info(self, repo: str, *, revision: str | None, files_metadata: bool) -> Any:
        if not self.is_reached:
            raise ConnectionError("no route to the hub.\nmore")
        if repo != "owner/name":
            raise RepositoryNotFoundError("404 not found.\nmore", response=_answer())
        self.revisions.append(revision)
        siblings = [
            SimpleNamespace(rfilename=file, size=(self.content / file).stat().st_size)
            for file in self.files
        ]
        return SimpleNamespace(sha=SHA, siblings=siblings, gguf={"total": 1234})

    @property
    def files(self) -> list[str]:
        paths = [path for path in self.content.rglob("*") if path.is_file()]
        return [str(path.relative_to(self.content)) for path in paths]

    def snapshot_download(
        self,
        repo: str,
        *,
        revision: str | None,
        allow_patterns: list[str] | None,
        local_files_only: bool,
    ) -> str:
        if not self.is_reached and not self.cache.exists():
            raise FileNotFoundError("nothing is here.\nmore")
        if self.is_reached:
            assert revision == SHA and allow_patterns is not None and not local_files_only
            for file in self.files:
                if any(fnmatch.fnmatch(file, pattern) for pattern in allow_patterns):
                    (self.cache / file).parent.mkdir(parents=True, exist_ok=True)
                    (self.cache / file).write_bytes((self.content / file).read_bytes())
                    self.fetched.append(file)
        return str(self.cache)


def _answer() -> Any:
    import httpx

    return httpx.Response(404, request=httpx.Request("GET", "https://huggingface.co"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub(tmp_path / "content", tmp_path / "cache")
    hub.content.mkdir()
    monkeypatch.setattr(
        "huggingface_hub.HfApi.model_info", lambda self, *a, **k: hub.model_info(*a, **k)
    )
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub.snapshot_download)
    yield hub


def put(hub: Hub, *files: str) -> None:
    for file in files:
        (hub.content / file).parent.mkdir(parents=True, exist_ok=True)
        (hub.content / file).write_bytes(b"content")


def fetched(hub: Hub, name: str) -> list[str]:
    on_hub = hub_name(name)
    assert on_hub is not None
    fetch(find_files(on_hub))
    return sorted(hub.fetched)


REPO = "owner/name"
ADDRESS = f"https://huggingface.co/{REPO}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (REPO, HubName(REPO)),
        (f"{REPO}@v1.0", HubName(REPO, "v1.0")),
        (f"{REPO}@refs/pr/3", HubName(REPO, "refs/pr/3")),
        (f"{REPO}:Q4_K_M", HubName(REPO, None, "Q4_K_M")),
        (f"{REPO}@{SHA}:IQ3_XXS", HubName(REPO, SHA, "IQ3_XXS")),
        (f"{REPO}/sub/x-Q8_0.gguf", HubName(REPO, file="sub/x-Q8_0.gguf")),
        (ADDRESS, HubName(REPO)),
        (f"{ADDRESS}/", HubName(REPO)),
        (f"{ADDRESS}?library=transformers#usage", HubName(REPO)),
        (f"{ADDRESS}/tree/main", HubName(REPO, "main")),
        (f"{ADDRESS}/tree/refs%2Fpr%2F3", HubName(REPO, "refs/pr/3")),
        (f"{ADDRESS}/blob/main/a.gguf", HubName(REPO, "main", None, "a.gguf")),
        (f"{ADDRESS}/resolve/v2/sub/a.gguf?download=true", HubName(REPO, "v2", None, "sub/a.gguf")),
        (f"{ADDRESS}/blob/main/config.json", HubName(REPO, "main")),
        (f"hf.co/{REPO}:Q4_K_M", HubName(REPO, None, "Q4_K_M")),
        (f"https://hf.co/{REPO}", HubName(REPO)),
        ("nothing", None),
        ("a/b/c", None),
        ("folder/model.gguf", None),
        ("owner/name@", None),
        ("owner/name:", None),
    ],
)  # fmt: skip
def test_a_name_says_what_is_meant(name: str, expected: HubName | None) -> None:
    assert hub_name(name) == expected


@pytest.mark.parametrize(
    "address",
    [
        "https://huggingface.co", "https://huggingface.co/owner", "https://example.org/owner/name",
        "https://huggingface.co/datasets/owner/name", f"{ADDRESS}/discussions/1", f"{ADDRESS}/tree",
        "https://[", "http://huggingface.co/spaces/owner/name",
    ],
)  # fmt: skip
def test_an_address_that_is_no_models_gets_a_sentence(address: str) -> None:
    with pytest.raises(
        ModelUnavailableError, match=r"no page of a model on the hub; give one such"
    ):
        find_model(address, no_progress)


def test_only_the_files_that_are_read_are_fetched(hub: Hub) -> None:
    put(hub, "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
    put(hub, "consolidated.safetensors", "original/params.json", "onnx/model.onnx", "README.md")
    put(hub, "pytorch_model.bin", "model-Q4_0.gguf")
    (hub.content / "config.json").write_text("{}")
    expected = ["config.json", "config.json", "model.safetensors", "tokenizer.json"]
    assert fetched(hub, f"{REPO}@v1") == sorted([*expected, "tokenizer_config.json"])
    assert hub.revisions == ["v1"]


def test_shards_are_fetched_by_their_index(hub: Hub) -> None:
    save_module(hub.content, tiny_model("llama"), max_shard_size="150KB")
    put(hub, "other.safetensors")
    shards = sorted(path.name for path in hub.content.glob("model-*.safetensors"))
    found = fetched(hub, REPO)
    assert len(shards) > 1 and set(shards) <= set(found) and "other.safetensors" not in found


def test_a_model_of_the_hub_is_loaded_again_without_network(hub: Hub) -> None:
    save_module(hub.content, tiny_model("llama"))
    source = find_model(f"{REPO}@main", no_progress)
    assert (source.kind, source.note) == ("hub", f"revision {SHA[:12]}")
    expected = ids_of(str(hub.content))
    hub.is_reached = False
    assert ids_of(f"{ADDRESS}/tree/main") == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (f"{REPO}:Q8_0", ["a-Q8_0.gguf"]),
        (f"{REPO}:q4_k_m", ["a.Q4_K_M.gguf"]),
        (f"{REPO}:Q4_K", ["a-Q4_K.gguf"]),
        (f"{REPO}:BF16", ["BF16/a-BF16-00001-of-00002.gguf", "BF16/a-BF16-00002-of-00002.gguf"]),
        (REPO, ["a.Q4_K_M.gguf"]),
        (f"{ADDRESS}/blob/main/a-IQ4_XS.gguf", ["a-IQ4_XS.gguf"]),
        (f"{REPO}/a-Q4_K.gguf", ["a-Q4_K.gguf"]),
    ],
)  # fmt: skip
def test_the_gguf_file_that_is_meant_is_fetched(hub: Hub, name: str, expected: list[str]) -> None:
    put(hub, "a-Q8_0.gguf", "a.Q4_K_M.gguf", "a-Q4_K.gguf", "a-IQ4_XS.gguf", "mmproj-a-BF16.gguf")
    put(hub, *(f"BF16/a-BF16-0000{number}-of-00002.gguf" for number in (1, 2)), "config.json")
    (hub.content / "config.json").write_text("{}")
    assert [file for file in fetched(hub, name) if file != "config.json"] == expected


def test_the_only_gguf_file_is_taken(hub: Hub) -> None:
    put(hub, "a-Q5_0.gguf", "mmproj-a.gguf", "README.md")
    assert fetched(hub, REPO) == ["a-Q5_0.gguf"]


@pytest.mark.parametrize("name", [f"{REPO}:Q4_XS", f"{REPO}:Q6_K", REPO, f"{REPO}/b.gguf"])
def test_a_gguf_file_that_is_not_there_gets_a_sentence_with_those_that_are(
    hub: Hub, name: str
) -> None:
    put(hub, "a-Q8_0.gguf", "a-IQ4_XS.gguf")
    with pytest.raises(ModelUnavailableError, match=r"a-IQ4_XS\.gguf, a-Q8_0\.gguf; give a quant"):
        find_model(name, no_progress)


def test_a_repository_without_weights_gets_a_sentence(hub: Hub) -> None:
    put(hub, "config.json", "pytorch_model.bin")
    (hub.content / "config.json").write_text("{}")
    with pytest.raises(
        ModelUnavailableError, match=r"owner/name cannot be loaded: .*pytorch_model"
    ):
        find_model(REPO, no_progress)


@pytest.mark.parametrize("name", ["owner/other", "https://huggingface.co/owner/other"])
def test_a_repository_that_is_not_there_gets_a_sentence(hub: Hub, name: str) -> None:
    with pytest.raises(
        ModelUnavailableError, match=r"gave no owner/other \(404 not found\); check"
    ):
        find_model(name, no_progress)


def test_a_hub_that_cannot_be_reached_gets_a_sentence(hub: Hub) -> None:
    hub.is_reached = False
    with pytest.raises(
        ModelUnavailableError,
        match=r"gave no owner/name of the revision v1 \(no route to the hub\)",
    ):
        find_model(f"{REPO}@v1", no_progress)


def test_the_size_of_a_gguf_file_is_known_before_it_is_fetched(hub: Hub) -> None:
    put(hub, *(f"a-Q8_0-0000{number}-of-00002.gguf" for number in (1, 2)), "a-Q2_K.gguf")
    assert model_size(f"{REPO}:Q8_0") == (1234, 14)
    assert hub.fetched == []


def test_the_size_of_what_the_hub_does_not_tell_gets_a_sentence(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_module(hub.content, tiny_model("llama"))

    def refuse(name: str, revision: str) -> None:
        raise ConnectionError("no route to the hub.\nmore")

    monkeypatch.setattr("huggingface_hub.get_safetensors_metadata", refuse)
    with pytest.raises(ModelUnavailableError, match=r"owner/name \(no route to the hub\); check"):
        model_size(REPO)
