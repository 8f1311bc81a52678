"""Samples conversations from the target, thousands at once, each column of tokens in one forward.

Every slot of the batch writes conversation after conversation into one row of columns. All slots
are at the same column, so the cache is dense; a conversation sees the columns from its own start
on, which rotary positions, being relative, allow. Template tokens are forced, and everything that
decides what a slot does next is tensor arithmetic: a column is one CUDA graph without a word from
the CPU.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from core.backends.torch.arithmetic import bounded_logits, normalized, scaled_rows
from core.backends.torch.attention import attend
from core.backends.torch.forward import TorchForward
from core.backends.torch.layer import Attend, decoder_layer
from core.backends.torch.linear import DenseLinear
from core.backends.torch.weights import LayerWeights
from core.backends.windows import hidden
from core.train.chat_frame import ChatFrame

# Columns that one graph attends to grow in pieces of this size.
_BUCKET = 128
_USER, _ANSWER = 0, 1


@dataclass(frozen=True)
class SamplerSettings:
    """Sizes of a round."""

    num_slots: int
    num_columns: int
    most_user_tokens: int
    most_answer_tokens: int


class Opening(NamedTuple):
    """How a conversation begins: forced ids, whose turn follows, and how long it may become."""

    token_ids: list[int]
    is_answer: bool
    """Whether the target's answer follows, not a user turn of its invention."""
    num_answers: int
    """Answers until it ends; 0 ends it with the user's turn."""
    temperature: float


class SampledRound(NamedTuple):
    """What a round wrote."""

    token_ids: torch.Tensor  # [num_slots, num_columns]
    openings: torch.Tensor  # [num_slots, num_columns]
    """For every token, the index of the opening that began its conversation."""


