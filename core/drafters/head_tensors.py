"""The tensors of a published head or block drafter, taken by name with their sizes checked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from core.backends.cpu.linear import CpuLinear
from core.backends.torch.linear import DenseLinear, Linear
from core.backends.torch.weights import LayerStack, LayerWeights
from core.drafters.eagle_head import PICKLED, read_parts
from core.errors import DrafterUnavailableError
from core.families.description import Description
from core.families.tensors import layer_tensors
from core.loading.loading import LoadedModel
from core.loading.weight_loading import Placement, Reader
from core.models.shipped import shipped_folder
from core.models.weight_files import read_json_object

# Of training, or computed anew.
_NOT_READ = ("t2d", "verifier_lm_head.weight", "verifier_norm.weight")
_NOT_READ_ENDS = ("rotary_emb.inv_freq",)
_QUERIES = ("q", "k", "v")


@dataclass(frozen=True, slots=True)
class HeadFolder:
    """A folder with a drafter for one target, and how its refusals begin."""

    what: str
    path: Path
    target: LoadedModel

    def config(self) -> dict[str, Any]:
        """Its config.json; raises DrafterUnavailableError where there is none, and for one of another
        target."""
        try:
            config = read_json_object(self.path / "config.json")
        except OSError as error:
            raise DrafterUnavailableError(
                f"{self.path} has no config.json; give the folder of a whole {self.what}."
            ) from error
        except (ValueError, RecursionError) as error:
            raise DrafterUnavailableError(
                f"the {self.what} in {self.path.name} cannot be read: {error}; give a whole folder."
            ) from error
        if config.get("target_sha256") not in (None, self.target.source_key):
            raise DrafterUnavailableError(
                f"the {self.what} in {self.path.name} was trained for another target than "
                f"{self.target.identity.name}; give one of this target."
            )
        if (self.path / "hf_quant_config.json").exists():
            raise self.refused("is quantized; give one in 16 or 32 bits")
        return config

    def tensors(self) -> dict[str, torch.Tensor]:
        """All of them; raises DrafterUnavailableError for a folder without the head's first layer."""
        tensors = self.read()
        if not any(plain_name(name) == "fc.weight" for name in tensors):
            raise DrafterUnavailableError(
                f"{self.path} holds no {self.what}; give a folder with its safetensors files or "
                "pytorch_model.bin."
            )
        return tensors

    def read(
        self,
        pickled: Sequence[str] = PICKLED,
        wanted: Callable[[str], bool] = lambda name: True,
    ) -> dict[str, torch.Tensor]:
        """See `core.drafters.eagle_head.read_parts`."""
        return read_parts(self.path, pickled, wanted)

    def refused(self, reason: str) -> DrafterUnavailableError:
        """The error of a reason, which is the rest of a sentence about the head."""
        return DrafterUnavailableError(
            f"the {self.what} in {self.path.name} {reason}; give another."
        )

    def misfit(self, name: str, got: str) -> DrafterUnavailableError:
        """The error of a tensor or setting that does not fit the target."""
        return DrafterUnavailableError(
            f"the {self.what} in {self.path.name} does not fit {self.target.identity.name}: "
            f"{name} has {got}; give the one of this target."
        )


class Published(NamedTuple):
    """A kind of drafter of which one is shipped for some targets."""

    what: str
    shipped: str
    """Name and folder of what is shipped."""
    command: str
    """Which trains another."""
    forms: str = "folder"
    """In which others come."""
    is_file: Callable[[Path], bool] = lambda path: False
    """Whether a path is one that is no folder."""


def named_or_shipped(name: str | None, target: LoadedModel, kind: Published) -> Path:
    """What `--draft` names, else what is shipped for the target; raises DrafterUnavailableError where
    there is none."""
    if name is not None and name != kind.shipped:
        path = Path(name).expanduser()
        if path.is_dir() or kind.is_file(path):
            return path
        raise DrafterUnavailableError(
            f"there is no {kind.forms} {name!r} with {kind.what}; give one, or leave --draft out where "
            "one is shipped for the target."
        )
    folder = shipped_folder(target.source_key, kind.shipped)
    if folder is None:
        raise DrafterUnavailableError(
            f"no {kind.what.split(maxsplit=1)[1]} is shipped for {target.identity.name}; give --draft a "
            f"{kind.forms} with one, or train it with {kind.command}."
        )
    return folder


def named_folder(name: str | None, what: str) -> Path:
    """The folder that `--draft` names; raises DrafterUnavailableError where there is none."""
    folder = None if name is None else Path(name).expanduser()
    if folder is None or not folder.is_dir():
        got = f"no {what} come with the program" if name is None else f"there is no folder {name!r}"
        raise DrafterUnavailableError(f"{got}; give --draft a folder with {what}.")
    return folder


def plain_name(name: str) -> str:
    """A tensor's name with the prefixes taken off that some writers put on."""
    name = name.removeprefix("model.").replace("midlayer.", "layers.0.", 1)
    for index, place in enumerate(("low", "mid", "high")):
        name = name.replace(f"aux_norm_{place}.", f"fc_norm.{index}.")
    return name


