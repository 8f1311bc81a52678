"""The four phases of a step over static buffers, each captured as a graph for each kind of step."""

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import torch

from core.acceptance.device import DeviceState, MakeDeviceRule, Verdict, commit
from core.acceptance.sampling_config import SamplingConfig
from core.backends.cuda.attention import Rows
from core.backends.cuda.forward import ComputesRows
from core.backends.cuda.graphs import Graphs
from core.backends.kv_cache import TreeCache
from core.backends.logit_facts import without_infinity
from core.decoding.device.given_trees import GivenTrees
from core.decoding.device.readout import Readout, StepTensors
from core.decoding.logprobs_device import Facts, measure
from core.drafters.calibration_device import DeviceTables
from core.drafters.device_drafting import DeviceDrafter
from core.drafters.tree_growth_device import Choose, GrowthShape, Select, grow
from core.trees.tensors import Proposals, TreeRows, ancestors, flat_places, make_trees
from core.trees.tree import DraftTree


class StepKind(NamedTuple):
    """What decides the shapes of a step."""

    sequences: int
    rows: int
    """Of each sequence."""
    depth: int
    """Longest path that it can accept."""
    growth: GrowthShape | None
    """None where the host gives the trees, or there are none."""
    is_mixed: bool = False
    """Whether the host gives the trees of some, beside those that the device grows."""

    @property
    def has_given_trees(self) -> bool:
        return self.is_mixed or (self.growth is None and self.rows > 1)


