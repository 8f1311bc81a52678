"""Every family's table against transformers' module: logits over trees, and the texts of all modes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from core.backends.cpu.library import load_kernels
from core.backends.runner import ModelRunner
from core.backends.torch.invariant import invariant_sibling
from core.config import RunConfig
from core.decoding.run_start import Prompt
from core.engine import Engine
from core.families.registry import FAMILIES
from core.loading.forward import runner_of
from core.loading.loading import LoadedModel, load_model
from core.runtime.storage import no_progress
from core.trace.file import Trace
from core.trees.tree import DraftTree
from tests.core.families.family_configs import CONFIGS, DISTINCT, SPARSE, random_module
from tests.core.models.folders import PROMPT, change_config, oracle_ids, save_module
from tests.eagle_heads import eagle3_head
from tests.tiny_folder import byte_tokenizer

# Parents of drafted nodes, and a path to keep that is no beginning of the rows.
TREES: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((0, 0, 2, 2, 3), (2, 4)), ((0, 0, 2), (2,)), ((), ()), ((0, 1, 2, 3, 4, 5, 6, 7, 8), (1, 2)),
)  # fmt: skip
_FIXED = {"fixed_size": True}
MODES: dict[str, dict[str, Any]] = {
    "ngram": _FIXED, "share-sd": _FIXED, "layer-skip": {**_FIXED, "layers": ("0",)}, "hybrid": {},
}  # fmt: skip
# Other orders of summation change float32 by a few millionths.
TOLERANCE = 3e-5


class Case(NamedTuple):
    name: str
    module: Any
    folder: str


@pytest.fixture(scope="module", params=CONFIGS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    module = random_module(request.param)
    folder = save_module(tmp_path_factory.mktemp("family"), module)
    return Case(request.param, module, folder)


@pytest.fixture(scope="module", params=["eager", "kernels"])
def model(request: pytest.FixtureRequest, case: Case) -> LoadedModel:
    compile = request.param == "kernels"
    if compile:
        load_kernels(no_progress)
    return load_model(case.folder, dtype="float32", compile=compile)


in_all_its_forms = pytest.mark.parametrize("case", DISTINCT, indirect=True)


def rows_of_trees(
    runner: ModelRunner, token_ids: Sequence[int], num_trees: int = len(TREES)
) -> Iterator[tuple[Any, list[int]]]:
    """Logits of each tree row behind a prompt, and the tokens up to it."""
    committed = list(token_ids[:29])
    runner.begin(list(token_ids[:30]), 64, bool)
    fresh = iter(token_ids[29:])
    for parents, path in TREES[:num_trees]:
        tree = DraftTree(next(fresh))
        for parent in parents:
            tree.add(parent, next(fresh), 1.0)
        rows = runner.tree_forward(tree).clone()
        for node, row in enumerate(rows):
            yield row, [*committed, tree.root_token_id, *tree.path_token_ids(node)]
        runner.commit(list(path))
        committed += [tree.root_token_id, *(tree.token_ids[node] for node in path)]


def random_tokens(count: int = 64) -> list[int]:
    torch.manual_seed(1)
    return list(torch.randint(0, 192, (count,)).tolist())


def ids_of(engine: Engine, mode: str, **settings: Any) -> list[int]:
    values = {"drafter": MODES.get(mode, {}), **settings}
    config = RunConfig.from_dict({"mode": mode, "max_new_tokens": 24, **values})
    prompt = Prompt(PROMPT, byte_tokenizer()(PROMPT).input_ids)
    return Trace(list(engine.run(prompt, config))).token_ids


def test_every_family_is_tried() -> None:
    tried = {config.model_type for config in CONFIGS.values()}
    assert set(FAMILIES) - tried == {"mimo"}  # which transformers has not: tests/formats tries it


@torch.inference_mode()
def test_trees_are_computed_as_the_module_computes_the_same_tokens_in_a_row(
    case: Case, model: LoadedModel
) -> None:
    runner = runner_of(model)
    is_compiled = model.kernels is not None and case.name not in SPARSE
    assert runner.forward.name == ("native" if is_compiled else "lean")
    for row, token_ids in rows_of_trees(runner, random_tokens()):
        expected = case.module(input_ids=torch.tensor([token_ids]), use_cache=False).logits[0, -1]
        assert float((row - expected).norm() / expected.norm()) < TOLERANCE


@in_all_its_forms
def test_a_row_has_the_same_bits_in_a_tree_and_alone(case: Case, model: LoadedModel) -> None:
    runner = runner_of(model)
    if runner.forward.name != "native":
        runner = invariant_sibling(runner)
    alone = runner.sibling()
    for row, token_ids in rows_of_trees(runner, random_tokens(), 2):
        alone.begin(token_ids, 64, bool)
        assert torch.equal(alone.tree_forward(DraftTree(token_ids[-1]))[0], row)
        alone.forget()


def check_modes(case: Case, model: LoadedModel, modes: Sequence[str]) -> None:
    """Every mode's greedy text is that of transformers, and all draw the same."""
    engine = Engine(model)
    drawn = {"sampling": {"do_sample": True, "temperature": 1.0, "seed": 3}}
    expected, expected_drawn = oracle_ids(case.folder), ids_of(engine, "naive", **drawn)
    assert ids_of(engine, "naive") == expected
    for mode in modes:
        assert ids_of(engine, mode) == expected, mode
        assert ids_of(engine, mode, **drawn) == expected_drawn, mode


