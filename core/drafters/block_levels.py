"""The logits of a block, level by level from left to right where a Markov head corrects them."""

import torch

from core.backends.cpu.linear import CpuLinear
from core.backends.logit_facts import corrected_logits
from core.drafters.block_heads import MarkovHead
from core.drafters.tree_growth import LevelRow


class BlockLevels:
    """What one pass made of a block; call it level by level with the rows of a tree.

    Without a Markov head a level's logits hang on no token drafted before it.
    """

    def __init__(
        self,
        markov: MarkovHead | None,
        logits: torch.Tensor,  # [levels, draft_vocab] float32
        states: torch.Tensor | None,  # [levels, hidden]
    ):
        """`states` are those that the output layer reads; some Markov heads need none."""
        self._markov = markov
        self._logits = logits
        self._states = states
        self._memories: list[torch.Tensor] = []  # of every row so far  # [rank] each

    def __call__(self, rows: list[LevelRow]) -> torch.Tensor:
        """Logits of the tokens behind the rows  # [rows, draft_vocab] float32."""
        depth, count = rows[0].depth, len(rows)
        logits, markov = self._logits[depth], self._markov
        if markov is None:
            return logits.repeat(count, 1)
        token_ids = torch.tensor([row.token_id for row in rows], device=logits.device)
        table_rows = markov.rows(token_ids)
        states = None if self._states is None else self._states[depth].expand(count, -1)
        if depth == 0:
            memory = markov.begin(count)
        else:
            memory = torch.stack([self._memories[row.parent_row] for row in rows])
        made, memory = markov.step(table_rows, states, memory)
        self._memories += memory.unbind(0)
        output = markov.output
        if isinstance(output, CpuLinear):
            return corrected_logits(output, made, logits)
        return logits + output(made).float()