class _Buffers(NamedTuple):
    tree: TreeRows
    logits: torch.Tensor  # [all rows, vocab] float32
    work: torch.Tensor  # [all rows, vocab] float32
    kept: dict[str, torch.Tensor]
    readout: Readout
    given: GivenTrees | None
    """Where the host gives the trees."""


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
        num_lanes: int = 1,
    ):
        """`with_graphs` is off where a forward waits for weights that come from elsewhere. The cache has
        a region for each of several lanes, and one more (see `DeviceState`)."""
        self.cache = cache
        self.device = cache.storage.device
        num_regions = num_lanes if num_lanes == 1 else num_lanes + 1
        self.state = DeviceState(cache.capacity // num_regions, self.device, num_lanes)
        self.graphs = Graphs(self.device, cache.devices[1:])
        self.calibration = DeviceTables(self.device)
        self.drafter: DeviceDrafter | None = None
        self.choose: Choose | None = None
        self.select: Select | None = None
        self._forward = forward
        self._vocab_size = vocab_size
        self._verdict = judge(sampling, vocab_size, end_token_ids, self.device)
        self._trace_top_k = trace_top_k
        self._itself = torch.ones((num_lanes, 1), dtype=torch.bool, device=self.device)
        self.with_graphs = with_graphs
        self._buffers: dict[StepKind, _Buffers] = {}
        self._wide: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def buffers(self, kind: StepKind) -> _Buffers:
        """The buffers of a kind of step, made when it is first asked for."""
        if kind not in self._buffers:
            sequences, rows = kind.sequences, kind.rows
            logits, work = self._wide_rows(sequences * rows)
            given = GivenTrees(sequences, rows, self.device) if kind.has_given_trees else None
            self._buffers[kind] = _Buffers(
                tree=make_trees(sequences, rows, self.device),
                logits=logits,
                work=work,
                kept={},
                readout=Readout(),
                given=given,
            )
        return self._buffers[kind]

    def _wide_rows(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Room that all steps of so many rows share, for none is left there when the next one begins."""
        if count not in self._wide:
            shape = (2, count, self._vocab_size)
            logits, work = torch.empty(shape, dtype=torch.float32, device=self.device).unbind(0)
            self._wide[count] = logits, work
        return self._wide[count]

    def catch_up(self, sequences: int) -> None:
        """The drafter computes some of the tokens that it has not seen."""
        assert self.drafter is not None
        drafter, state = self.drafter, self.state.first(sequences)
        self.graphs.run(("catch up", sequences), lambda: drafter.catch_up(state))

    def give(self, kind: StepKind, trees: Sequence[DraftTree | None]) -> None:
        """Takes the host's trees for the next draft; roots alone need none."""
        given = self.buffers(kind).given
        if given is not None:
            given.give(trees)

    def draft(self, kind: StepKind) -> bool:
        """Roots the trees, and grows them where the drafter does; returns as `Graphs.run`."""
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
        """Judges the trees."""
        self.graphs.run(("accept", kind), lambda: self._accept(kind))

    def commit(self, kind: StepKind) -> None:
        """Moves the accepted paths into place."""
        self.graphs.run(("commit", kind), lambda: self._commit(kind))

    def read(self, kind: StepKind) -> torch.Tensor:
        """Packs all results and starts their copy to the host; returns as `Readout.fetch`."""
        self.graphs.run(("read", kind), lambda: self._read(kind))
        return self.buffers(kind).readout.fetch()

    @torch.inference_mode()
    def _draft(self, kind: StepKind) -> None:
        buffers, state = self.buffers(kind), self.state.first(kind.sequences)
        if buffers.given is not None and not kind.is_mixed:
            buffers.given.unpack(buffers.tree, over_others=False)
        buffers.tree.token_ids[:, 0] = state.roots()
        if kind.growth is None:
            return
        assert self.drafter is not None and self.choose is not None and self.select is not None
        proposals = grow(self.drafter, self.choose, self.select, kind.growth, buffers.tree, state)
        for name, tensor in proposals._asdict().items():
            _keep(buffers, name, tensor)
        if buffers.given is not None:
            buffers.given.unpack(buffers.tree, over_others=True)

    @torch.inference_mode()
    def _verify(self, kind: StepKind) -> None:
        buffers, state = self.buffers(kind), self.state.first(kind.sequences)
        tree, length = buffers.tree, state.length
        slots = state.columns(length)
        if kind.rows == 1:
            positions, seen = length, self._itself[: kind.sequences]
        else:
            positions = (length[:, None] + tree.depths).flatten()
            slots = (slots[:, None] + torch.arange(kind.rows, device=self.device)).flatten()
            seen = ancestors(tree.parents)
        rows = Rows(
            token_ids=tree.token_ids.flatten(),
            positions=positions,
            slots=slots,
            start=length,
            tree=seen,
            tree_positions=positions,
            origin=state.origin,
        )
        logits, _ = self._forward(rows)
        assert logits is not None
        buffers.logits.copy_(logits)

    @torch.inference_mode()
    def _accept(self, kind: StepKind) -> None:
        buffers, state = self.buffers(kind), self.state.first(kind.sequences)
        verdict = self._verdict.judge(buffers.logits, buffers.tree, state, kind.depth)
        for name, tensor in verdict._asdict().items():
            _keep(buffers, name, tensor)

    @torch.inference_mode()
    def _commit(self, kind: StepKind) -> None:
        buffers, state = self.buffers(kind), self.state.first(kind.sequences)
        commit(_verdict_of(buffers), buffers.tree, state, self.cache, kind.depth)

    @torch.inference_mode()
    def _read(self, kind: StepKind) -> None:
        buffers = self.buffers(kind)
        tree, verdict = buffers.tree, _verdict_of(buffers)
        facts: Facts | None = None
        if self._trace_top_k:
            last = verdict.path.gather(1, verdict.num_accepted[:, None])
            parents = torch.cat([last, tree.parents[:, 1:]], dim=1)
            token_ids = torch.cat([verdict.next_token_id[:, None], tree.token_ids[:, 1:]], dim=1)
            logits = without_infinity(buffers.logits, out=buffers.logits)  # judged already
            found = measure(
                logits,
                self._trace_top_k,
                flat_places(parents, kind.rows),
                token_ids.flatten(),
                buffers.work,
            )
            facts = Facts(*(part.view(kind.sequences, -1, *part.shape[1:]) for part in found))
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
