"""The four phases of a step over static buffers, each captured as a graph for each kind of step."""

from collections.abc import Callable, Hashable
from typing import NamedTuple

import torch

from core.acceptance.device import DeviceState, MakeDeviceRule, Verdict, commit
from core.acceptance.sampling_config import SamplingConfig
from core.backends.cuda.attention import Rows
from core.backends.cuda.forward import ComputesRows
from core.backends.cuda.graphs import Graphs
from core.backends.kv_cache import TreeCache
from core.backends.logit_facts import without_infinity
from core.decoding.device.given_tree import GivenTree
from core.decoding.device.readout import Readout, StepTensors
from core.decoding.logprobs_device import Facts, measure
from core.drafters.calibration_device import DeviceTables
from core.drafters.device_drafting import DeviceDrafter
from core.drafters.tree_growth_device import Choose, GrowthShape, Select, grow
from core.trees.tensors import Proposals, TreeRows, ancestors, make_tree
from core.trees.tree import DraftTree


class StepKind(NamedTuple):
    """What decides the shapes of a step."""

    rows: int
    depth: int
    """Longest path that it can accept."""
    growth: GrowthShape | None
    """None where the host gives the tree, or there is none."""

    @property
    def has_given_tree(self) -> bool:
        return self.growth is None and self.rows > 1


class _Buffers(NamedTuple):
    tree: TreeRows
    logits: torch.Tensor  # [rows, vocab] float32
    work: torch.Tensor  # [rows, vocab] float32
    kept: dict[str, torch.Tensor]
    readout: Readout
    given: GivenTree | None
    """Where the host gives the tree."""


