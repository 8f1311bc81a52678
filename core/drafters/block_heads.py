"""What DSpark (arXiv 2607.05147) has behind a block's layers: Markov head and confidence head.

One pass makes the states of all rows. Then tokens are chosen from left to right: the Markov head adds
to the logits of a row what the token before says, and the confidence head tells the chance that the
row's draft is accepted. Three kinds of Markov heads are published, which differ in what is made of that
token's row of a table.
"""

from dataclasses import dataclass

import torch

from core.backends.torch.linear import Linear

MARKOV, CONFIDENCE = "markov_head", "confidence_head.proj"
"""Where files have the heads' tensors."""
JOINTS = {"gated": ("gate_proj", 1, 1), "rnn": ("joint_proj", 3, 2)}
"""What a Markov head of a kind has beside its two tables: its name, how many ranks it makes, and how
many it reads beside a state."""


@dataclass(frozen=True, slots=True)
class MarkovHead:
    """Logits of low rank that depend on the token before."""

    kind: str
    """One of `core.drafters.block_description.MARKOV_KINDS`."""
    table: torch.Tensor  # [vocab, rank]
    """A row for every token of the target."""
    joint: Linear | None
    """Of "gated", to a gate; of "rnn", to a gate, a candidate and an output."""
    output: Linear
    """From the rank to the drafter's vocabulary."""

    def rows(
        self,
        token_ids: torch.Tensor,  # [rows]
    ) -> torch.Tensor:
        """Of the table  # [rows, rank]."""
        return self.table[token_ids]

    def begin(self, num_rows: int) -> torch.Tensor:
        """The memory in front of a block, which the kind "rnn" has  # [rows, rank]."""
        return self.table.new_zeros(num_rows, self.table.shape[1])

    def step(
        self,
        table_rows: torch.Tensor,  # [rows, rank]
        states: torch.Tensor | None,  # [rows, hidden]
        memory: torch.Tensor,  # [rows, rank]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What `output` reads of the tokens before, and the memory behind  # [rows, rank] both.

        The kind "vanilla" reads no states.
        """
        if self.joint is None or states is None:
            return table_rows, memory
        if self.kind == "gated":
            gate = self.joint(torch.cat([states, table_rows], dim=-1)).sigmoid()
            return gate * table_rows, memory
        joint = self.joint(torch.cat([memory, table_rows, states], dim=-1))
        gate, candidate, made = joint.chunk(3, dim=-1)
        gate = gate.sigmoid()
        return made.tanh(), gate * memory + (1.0 - gate) * candidate.tanh()


@dataclass(frozen=True, slots=True)
class ConfidenceHead:
    """The chance that a row's draft is accepted."""

    score: Linear
    """To its logit."""
    reads_markov: bool

    def logits(
        self,
        states: torch.Tensor,  # [rows, hidden]
        table_rows: torch.Tensor | None,  # [rows, rank]
    ) -> torch.Tensor:
        """# [rows]"""
        if self.reads_markov and table_rows is not None:
            states = torch.cat([states, table_rows.to(states.dtype)], dim=-1)
        return self.score(states)[..., 0]
