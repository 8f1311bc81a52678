"""A loaded target that runs prompts: the one entrance for page, command line and benchmarks."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

from core.acceptance.constraint import make_token_trie
from core.backends.cost_curve import CostCurve
from core.backends.cpu.forward import CpuForward
from core.backends.row_block import check_token_ids
from core.backends.runner import ModelRunner
from core.backends.torch.forward import TorchForward
from core.backends.torch.invariant import InvariantRunner, invariant_sibling
from core.config import RunConfig
from core.decoding.batch import BatchScheduler, Scheduler, Single, Start, check_batch
from core.decoding.device.graph_runner_cache import GraphRunnerCache, make_graph_runner_cache
from core.decoding.device.seats import Seat, Seats
from core.decoding.joining import JoiningRun, never
from core.decoding.loop import check_prompt
from core.decoding.measured_costs import Circumstances, MeasuredCosts, RunCosts
from core.decoding.remembering import remembered
from core.decoding.run_events import RunScript, run_events
from core.decoding.run_start import (
    Prompt,
    RunParts,
    begin_answer,
    make_corrections,
    run_started,
)
from core.decoding.run_steps import host_decides, make_stepper, seated
from core.decoding.step import Clock, Stepper
from core.drafters.context import DrafterContext, KeptParts
from core.drafters.forced import ForcedDrafter
from core.drafters.making import make_drafter, unavailable_reason
from core.drafters.suffix_memory import MemoryView, SuffixMemory
from core.errors import InvalidSettingError
from core.loading.forward import runner_of
from core.loading.loading import LoadedModel, load_model
from core.loading.prompts import chat_token_ids, raw_token_ids
from core.loading.tokenizer_match import tokenizer_key
from core.models.detokenizer import TokenTable
from core.modes.settings import DrafterSettings, as_chains, remembers
from core.modes.share_sd import wants_offload
from core.profile.recording import (
    ProfiledTarget,
    check_profiled,
    make_profiler,
    with_costs,
    with_proposals,
)
from core.quant.offload import OriginalWeights
from core.quant.streaming import StreamedLayers, fit
from core.runtime.freed_memory import give_back
from core.runtime.storage import Progress, cache_home, no_progress
from core.settings import parse_bytes
from core.trace.events import Event
from core.trace.failures import is_gpu_lost, refused
from core.trace.fork import Fork
from core.trace.naming import with_token_texts

# Prompt and output of runs that may join others have room for so many tokens on a device.
_JOINING_TOKENS = 1024


class Engine:
    """One target with its cache; runs one prompt at a time, and is not thread-safe."""

    def __init__(
        self,
        target: LoadedModel,
        clock: Callable[[], float] = time.perf_counter,
        progress: Progress = no_progress,
        num_kept: int = 1,
    ):
        """`progress` hears of what a run needs first: quantizing, loading a draft model, ...

        `num_kept` is how many quantized selves, draft models and so on stay in memory between runs.
        """
        # Weights that an engine moves to disk must be held by nobody else.
        self.target = replace(target, stack=None)
        self.is_usable = True
        """False once the GPU is lost to this process."""
        self._clock = clock
        self._progress = progress
        self._backend = runner_of(target)
        self._invariant: InvariantRunner | None = None
        forward = self._backend.forward
        self.forward_name = forward.name
        self._originals = (
            OriginalWeights(forward, cache_home() / "offload")
            if isinstance(forward, TorchForward)
            else None
        )
        self._graphs = make_graph_runner_cache(target, forward)
        self._token_table = TokenTable(target.tokenizer)
        self._kept = KeptParts(num_kept)
        self._costs = MeasuredCosts(self.target, progress)
        give_back()

    @property
    def can_branch(self) -> bool:
        """Whether drafts may be trees; otherwise they are chains."""
        return self._backend.can_branch

    def chat_prompt(self, messages: list[dict[str, str]]) -> Prompt:
        """The target's chat template over messages of role and content, ready for an answer."""
        return Prompt(messages[-1]["content"], chat_token_ids(self.target, messages))

    def raw_prompt(self, text: str) -> Prompt:
        """The text as it is, without a template."""
        return Prompt(text, raw_token_ids(self.target, text))

    def token_prompt(self, token_ids: list[int]) -> Prompt:
        """Token ids as they are; raises InvalidSettingError for those that the target lacks."""
        check_token_ids(token_ids, self._backend.forward.num_token_ids)
        text = self.target.tokenizer.decode(token_ids, clean_up_tokenization_spaces=False)
        return Prompt(text, list(token_ids))

    def fork_prompt(self, fork: Fork) -> Prompt:
        """A branch of another run (`core.trace.fork.fork_of`), whose answer goes on from its tokens.

        Raises InvalidSettingError for a run of another target, and for token ids that this one lacks.
        """
        own, its = self.target.identity.to_dict(), fork.target
        key = "sha256" if own["sha256"] and its.get("sha256") else "name"
        if own[key] != its.get(key):
            raise InvalidSettingError(
                f"the run is one of {its.get('name')} and this is {own['name']}; a branch needs the "
                "target of its parent."
            )
        num_token_ids = self._backend.forward.num_token_ids
        if max(fork.token_ids) >= num_token_ids:
            raise InvalidSettingError(
                f"there is no token {max(fork.token_ids)}; the target has the ids from 0 to "
                f"{num_token_ids - 1}."
            )
        return Prompt(fork.prompt_text, fork.prompt_token_ids, fork)

    def check_prompt(self, prompt: Prompt) -> None:
        """Raises InvalidSettingError for a prompt that is empty, fills the context, or has token ids
        that the target lacks."""
        check_prompt(prompt.all_token_ids, self.target.context_limit)
        check_token_ids(prompt.all_token_ids, self._backend.forward.num_token_ids)

    def unavailable_reason(self, mode: str, draft: str | None = None) -> str | None:
        """Why a mode cannot run with this target, in one sentence; None where it can.

        `draft` is the draft model that the run names, if any.
        """
        return unavailable_reason(mode, draft, self.target, is_own=self._originals is not None)

    def forget(self) -> None:
        """Empties the cache, so that the next run computes its whole prompt."""
        self._backend.forget()
        if self._invariant is not None:
            self._invariant.forget()

    def cost_curve(self, length: int) -> CostCurve:
        """T(n) of the target about a context length; measured on the first call for its bucket."""
        circumstances = self._circumstances(length, self._graphs)
        return self._costs.curve(circumstances, self._backend, self._backend.forward, ())

    def _circumstances(self, length: int, graphs: GraphRunnerCache | None) -> Circumstances:
        place = "in memory"
        if self._originals is not None and self._originals.is_offloaded:
            place = "offloaded"
        elif self._streamed_layers is not None:
            place = "streamed"
        return Circumstances(length, place, graphs)

    def run(
        self,
        prompt: Prompt,
        config: RunConfig,
        *,
        memory: SuffixMemory | None = None,
        should_stop: Callable[[], bool] = never,
    ) -> Iterator[Event]:
        """Starts a run and returns its events; raises on bad input, before the first event.

        With the setting `memory` on, lookup searches the answers of `memory` too, and this one comes
        into it when it ends. An error in the middle ends the run as a RunFailed event, never as an
        exception.
        """
        self.check_prompt(prompt)
        config = self._checked(config)
        memory = self._memory_of(config, memory)
        parts = self._prepare(prompt, config, Single(), memory)
        return self._events(prompt, config, parts, memory, should_stop)

    def profile(
        self,
        prompt: Prompt,
        config: RunConfig,
        settings: Sequence[DrafterSettings] | None = None,
        *,
        should_stop: Callable[[], bool] = never,
    ) -> Iterator[Event]:
        """Plain decoding once, with all that a mode's drafter could propose at every position.

        The drafter looks as deep and as wide as its settings say; `core.profile.replay` tells from the
        events what runs with smaller trees do. Of trees that branch it tells exactly what those with
        `settings` do: `core.profile.prediction.candidates`, unless others are given. Raises as `run`
        does, and for a mode or a rule of which no profile can be made.
        """
        self.check_prompt(prompt)
        if prompt.fork is not None:
            raise InvalidSettingError("a branch has no profile; give a prompt of its own.")
        check_profiled(config)
        config = self._checked(config)
        parts = self._prepare(prompt, with_costs(config), Single(), None)
        curve = parts.curve or self.cost_curve(len(prompt.token_ids))
        target = ProfiledTarget(
            curve,
            can_branch=parts.runner.can_branch,
            device_steps=parts.graphs is not None,
            context_limit=self.target.context_limit,
            end_token_ids=self.target.eos_token_ids,
        )
        profiler = make_profiler(config, parts.drafter, target, prompt.token_ids, settings)
        plain = config.plain()
        parts = parts._replace(drafter=profiler, curve=curve, graphs=None)
        events = self._unnamed_events(prompt, plain, parts, should_stop)
        return with_token_texts(with_proposals(events, profiler), self._token_table.text_of)

    def run_batch(
        self,
        runs: Sequence[tuple[Prompt, RunConfig]],
        size: int,
        *,
        memory: SuffixMemory | None = None,
        should_stop: Callable[[], bool] = never,
    ) -> Iterator[tuple[int, Event]]:
        """Runs prompts side by side, `size` at a time; events come with their run's index.

        Each has the text that it has alone. They share the `memory`: each sees what was in it when
        that run began, the answers of those that had ended among them. Raises on bad settings, before
        the first event; a prompt that does not fit ends its own run as a RunFailed event, and the
        others go on. Runs that have not begun when the flag is raised have no events. The events must
        all be read on one thread.
        """
        check_batch([config for _, config in runs], size)
        longest = max(self._max_length(prompt, config) for prompt, config in runs)
        scheduler = self._scheduler(size, longest)
        starts: list[Start] = []
        for prompt, config in runs:
            config = self._checked(config)
            own = self._memory_of(config, memory)
            parts = self._prepare(prompt, config, scheduler, own)
            starts.append(partial(self._events, prompt, config, parts, own, should_stop))
        return scheduler.run(starts, should_stop)

    def run_joining(
        self, next_run: Callable[[], JoiningRun | None], size: int
    ) -> Iterator[tuple[int, Event]]:
        """Runs prompts side by side that come while others go on, at most `size` of them.

        Whenever there is room, `next_run` is asked for one; it gives None where there is none now, and
        with nothing running that is the end. Events come with their run's index, in the order in which
        they were given. Each run has the text that it has alone. What is wrong with one, and what
        breaks in it, ends it as a RunFailed event. The events must all be read on one thread.
        """
        scheduler = self._scheduler(size, _JOINING_TOKENS)
        first: list[RunConfig] = []

        def next_start() -> Start | None:
            joining = next_run()
            if joining is None:
                return None
            config = joining.config
            try:
                prompt = joining.make_prompt()
                self.check_prompt(prompt)
                check_batch([*first, config], size)
                config = self._checked(config)
                parts = self._prepare(prompt, config, scheduler, self._memory_of(config, None))
            except Exception as error:
                return partial(iter, [refused(error)])
            first[:] = [config]
            return partial(self._events, prompt, config, parts, None, joining.should_stop)

        return scheduler.run_joining(next_start)

    def _scheduler(self, size: int, longest: int) -> BatchScheduler:
        """Of runs that have at most `longest` tokens, or more of which that is not known yet."""
        graphs = self._graphs
        seats = None if graphs is None else Seats(graphs, size, longest, self._clock)
        return BatchScheduler(size, self._backend.forward, seats)

    def _checked(self, config: RunConfig) -> RunConfig:
        """The configuration as the loaded target completes it."""
        reason = self.unavailable_reason(config.mode, config.draft)
        if reason is not None:
            raise InvalidSettingError(reason)
        return replace(config, **self._actual(config))

    def _memory_of(self, config: RunConfig, memory: SuffixMemory | None) -> SuffixMemory | None:
        """The memory that a run uses; raises InvalidSettingError for none, and one of other tokens."""
        if not remembers(config.drafter):
            return None
        if memory is None:
            raise InvalidSettingError(
                "memory is on, and nothing is remembered here between runs; leave memory out."
            )
        memory.belong_to(self._tokenizer_key, self._backend.forward.num_token_ids)
        return memory

    @cached_property
    def _tokenizer_key(self) -> str:
        return tokenizer_key(self.target.tokenizer)

    @cached_property
    def _token_trie(self) -> Any:
        """What constraints need to know of the vocabulary; made for the first of them."""
        target = self.target
        return make_token_trie(target.tokenizer, self._backend.vocab_size, target.eos_token_ids)

    def _prepare(
        self,
        prompt: Prompt,
        config: RunConfig,
        scheduler: Scheduler,
        memory: SuffixMemory | None,
    ) -> RunParts:
        """What a run needs, made or taken from the last one; raises SpecDecodesError."""
        if self._originals is not None and wants_offload(config) != self._originals.is_offloaded:
            self._originals.to_memory()
            self._invariant = None  # it holds on to the weights as they were
        if self._streamed_layers is not None:
            self._streamed_layers.set_resident(0)  # what drafts comes first
        runner: ModelRunner = self._backend
        if config.invariant:
            self._invariant = self._invariant or invariant_sibling(self._backend)
            runner = self._invariant
        runner = scheduler.own_runner(runner)
        graphs = self._graphs_for(config)
        corrections = make_corrections(
            config.sampling,
            self._token_table,
            self._backend.vocab_size,
            self.target.eos_token_ids,
            lambda: self._token_trie,
        )
        answer = begin_answer(self.target, prompt, config, corrections)
        circumstances = self._circumstances(len(prompt.all_token_ids), graphs)
        costs = RunCosts(self._costs, circumstances, scheduler.shared)
        view = None if memory is None else MemoryView(memory)
        drafter = make_drafter(
            DrafterContext(
                config=config,
                target=self.target,
                runner=runner,
                originals=self._originals,
                kept=self._kept,
                measure_cost=costs.later,
                load_draft=self._load_draft,
                folder=cache_home(),
                progress=self._progress,
                own_runner=scheduler.own_runner,
                is_alone=scheduler.size == 1,
                memory=view,
                corrections=corrections,
                num_given=len(prompt.given_token_ids),
            )
        )
        constraint = None if corrections is None else corrections.constraint
        if drafter is not None and constraint is not None:
            drafter = ForcedDrafter(drafter, constraint)
        host_reason = self.host_reason(config)
        if graphs is not None and drafter is not None and drafter.device_form is None:
            graphs = None
            host_reason = host_decides("what drafts in it has no form for the device")
        costs.settle(graphs)
        is_sized = drafter is not None and not getattr(config.drafter, "fixed_size", False)
        found = costs.curve if is_sized else costs.known  # what is known is told all the same
        curve = found(runner, runner.forward)
        cost = scheduler.shared(curve) if is_sized and curve is not None else None
        return RunParts(
            runner,
            drafter,
            curve,
            cost,
            graphs,
            corrections,
            host_reason,
            scheduler,
            answer,
            view,
            len(prompt.given_token_ids),
        )

    def _graphs_for(self, config: RunConfig) -> GraphRunnerCache | None:
        """Lets the device do the steps of a run alone; None where it cannot."""
        graphs = self._graphs
        if graphs is None or graphs.reason_against(config) is not None:
            return None
        return graphs

    def host_reason(self, config: RunConfig) -> str:
        """Why the host decides the steps of a run that the device could do alone, in one sentence;
        empty where the device does them, and where there is none that could."""
        reason = None if self._graphs is None else self._graphs.reason_against(config)
        return "" if reason is None else host_decides(reason)

    @property
    def _streamed_layers(self) -> StreamedLayers | None:
        forward = self._backend.forward
        layers = forward.stack.layers if isinstance(forward, TorchForward) else None
        return layers if isinstance(layers, StreamedLayers) else None

    def _load_draft(self, name: str) -> LoadedModel:
        dtype = str(self.target.dtype).removeprefix("torch.")
        return load_model(
            name,
            dtype=dtype,
            device=self.target.device.type,
            compile=self.target.is_compiled,
            as_draft=True,
            progress=self._progress,
        )

    def _actual(self, config: RunConfig) -> dict[str, Any]:
        """What the loaded target decides, for the configuration kept in the trace."""
        self.target.check_loaded_as(config)
        is_compiled = isinstance(self._backend.forward, CpuForward) or self._graphs is not None
        if config.compile and not is_compiled and not self.target.note:
            raise InvalidSettingError(
                f"compile is on and the {self.forward_name} forward computes this target, which is "
                "not compiled; leave compile out."
            )
        device = self.target.device.type
        actual: dict[str, Any] = {
            "dtype": str(self.target.dtype).removeprefix("torch."),
            "device": device,
            "compile": is_compiled,
            "weights": self.target.weights,
        }
        if device == "cuda":
            actual["tensor_parallel"] = self.target.num_gpus
        if config.drafter is not None and not self.can_branch:
            actual["drafter"] = as_chains(config.drafter)
        return actual

    def _events(
        self,
        prompt: Prompt,
        config: RunConfig,
        parts: RunParts,
        memory: SuffixMemory | None,
        should_stop: Callable[[], bool],
    ) -> Iterator[Event]:
        events = self._unnamed_events(prompt, config, parts, should_stop)
        named = with_token_texts(events, self._token_table.text_of)
        return named if memory is None else remembered(named, memory)

    def _unnamed_events(
        self, prompt: Prompt, config: RunConfig, parts: RunParts, should_stop: Callable[[], bool]
    ) -> Iterator[Event]:
        """Without the texts of their tokens."""
        num_known = len(prompt.token_ids) + parts.num_given
        parts, seat = seated(parts, config, num_known, self._max_length(prompt, config))
        return run_events(
            RunScript(self.target, prompt, config, parts.answer.text, should_stop, self._clock),
            lambda: run_started(self.target, prompt, config, parts, self._originals),
            lambda clock: self._stepper(prompt, config, parts, seat, clock),
            self._broke,
        )

    def _broke(self, error: Exception) -> None:
        """What a run leaves behind that broke is not used again."""
        self.forget()
        self.is_usable = not is_gpu_lost(error)
        if self.is_usable:  # to a GPU that is lost nothing can be written
            for runner in (self._backend, self._invariant):
                if runner is not None:
                    runner.clear()

    def _max_length(self, prompt: Prompt, config: RunConfig) -> int:
        """Most tokens that prompt and output have together."""
        return min(len(prompt.token_ids) + config.max_new_tokens, self.target.context_limit)

    def _stepper(
        self, prompt: Prompt, config: RunConfig, parts: RunParts, seat: Seat | None, clock: Clock
    ) -> Stepper:
        """Who does the steps of a run: the device alone where it can, else the host."""
        layers, max_length = self._streamed_layers, self._max_length(prompt, config)
        if layers is not None and config.gpu_memory is not None:
            parts.runner.reserve(max_length)
            fit(layers, parse_bytes(config.gpu_memory))
        return make_stepper(self.target, parts, seat, config, max_length, clock)