class GraphRunner:
    """One target's cache, state and drafter, with all graphs that were captured over them."""

    def __init__(
        self,
        forward: ComputesRows,
        cache: TreeCache,
        vocab_size: int,
        judge: MakeDeviceRule,
        sampling: SamplingConfig,
        end_token_ids: frozenset[int],
        trace_top_k: int,
        *,
        with_graphs: bool,
    ):
        """`with_graphs` is off where a forward waits for weights that come from elsewhere."""
        self.cache = cache
        self.device = cache.storage.device
        self.state = DeviceState(cache.capacity, self.device)
        self.graphs = Graphs(self.device, cache.devices[1:])
        self.calibration = DeviceTables(self.device)
        self.drafter: DeviceDrafter | None = None
        self.choose: Choose | None = None
        self.select: Select | None = None
        self._forward = forward
        self._vocab_size = vocab_size
        self._verdict = judge(sampling, vocab_size, end_token_ids, self.device)
        self._trace_top_k = trace_top_k
        self._itself = torch.ones((1, 1), dtype=torch.bool, device=self.device)
        self.with_graphs = with_graphs
        self._buffers: dict[StepKind, _Buffers] = {}

    def buffers(self, kind: StepKind) -> _Buffers:
        """The buffers of a kind of step, made when it is first asked for."""
        if kind not in self._buffers:
            wide = (kind.rows, self._vocab_size)
            self._buffers[kind] = _Buffers(
                tree=make_tree(kind.rows, self.device),
                logits=torch.empty(wide, dtype=torch.float32, device=self.device),
                work=torch.empty(wide, dtype=torch.float32, device=self.device),
                kept={},
                readout=Readout(),
                given=GivenTree(kind.rows, self.device) if kind.has_given_tree else None,
            )
        return self._buffers[kind]

    def catch_up(self) -> None:
        """The drafter computes some of the tokens that it has not seen."""
        assert self.drafter is not None
        self.graphs.run("catch up", self.drafter.catch_up)

    def give(self, kind: StepKind, tree: DraftTree) -> None:
        """Takes the host's tree for the next draft; a root alone needs none."""
        given = self.buffers(kind).given
        if given is not None:
            given.give(tree)

    def draft(self, kind: StepKind) -> bool:
        """Roots the tree, and grows it where the drafter does; returns as `Graphs.run`."""
        return self.graphs.run(("draft", kind), lambda: self._draft(kind))

    def verify(self, kind: StepKind) -> bool:
        """The target's logits after every node; returns as `Graphs.run`."""
        key, function = ("verify", kind), lambda: self._verify(kind)
        return self._run_verification(key, function)

    def _run_verification(self, key: Hashable, function: Callable[[], None]) -> bool:
        if self.with_graphs:
            return self.graphs.run(key, function)
        function()
        return True

    def accept(self, kind: StepKind) -> None:
        """Judges the tree."""
        self.graphs.run(("accept", kind), lambda: self._accept(kind))

    def commit(self, kind: StepKind) -> None:
        """Moves the accepted path into place."""
        self.graphs.run(("commit", kind), lambda: self._commit(kind))

    def read(self, kind: StepKind) -> torch.Tensor:
        """Packs all results and starts their copy to the host; returns as `Readout.fetch`."""
        self.graphs.run(("read", kind), lambda: self._read(kind))
        return self.buffers(kind).readout.fetch()

    @torch.inference_mode()
    def _draft(self, kind: StepKind) -> None:
        buffers, state = self.buffers(kind), self.state
        if buffers.given is not None:
            buffers.given.unpack(buffers.tree)
        buffers.tree.token_ids[:1] = state.tokens.index_select(0, state.length)
        if kind.growth is None:
            return
        assert self.drafter is not None and self.choose is not None and self.select is not None
        proposals = grow(self.drafter, self.choose, self.select, kind.growth, buffers.tree)
        for name, tensor in proposals._asdict().items():
            _keep(buffers, name, tensor)

    @torch.inference_mode()
    def _verify(self, kind: StepKind) -> None:
        buffers, length = self.buffers(kind), self.state.length
        tree = buffers.tree
        is_plain = kind.rows == 1
        steps = torch.arange(kind.rows, device=self.device)
        positions = length if is_plain else length + tree.depths
        rows = Rows(
            token_ids=tree.token_ids,
            positions=positions,
            slots=length if is_plain else length + steps,
            start=length,
            tree=self._itself if is_plain else ancestors(tree.parents),
            tree_positions=positions,
        )
        logits, _ = self._forward(rows)
        assert logits is not None
        buffers.logits.copy_(logits)

    @torch.inference_mode()
    def _accept(self, kind: StepKind) -> None:
        buffers = self.buffers(kind)
        verdict = self._verdict.judge(buffers.logits, buffers.tree, self.state, kind.depth)
        for name, tensor in verdict._asdict().items():
            _keep(buffers, name, tensor)

    @torch.inference_mode()
    def _commit(self, kind: StepKind) -> None:
        buffers = self.buffers(kind)
        commit(_verdict_of(buffers), buffers.tree, self.state, self.cache, kind.depth)

    @torch.inference_mode()
    def _read(self, kind: StepKind) -> None:
        buffers = self.buffers(kind)
        tree, verdict = buffers.tree, _verdict_of(buffers)
        facts: Facts | None = None
        if self._trace_top_k:
            last = verdict.path.index_select(0, verdict.num_accepted)
            parents = torch.cat([last, tree.parents[1:]])
            token_ids = torch.cat([verdict.next_token_id, tree.token_ids[1:]])
            logits = without_infinity(buffers.logits, out=buffers.logits)  # judged already
            facts = measure(logits, self._trace_top_k, parents, token_ids, buffers.work)
        proposals = None
        if kind.growth is not None:
            kept = buffers.kept
            proposals = Proposals(*(kept[name] for name in Proposals._fields))
        buffers.readout.pack(StepTensors(tree, verdict, proposals, facts))


def _keep(buffers: _Buffers, name: str, tensor: torch.Tensor) -> None:
    """Copies a result to where the other graphs look for it."""
    if name not in buffers.kept:
        buffers.kept[name] = torch.empty_like(tensor)
    buffers.kept[name].copy_(tensor)


def _verdict_of(buffers: _Buffers) -> Verdict:
    return Verdict(*(buffers.kept[name] for name in Verdict._fields))
