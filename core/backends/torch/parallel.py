"""Our own forward over several devices of one process, each with a part of every layer.

Embedding, decisions and what drafters read are the first device's.
"""

from collections.abc import Callable, Hashable, Sequence

import torch

from core.backends.kv_cache import TreeCache
from core.backends.row_block import RowBlock, joined_positions, joined_token_ids
from core.backends.runner import ModelRunner
from core.backends.torch.arithmetic import added, bounded_logits, normalized, scaled_rows
from core.backends.torch.forward import RotaryTable, TorchForward, keep_states
from core.backends.torch.layer import feed, layer_heads
from core.backends.torch.parallel_weights import ParallelStack, parallel_shape
from core.backends.torch.weights import LayerStack
from core.backends.windows import positions_of
from core.families.architecture import Architecture, Rotation

Tensors = Sequence[torch.Tensor]


class ParallelCache(TreeCache):
    """The first device's keys and values, with `others` for those of the other devices' heads."""

    def __init__(self, parts: Sequence[TreeCache]):
        """Of each device one."""
        first, *self.others = parts
        self.storage, self.capacity = first.storage, first.capacity
        self.hidden_states = first.hidden_states
        self.truncate(0)

    def region(self, first: int, capacity: int) -> TreeCache:
        """See `TreeCache.region`."""
        others = [other.region(first, capacity) for other in self.others]
        return ParallelCache([super().region(first, capacity), *others])

    def storages(self) -> Sequence[torch.Tensor]:
        """See `TreeCache.storages`; a device's after the other's."""
        return [self.storage, *(other.storage for other in self.others)]

    def wipe(self, start: int) -> None:
        """See `TreeCache.wipe`."""
        super().wipe(start)
        self.wait()

    def wait(self) -> None:
        """Until the other devices have done what was given to them: graphs that the first one starts
        do not know of it."""
        for device in self.devices[1:]:
            if device.type == "cuda":
                torch.cuda.synchronize(device)


class ParallelForward(TorchForward):
    """Implements `core.backends.runner.TargetForward` over a ParallelStack.

    `stack`, of the first device, has whole what drafters read: embedding, norm and head.
    """

    def __init__(
        self,
        shape: Architecture,
        stack: ParallelStack,
        rotations: Sequence[Rotation],
        dtype: torch.dtype,
    ):
        self.devices = [part.final_norm.device for part in stack.parts]
        own_shape = parallel_shape(shape, len(self.devices))
        tables = [RotaryTable(rotations, dtype, device) for device in self.devices]
        super().__init__(shape, stack, tables[0])
        self.parts = [
            TorchForward(own_shape, part, rotary)
            for part, rotary in zip(stack.parts, tables, strict=True)
        ]
        self.name = f"lean on {len(self.devices)} GPUs"

    def with_stack(self, stack: LayerStack) -> TorchForward:
        """See `TorchForward.with_stack`: modes that would need it are refused."""
        raise NotImplementedError

    def with_exact_sums(self) -> TorchForward:
        """See `TorchForward.with_exact_sums`: such runs are refused."""
        raise NotImplementedError

    @property
    def pack_key(self) -> Hashable:
        """See `TargetForward.pack_key`."""
        return type(self), id(self.stack)

    def reserve(self, num_positions: int) -> None:
        """See `TargetForward.reserve`."""
        for part in self.parts:
            part.reserve(num_positions)

    def __call__(self, blocks: Sequence[RowBlock], *, want_logits: bool) -> torch.Tensor | None:
        """See `TargetForward`."""
        shape, eps = self.shape, self.shape.norm_eps
        own_blocks = self._own_blocks(blocks)
        spans = [part.spans(own) for part, own in zip(self.parts, own_blocks, strict=True)]
        positions = [joined_positions(own) for own in own_blocks]
        rotations = [
            part.rotary.at(places) for part, places in zip(self.parts, positions, strict=True)
        ]
        xs = self._on_all(scaled_rows(shape, self.stack.embedding.rows(joined_token_ids(blocks))))
        for index, layers in enumerate(
            zip(*(part.stack.layers for part in self.parts), strict=True)
        ):
            keep_states(spans[0], index, xs[0])
            attended = []
            for part, weights, x, *own in zip(
                self.parts, layers, xs, spans, positions, rotations, strict=True
            ):
                span, places, rotation = own
                heads = layer_heads(
                    part.shape, weights, normalized(x, weights.input_norm, eps), places, rotation
                )
                attended.append(weights.o(part.attention(weights, span)(*heads)))
            before = xs
            xs = self._with_sum(xs, attended, layers[0].attention_out_norm)
            read = before if shape.is_parallel else xs
            fed = [
                feed(shape, weights, normalized(x, weights.ffn_norm, eps))
                for weights, x in zip(layers, read, strict=True)
            ]
            xs = self._with_sum(xs, fed, layers[0].ffn_out_norm)
        keep_states(spans[0], len(self.stack.layers), xs[0])
        if not want_logits:
            return None
        return bounded_logits(shape, torch.cat(self._logits(xs), dim=-1))

    def _own_blocks(self, blocks: Sequence[RowBlock]) -> list[list[RowBlock]]:
        """The blocks as each device computes them."""
        windowed = any(not layer.kind.sees_all for layer in self.stack.layers)
        found: list[list[RowBlock]] = [[] for _ in self.devices]
        for block in blocks:
            cache = block.cache
            assert isinstance(cache, ParallelCache), "ParallelRunner made it"
            found[0].append(block)
            for own, device, other in zip(found[1:], self.devices[1:], cache.others, strict=True):
                other.length, other.write_start = cache.length, cache.write_start
                other.positions = positions_of(cache) if windowed else None
                own.append(
                    RowBlock(
                        block.token_ids,
                        block.positions.to(device),
                        other,
                        None if block.mask is None else block.mask.to(device),
                    )
                )
        return found

    def _on_all(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x.to(device) for device in self.devices]

    def _with_sum(
        self, xs: Tensors, parts: Tensors, out_norm: torch.Tensor | None
    ) -> list[torch.Tensor]:
        """The residual with what the devices' parts add up to, in their order."""
        first, *others = parts
        total = first.float()
        for other in others:
            total = total + other.to(total.device)
        part = normalized(total.to(first.dtype), out_norm, self.shape.norm_eps)
        return self._on_all(added(self.shape, xs[0], part))

    def _logits(self, xs: Tensors) -> list[torch.Tensor]:
        """Of each device's tokens, on the first one."""
        eps = self.shape.norm_eps
        return [
            part.stack.head(normalized(x, part.stack.final_norm, eps)).to(self.devices[0])
            for part, x in zip(self.parts, xs, strict=True)
        ]


class ParallelRunner(ModelRunner):
    """A ModelRunner whose cache has a part on each device."""

    def _new_cache(self, capacity: int) -> TreeCache:
        assert isinstance(self.forward, ParallelForward), "others have one device"
        own = self.forward.parts[0].shape
        return ParallelCache(
            [
                TreeCache(
                    own.num_layers, own.num_kv_heads, own.head_dim, capacity, self.dtype, device
                )
                for device in self.forward.devices
            ]
        )

    def begin(
        self, prompt_token_ids: list[int], max_length: int, should_stop: Callable[[], bool]
    ) -> int:
        """See `ModelRunner.begin`."""
        num_reused = super().begin(prompt_token_ids, max_length, should_stop)
        assert isinstance(self.cache, ParallelCache)
        self.cache.wait()
        return num_reused