class HeadTensors:
    """Gives tensors in the target's dtype on its device; what nobody takes is refused."""

    def __init__(self, folder: HeadFolder, tensors: Mapping[str, torch.Tensor]):
        self._folder = folder
        self._target = folder.target
        self._left: dict[str, torch.Tensor] = {}
        self.num_bytes = 0
        """Of what was taken."""
        for name, tensor in tensors.items():
            plain = plain_name(name)
            if plain in self._left:
                raise folder.refused(f"holds {plain} twice")
            self._left[plain] = tensor

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, *sizes: int | None) -> torch.Tensor:
        """A tensor of these sizes, None for any."""
        tensor = self._left.pop(name, None)
        if tensor is None:
            raise self._folder.misfit(name, "nothing")
        fits = tensor.dim() == len(sizes) and all(
            size in (None, actual) for size, actual in zip(sizes, tensor.shape, strict=True)
        )
        if not fits:
            raise self._folder.misfit(name, f"sizes {tuple(tensor.shape)}")
        is_number = tensor.dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
        if not is_number and name != "d2t":
            raise self._folder.refused(f"holds {name} as {tensor.dtype}, not in 16 or 32 bits")
        dtype = self._target.row_dtype if is_number else tensor.dtype
        placed = tensor.to(self._target.device, dtype)
        self.num_bytes += placed.nbytes
        return placed

    def linear(self, name: str, size: int, width: int) -> DenseLinear:
        """A layer with a bias where there is one."""
        weight = self.take(f"{name}.weight", size, width)
        has_bias = f"{name}.bias" in self._left
        return DenseLinear(weight, self.take(f"{name}.bias", size) if has_bias else None)

    def layers(
        self, described: Description, first_width: int, *, first_is_normed: bool = True
    ) -> tuple[LayerWeights, ...]:
        """The decoder layers; the first reads rows of another width, with or without a norm."""
        described = self._with_biases(described)
        layers = []
        for index in range(described.architecture.num_layers):
            own = described
            if index == 0 and not first_is_normed:
                norms = dict(described.family.norms)
                del norms["input_norm"]
                own = described._replace(family=described.family._replace(norms=norms))
            names = layer_tensors(own, index)
            taken = {
                name: self.take(plain_name(name), vector.size)
                for vector in names.vectors.values()
                for name in vector.names
            }
            for part, linear in names.linears.items():
                width = first_width if index == 0 and part == "qkv" else linear.width
                for name, size in zip(linear.names, linear.sizes, strict=True):
                    taken[f"{name}.weight"] = self.take(plain_name(f"{name}.weight"), size, width)
                    if linear.has_bias:
                        taken[f"{name}.bias"] = self.take(plain_name(f"{name}.bias"), size)
            place = Placement(self._target.row_dtype, self._target.device, None)
            layers.append(Reader(taken, place, is_mapped=False).layer(own, index))
        return tuple(layers)

    def output(
        self,
        hidden: int,
        draft_vocab_size: int | None,
        target: LayerStack,
        vocab_size: int,
        *,
        may_cut: bool = False,
    ) -> tuple[Linear, torch.Tensor | None]:
        """The output layer, the target's where there is none, and the target's id of each row.

        With `may_cut` ids without an output layer name rows of the target's.
        """
        if "lm_head.weight" not in self._left:
            is_cut = "d2t" in self._left
            if hidden != target.final_norm.shape[-1] or (is_cut and not may_cut):
                raise self._folder.misfit("lm_head.weight", "nothing")
            if not is_cut:
                return target.head, None
            target_ids = self._target_ids(draft_vocab_size, vocab_size)
            if not isinstance(target.head, DenseLinear | CpuLinear):
                raise self._folder.refused(
                    "reads rows of its target's output layer, which are packed"
                )
            return DenseLinear(target.head.rows(target_ids)), target_ids
        rows = self.take("lm_head.weight", None, hidden)
        if draft_vocab_size not in (None, len(rows)):
            got = f"{len(rows)} rows and draft_vocab_size {draft_vocab_size}"
            raise self._folder.misfit("lm_head.weight", got)
        if "d2t" not in self._left:
            if len(rows) != vocab_size:
                raise self._folder.misfit("lm_head.weight", f"{len(rows)} outputs and no d2t")
            return DenseLinear(rows), None
        return DenseLinear(rows), self._target_ids(len(rows), vocab_size)

    def _target_ids(self, count: int | None, vocab_size: int) -> torch.Tensor:
        """The target's id of each draft id  # [count]."""
        offsets = self.take("d2t", count).long()
        target_ids = offsets + torch.arange(len(offsets), device=offsets.device)
        if int(target_ids.min()) < 0 or int(target_ids.max()) >= vocab_size:
            raise self._folder.misfit("d2t", "ids outside of the target's vocabulary")
        if len(set(target_ids.tolist())) < len(target_ids):
            raise self._folder.misfit("d2t", "two rows for one id of the target")
        return target_ids

    def check_all_taken(self) -> None:
        """Raises DrafterUnavailableError that names a tensor which may change what is computed."""
        for name in self._left:
            if name not in _NOT_READ and not name.endswith(_NOT_READ_ENDS):
                raise self._folder.refused(f"holds {name}, which is not known here")

    def _with_biases(self, described: Description) -> Description:
        """With the biases that the first layer has, of which config.json tells in many ways."""
        prefix = described.family.layer.format(0)
        names = {**described.family.attention, **described.family.feed_forward}
        biases = {
            part for part, name in names.items() if plain_name(f"{prefix}{name}.bias") in self._left
        }
        if biases & set(_QUERIES):
            biases |= set(_QUERIES)  # the one that lacks is told by its name
        return described._replace(biases=frozenset(biases))
