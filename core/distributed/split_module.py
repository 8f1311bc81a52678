"""A target whose layers are split over processes by transformers' tensor parallelism.

torchrun starts the processes; every one holds a part of each layer's heads and of its feed-forward,
and with it the same part of the KV cache (Megatron-LM, Shoeybi et al. 2019).
"""

import atexit
from contextlib import suppress
from typing import Any

import torch

from core.backends.transformers.twin import found_for
from core.distributed.orders import Channel, Order
from core.distributed.ranks import join_ranks
from core.distributed.role import num_ranks
from core.errors import InvalidSettingError, ModelUnavailableError
from core.models.folder_check import check_folder
from core.models.quiet import quiet_transformers
from core.models.sources import ModelSource
from core.models.transformers_loading import read_weights


def read_split_module(source: ModelSource, dtype: torch.dtype, count: int) -> Any:
    """This process's part of the module, with all its layers; called in every process at once.

    Raises InvalidSettingError where the heads cannot be shared out, and ModelUnavailableError.
    """
    from transformers import AutoConfig, DistributedConfig

    quiet_transformers()
    check_folder(source.name, source.folder)
    config = AutoConfig.from_pretrained(source.folder)
    if found_for(config).way != "trees":
        raise InvalidSettingError(
            f"{source.name} is {config.model_type}, whose layers keep a state that one process holds; "
            "start one process."
        )
    _check_divides(source.name, config.get_text_config(), count)
    if not getattr(config.get_text_config(), "base_model_tp_plan", None):
        raise InvalidSettingError(
            f"{source.name} is {config.model_type}, for which transformers has no plan to split it; "
            "give a Llama-shaped target, or start one process."
        )
    return read_weights(source, dtype=dtype, distributed_config=DistributedConfig(tp_plan="auto"))


def _check_divides(name: str, config: Any, count: int) -> None:
    num_heads = config.num_attention_heads
    num_kv_heads = getattr(config, "num_key_value_heads", None) or num_heads
    if num_heads % count or num_kv_heads % count:
        allowed = [
            str(number)
            for number in range(1, num_kv_heads + 1)
            if num_kv_heads % number == 0 and num_heads % number == 0
        ]
        raise InvalidSettingError(
            f"{name} has {num_heads} heads and {num_kv_heads} key/value heads, which {count} "
            f"processes cannot share; start {' or '.join(allowed)}."
        )


_channel: Channel | None = None


def open_channel(device: str) -> Channel:
    """The channel of this process, made on the first call; all processes must come here."""
    global _channel
    if _channel is None:
        join_ranks(device)
        _channel = Channel()
        atexit.register(_end)
    return _channel


def _end() -> None:
    """The others end with the first process."""
    if _channel is not None:
        with suppress(RuntimeError):  # they are gone already, or go before this is through
            _channel.send(Order.END)


class SplitModule:
    """A module split over all processes, in the first of them."""

    def __init__(self, source: ModelSource, dtype: torch.dtype, device: str):
        """Loads it everywhere; raises what `read_split_module` raises, from any process."""
        self.channel = open_channel(device)
        self.channel.send(Order.LOAD)
        self.channel.share_objects(source, dtype)
        error: Exception | None = None
        try:
            self.module: Any = read_split_module(source, dtype, num_ranks())
        except Exception as raised:
            error = raised
        told = self.channel.gather("" if error is None else str(error))
        if error is not None:
            raise error
        for number, text in enumerate(told):
            if text:
                raise ModelUnavailableError(f"process {number} could not load its part: {text}")
