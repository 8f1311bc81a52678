"""Writes what a GGUF file of one of the families says as a folder in transformers' format."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from core.families.description import Description
from core.families.tensors import (
    LayerTensors,
    Part,
    StackedPart,
    Vector,
    embedding,
    expected_shapes,
    expert_part,
    final_norm,
    head,
    layer_tensors,
)
from core.models.gguf_model import GgufModel
from core.models.gguf_tensors import GgufNumbers
from core.models.weight_files import CONFIG, INDEX, SINGLE
from core.runtime.storage import Progress
from core.runtime.strict_json import dumps

_MOST_SHARD_BYTES = 4 << 30


def write_folder(model: GgufModel, folder: Path, progress: Progress) -> None:
    """Configuration and weights of a file that has been read as a `Description`."""
    assert model.model_config is not None and model.layout is not None, "the family is known"
    (folder / CONFIG).write_text(dumps(model.config, indent=1), encoding="utf-8")
    numbers = GgufNumbers(model.file.tensors, expected_shapes(model.layout))
    weights = _weights(model.model_config.described, model.layout, numbers)
    _write_weights(weights, folder, numbers.num_bytes, progress)


def _weights(
    described: Description, layout: Description, numbers: Mapping[str, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Each weight by its name in folders."""
    yield from _rows(embedding(described), embedding(layout), numbers)
    if not described.is_tied:
        yield from _rows(head(described), head(layout), numbers)
    yield from _vector(final_norm(described), final_norm(layout), numbers)
    for index in range(described.architecture.num_layers):
        yield from layer_weights(described, layout, index, numbers)


def layer_weights(
    described: Description, layout: Description, index: int, numbers: Mapping[str, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor]]:
    """A layer's weights by their names in folders; `layout` is how the numbers are laid."""
    wanted, found = layer_tensors(described, index), layer_tensors(layout, index)
    for part, vector in found.vectors.items():
        yield from _vector(wanted.vectors[part], vector, numbers)
    for part, linear in found.linears.items():
        yield from _rows(wanted.linears[part], linear, numbers)
    for part, stack in found.stacked.items():
        yield from _experts(wanted, part, stack, numbers)


def _vector(
    wanted: Vector, found: Vector, numbers: Mapping[str, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor]]:
    for name, found_name in zip(wanted.names, found.names, strict=True):
        values = _reordered(numbers[found_name], found.order, wanted.order)
        if wanted.offset != found.offset and name == wanted.name:
            values = values.float() - (wanted.offset - found.offset)
        yield name, values


def _rows(
    wanted: Part, found: Part, numbers: Mapping[str, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights and biases of a layer, whose rows may be other tensors there than here."""
    for kind in ("weight", "bias") if found.has_bias else ("weight",):
        rows = torch.cat([numbers[f"{name}.{kind}"] for name in found.names])
        pieces = torch.split(_reordered(rows, found.order, wanted.order), list(wanted.sizes))
        for name, piece in zip(wanted.names, pieces, strict=True):
            yield f"{name}.{kind}", piece


def _experts(
    wanted: LayerTensors, part: str, found: StackedPart, numbers: Mapping[str, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor]]:
    """A part of all experts, which folders have in one tensor or expert by expert."""
    weights = torch.cat([numbers[name] for name in found.names], dim=1)
    if part not in wanted.stacked:
        for expert, rows in enumerate(weights):
            linear = wanted.linears[expert_part(expert, part)]
            pieces = torch.split(rows, list(linear.sizes))
            for name, piece in zip(linear.names, pieces, strict=True):
                yield f"{name}.weight", piece
        return
    stack = wanted.stacked[part]
    turned = _reordered(weights.transpose(0, 1), None, stack.order)
    yield stack.names[0], turned.permute(1, 2, 0) if stack.is_turned else turned.transpose(0, 1)
    if found.bias_names:
        biases = torch.cat([numbers[name] for name in found.bias_names], dim=1)
        yield stack.bias_names[0], _reordered(biases.T, None, stack.order).T


def _reordered(
    rows: torch.Tensor,  # [rows, ...]
    found: tuple[int, ...] | None,
    wanted: tuple[int, ...] | None,
) -> torch.Tensor:
    """Rows that `found` brings into our own order, laid so that `wanted` does."""
    if found == wanted:
        return rows
    if found is not None:
        rows = rows[list(found)]
    if wanted is not None:
        rows = rows[torch.argsort(torch.tensor(wanted))]
    return rows


def _write_weights(
    weights: Iterable[tuple[str, torch.Tensor]], folder: Path, num_bytes: int, progress: Progress
) -> None:
    """One file, or shards of a size that memory holds and their index."""
    done, shard_bytes = 0, 0
    shards: list[Path] = []
    shard: dict[str, torch.Tensor] = {}
    places: dict[str, int] = {}

    def write() -> None:
        shards.append(folder / f"{len(shards)}.safetensors")
        save_file(shard, shards[-1], {"format": "pt"})
        shard.clear()

    for name, numbers in weights:
        if shard_bytes >= _MOST_SHARD_BYTES:
            write()
            shard_bytes = 0
        # Pieces of one tensor share its memory, which no file may.
        shard[name] = numbers.contiguous().clone()
        places[name] = len(shards)
        shard_bytes += numbers.nbytes
        done += numbers.nbytes
        progress("converting", done, num_bytes)
    write()
    if len(shards) == 1:
        shards[0].rename(folder / SINGLE)
        return
    names = [
        f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        for number in range(1, len(shards) + 1)
    ]
    for path, name in zip(shards, names, strict=True):
        path.rename(folder / name)
    weight_map = {name: names[place] for name, place in places.items()}
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / INDEX).write_text(dumps(index, indent=1), encoding="utf-8")