@in_all_its_forms
def test_drafts_change_no_text(case: Case) -> None:
    check_modes(case, load_model(case.folder, dtype="float32"), ("ngram", "share-sd"))


@in_all_its_forms
def test_a_head_drafts_from_the_states_of_every_family(case: Case, tmp_path: Path) -> None:
    engine = Engine(load_model(case.folder, dtype="float32"))
    head = eagle3_head(tmp_path / "head", case.module.config)
    drafted = {"draft": head, "drafter": {"num_nodes": 6, "depth": 3, "fixed_size": True}}
    assert ids_of(engine, "sd-eagle", **drafted) == oracle_ids(case.folder)


@pytest.mark.slow
def test_all_modes_write_one_text(case: Case, model: LoadedModel) -> None:
    check_modes(case, model, tuple(MODES))


@in_all_its_forms
def test_sums_that_do_not_hang_on_the_shape_write_the_same_text(case: Case) -> None:
    engine = Engine(load_model(case.folder, dtype="float32", compile=False))
    assert ids_of(engine, "ngram", invariant=True) == ids_of(engine, "naive", invariant=True)


@in_all_its_forms
def test_a_folder_of_16_bit_weights_is_read_as_it_is(case: Case, tmp_path: Path) -> None:
    module = random_module(case.name).bfloat16()
    folder = save_module(tmp_path, module)
    runner = runner_of(load_model(folder, dtype="bfloat16", compile=False))
    token_ids = random_tokens(30)
    runner.begin(token_ids, 64, bool)
    row = runner.tree_forward(DraftTree(token_ids[-1]))[0]
    given = torch.tensor([token_ids])
    with torch.inference_mode():
        theirs = module(input_ids=given, use_cache=False).logits[0, -1].float()
        exact = module.float()(input_ids=given, use_cache=False).logits[0, -1]
    assert (row - exact).norm() < 3 * (theirs - exact).norm() + 0.01 * exact.norm()


def test_experts_in_four_bits_are_read_as_transformers_unpacks_them(tmp_path: Path) -> None:
    """Blocks of 32 weights beside the exponents of their scales, as gpt-oss is published."""
    module = random_module("gpt_oss")
    save_module(tmp_path, module)
    packed: dict[str, torch.Tensor] = {}
    torch.manual_seed(2)
    for name, tensor in load_file(tmp_path / "model.safetensors").items():
        if not name.endswith(("gate_up_proj", "down_proj")):
            packed[name] = tensor
            continue
        experts, width, size = tensor.shape
        blocks = torch.randint(0, 256, (experts, size, width // 32, 16), dtype=torch.uint8)
        scales = torch.randint(122, 126, (experts, size, width // 32), dtype=torch.uint8)
        packed |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        expected = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
        module.get_parameter(name).copy_(expected)
    save_file(packed, tmp_path / "model.safetensors", {"format": "pt"})
    change_config(tmp_path, quantization_config={"quant_method": "mxfp4"})
    runner = runner_of(load_model(str(tmp_path), dtype="float32"))
    for row, token_ids in rows_of_trees(runner, random_tokens(), 1):
        with torch.inference_mode():
            logits = module(input_ids=torch.tensor([token_ids]), use_cache=False).logits[0, -1]
        assert float((row - logits).norm() / logits.norm()) < TOLERANCE