class Sampler:
    """Runs rounds of one size; keeps cache and graphs between them."""

    def __init__(self, forward: TorchForward, frame: ChatFrame, settings: SamplerSettings):
        self._forward = forward
        self._settings = settings
        shape, like = forward.shape, forward.stack.layers[0].o
        assert isinstance(like, DenseLinear), "the target's weights are dense"
        self._device, self._dtype = like.weight.device, like.weight.dtype
        slots, columns = settings.num_slots, settings.num_columns
        sizes = (shape.num_layers, slots, shape.num_kv_heads, columns, shape.head_dim)
        # Zeros: masked columns are multiplied by zero, and what memory held may be no number.
        self._keys, self._values = (
            torch.zeros(sizes, dtype=self._dtype, device=self._device) for _ in range(2)
        )
        forward.reserve(columns)
        self._script_width = settings.most_user_tokens + len(frame.opening) + 64
        self._ends = torch.tensor(sorted(frame.end_token_ids), device=self._device)
        self._user_end = frame.answer_header[0]
        self._headers = [list(frame.answer_header[1:]), list(frame.next_header[1:])]
        self._graphs: dict[int, Any] = {}
        self._state = _State(slots, columns, self._device)

    @torch.inference_mode()
    def run(self, openings: list[Opening], seed: int) -> SampledRound:
        """One round; slot s takes openings s, s + num_slots, ... and begins anew with each.

        The same openings and seed give the same tokens on the same device and software.
        """
        state = self._state
        width = max(self._script_width, *(len(item.token_ids) for item in openings))
        if state.set_openings(self._headers, openings, width):
            self._graphs.clear()  # they read the tables that were replaced
        state.restart_all()
        # What a router chooses is asked for, which no graph can do.
        is_captured = self._device.type == "cuda" and self._forward.shape.experts is None
        if is_captured and not self._graphs:
            self._capture()
            state.restart_all()
        torch.manual_seed(seed)
        last = self._settings.num_columns
        for column in range(last - 1):
            num_visible = min((column // _BUCKET + 1) * _BUCKET, last)
            if self._graphs:
                self._graphs[num_visible].replay()
            else:
                self._compute(num_visible)
        # Copies on a CPU too: the next round writes over the state.
        return SampledRound(
            state.token_ids.to("cpu", copy=True), state.opening_at.to("cpu", copy=True)
        )

    def _capture(self) -> None:
        """Records a graph for every number of visible columns; they share their memory."""
        last = self._settings.num_columns
        pool = torch.cuda.graph_pool_handle()
        for num_visible in sorted({*range(_BUCKET, last, _BUCKET), last}):
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                self._compute(num_visible)  # libraries set themselves up outside of a recording
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                self._compute(num_visible)
            self._graphs[num_visible] = graph

    def _compute(self, num_visible: int) -> None:
        """One column for all slots; reads and writes the state alone."""
        state = self._state
        column = state.column
        columns = torch.arange(num_visible, device=self._device)
        seen = (columns >= state.start[:, None]) & (columns <= column) | (columns == column)
        # A conversation's own; a slot between two of them writes what nobody reads.
        positions = (column - state.start).clamp(min=0)
        placed = columns - state.start[:, None]
        masks = {}
        shape, stack = self._forward.shape, self._forward.stack
        rotation = self._forward.rotary.at(positions)
        x = scaled_rows(shape, stack.embedding.rows(state.token_ids.index_select(1, column)[:, 0]))
        for weights in stack.layers:
            window, chunk = seen_by = weights.kind.window, weights.kind.chunk
            if seen_by not in masks:
                is_seen = seen[:, None]
                if not weights.kind.sees_all:
                    is_seen = is_seen & ~hidden(positions[:, None], placed, window, chunk)
                mask = torch.zeros(is_seen.shape, dtype=self._dtype, device=self._device)
                masks[seen_by] = mask.masked_fill_(~is_seen, torch.finfo(mask.dtype).min)[:, None]
            attention = self._attention(weights, num_visible, masks[seen_by])
            normed = normalized(x, weights.input_norm, shape.norm_eps)
            x = decoder_layer(shape, weights, x, normed, positions, rotation, attention)
        found = bounded_logits(
            shape, stack.head(normalized(x, stack.final_norm, shape.norm_eps))
        ).float()
        noise = torch.empty_like(found).exponential_().log_()
        sampled = found.sub_(noise.mul_(state.temperature[:, None])).argmax(dim=-1)
        state.advance(sampled, self._user_end, self._ends, self._settings)

    def _attention(
        self,
        weights: LayerWeights,
        num_visible: int,
        mask: torch.Tensor,  # [num_slots, 1, 1, num_visible]
    ) -> Attend:
        """Attention of one column over the cache, in which it is written."""
        shape = self._forward.shape
        cached_keys, cached_values = (
            self._keys[weights.cache_index],
            self._values[weights.cache_index],
        )

        def attend_slots(
            queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
        ) -> torch.Tensor:
            cached_keys.index_copy_(2, self._state.column, keys[:, :, None])
            cached_values.index_copy_(2, self._state.column, values[:, :, None])
            # The heads of a group are rows beside each other: each key is read once.
            grouped = queries.reshape(len(queries), shape.num_kv_heads, -1, shape.head_dim)
            seen_keys, seen_values = (
                cached_keys[:, :, :num_visible],
                cached_values[:, :, :num_visible],
            )
            if shape.attention_cap is None and weights.sinks is None:
                own_mask = mask.expand(-1, shape.num_kv_heads, grouped.shape[2], -1)
                attended = F.scaled_dot_product_attention(
                    grouped, seen_keys, seen_values, own_mask, scale=shape.scale
                )
            else:
                sinks = weights.sinks
                attended = attend(
                    grouped, seen_keys, seen_values, mask, scale=shape.scale,
                    cap=shape.attention_cap,
                    sinks=None if sinks is None else sinks.view(1, shape.num_kv_heads, -1, 1),
                )  # fmt: skip
            return attended.flatten(1)

        return attend_slots


class _State:
    """What every slot is doing; all tensors keep their memory, as graphs need."""

    def __init__(self, num_slots: int, num_columns: int, device: torch.device):
        def whole(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.int64, device=device)

        self._num_slots = num_slots
        self.token_ids = whole(num_slots, num_columns)
        self.opening_at = whole(num_slots, num_columns)
        self.column = whole(1)
        self.start = whole(num_slots)
        """First column of the slot's conversation."""
        self.temperature = torch.zeros(num_slots, device=device)
        self._opening = whole(num_slots)
        self._script = whole(num_slots)
        self._script_position = whole(num_slots)
        self._role = whole(num_slots)
        self._count = whole(num_slots)
        """Tokens sampled in this turn."""
        self._answers_left = whole(num_slots)
        self._slots = torch.arange(num_slots, device=device)
        self._device = device
        # Rows 0 and 1 are the headers of answer and user turn, the openings follow.
        self._scripts = whole(0, 0)
        self._script_lengths = whole(0)
        self._first_role = whole(0)
        self._num_answers = whole(0)
        self._temperatures = torch.zeros(0, device=device)

    def set_openings(self, headers: list[list[int]], openings: list[Opening], width: int) -> bool:
        """Takes over the scripts; true where the tables had to be made anew."""
        rows = [*headers, *(item.token_ids for item in openings)]
        scripts = torch.zeros(len(rows), width, dtype=torch.int64)
        for index, row in enumerate(rows):
            scripts[index, : len(row)] = torch.tensor(row)
        lengths = torch.tensor([len(row) for row in rows])
        roles = torch.tensor([_ANSWER if item.is_answer else _USER for item in openings])
        answers = torch.tensor([item.num_answers for item in openings])
        temperatures = torch.tensor([item.temperature for item in openings])
        values = (scripts, lengths, roles, answers, temperatures)
        is_same_size = self._scripts.shape[0] == len(rows) and self._scripts.shape[1] >= width
        if is_same_size:
            self._scripts[:, :width].copy_(scripts)
            for kept, value in zip(self._tables()[1:], values[1:], strict=True):
                kept.copy_(value)
        else:
            (self._scripts, self._script_lengths, self._first_role, self._num_answers,
             self._temperatures) = (value.to(self._device) for value in values)  # fmt: skip
        return not is_same_size

    def _tables(self) -> tuple[torch.Tensor, ...]:
        return (
            self._scripts, self._script_lengths, self._first_role, self._num_answers,
            self._temperatures,
        )  # fmt: skip

    def _changing(self) -> tuple[torch.Tensor, ...]:
        return (
            self.token_ids, self.opening_at, self.column, self.start, self.temperature,
            self._opening, self._script, self._script_position, self._role, self._count,
            self._answers_left,
        )  # fmt: skip

    def restart_all(self) -> None:
        """Every slot stands before its first opening's second token."""
        for tensor in self._changing():
            tensor.zero_()
        self._opening.copy_(self._slots - self._num_slots)
        self._begin_conversations(torch.ones_like(self._slots, dtype=torch.bool))
        self.start.zero_()
        self.token_ids[:, 0] = self._scripts[self._script, 0]
        self.opening_at[:, 0] = self._opening
        self._script_position.fill_(1)

    def _begin_conversations(self, where: torch.Tensor) -> None:
        """The slots of a mask  # [num_slots] go to their next opening."""
        opening = torch.where(where, self._opening + self._num_slots, self._opening)
        self._opening.copy_(opening)
        index = opening % len(self._first_role)
        self._script.copy_(torch.where(where, index + 2, self._script))
        self._script_position.masked_fill_(where, 0)
        self._role.copy_(torch.where(where, self._first_role[index], self._role))
        left = torch.where(where, self._num_answers[index], self._answers_left)
        self._answers_left.copy_(left)
        temperature = torch.where(where, self._temperatures[index], self.temperature)
        self.temperature.copy_(temperature)
        # The token that was just written still ends the old conversation.
        self.start.copy_(torch.where(where, self.column + 2, self.start))

    def advance(
        self,
        sampled: torch.Tensor,  # [num_slots]
        user_end: int,
        ends: torch.Tensor,  # [num_ends]
        settings: SamplerSettings,
    ) -> None:
        """Writes the next column and moves every slot on."""
        is_forced = self._script_position < self._script_lengths[self._script]
        position = self._script_position.clamp(max=self._scripts.shape[1] - 1)
        token = torch.where(is_forced, self._scripts[self._script, position], sampled)
        self.token_ids.index_copy_(1, self.column + 1, token[:, None])
        self.opening_at.index_copy_(1, self.column + 1, self._opening[:, None])
        self._script_position.add_(is_forced)
        self._count.add_(1).masked_fill_(is_forced, 0)
        is_user = self._role == _USER
        user_ended = ~is_forced & is_user & (token == user_end)
        answered = ~is_forced & ~is_user & torch.isin(token, ends)
        most = torch.where(is_user, settings.most_user_tokens, settings.most_answer_tokens)
        too_long = ~is_forced & (self._count >= most) & ~user_ended & ~answered
        self._answers_left.sub_(answered.long())
        to_answer = user_ended & (self._answers_left > 0)
        to_user = answered & (self._answers_left > 0)
        self._script.masked_fill_(to_answer, 0).masked_fill_(to_user, 1)
        self._script_position.masked_fill_(to_answer | to_user, 0)
        self._role.masked_fill_(to_answer, _ANSWER).masked_fill_(to_user, _USER)
        self._count.masked_fill_(to_answer | to_user, 0)
        self._begin_conversations((user_ended & ~to_answer) | (answered & ~to_user) | too_long)
        self.column.add_(1)
