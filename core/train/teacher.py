"""The target of a training, as the options of its command name it."""

import argparse
from typing import TYPE_CHECKING

from core.config import DEFAULT_TARGET
from core.errors import InvalidSettingError
from core.runtime.triton_cache import provide_triton_cache

if TYPE_CHECKING:
    from core.backends.torch.forward import TorchForward
    from core.loading.loading import LoadedModel


def add_teacher_options(parser: argparse.ArgumentParser, what_for: str) -> None:
    """Adds --target, --device and --dtype."""
    parser.add_argument("--target", default=DEFAULT_TARGET, help=what_for)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        help="number format of the target, and of the products of a training; bfloat16 where the "
        "device has instructions for it",
    )


def add_layer_options(parser: argparse.ArgumentParser) -> None:
    """Adds --feature-layers, --width and --draft-vocab, of what drafts from the target's states."""
    parser.add_argument(
        "--feature-layers",
        help="hidden states to fuse, in front of these layers; commas (default: low, middle, high)",
    )
    parser.add_argument(
        "--width", type=int, default=0, help="of the feed-forward; 0 takes the target's"
    )
    parser.add_argument("--draft-vocab", type=int, default=8192, help="ids that can be drafted")


def load_teacher(options: argparse.Namespace) -> "LoadedModel":
    """The target in dense weights; raises as `load_model` does."""
    from core.loading.loading import load_model

    provide_triton_cache()
    return load_model(
        options.target, dtype=options.dtype, device=options.device, weights="full", compile=False
    )


def own_forward(target: "LoadedModel") -> "TorchForward":
    """The eager forward of a target.

    Raises InvalidSettingError for one that only transformers' module computes.
    """
    from core.backends.torch.forward import TorchForward
    from core.families.description import reason_against
    from core.loading.forward import runner_of

    forward = runner_of(target).forward
    if not isinstance(forward, TorchForward):
        reason = reason_against(target.module.config.to_dict())
        raise InvalidSettingError(f"drafters cannot be trained for this target: {reason}.")
    return forward


def feature_layers(text: str | None, num_layers: int) -> tuple[int, ...]:
    """What --feature-layers says; raises InvalidSettingError."""
    from core.drafters.eagle_head import default_feature_layers

    if text is None:
        return default_feature_layers(num_layers)
    try:
        layers = tuple(int(word) for word in text.split(","))
    except ValueError:
        layers = (-1,)
    if not all(0 <= layer <= num_layers for layer in layers):
        raise InvalidSettingError(
            f"--feature-layers is {text!r}; give numbers from 0 to {num_layers} with commas."
        )
    return layers
