"""What a run starts from: its prompt, its parts, and the event that tells of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

from core.acceptance.constraint import Constraint
from core.acceptance.corrections import Corrections
from core.acceptance.registry import lossy_rule
from core.backends.cost_curve import CostCurve
from core.backends.runner import ModelRunner
from core.backends.torch.forward import TorchForward
from core.config import RunConfig, SamplingConfig
from core.decoding.batch import Scheduler
from core.decoding.device.graph_runner_cache import GraphRunnerCache
from core.decoding.stop_strings import StopText
from core.drafters.base import CostOfRows, Drafter
from core.drafters.suffix_memory import MemoryView
from core.errors import InvalidSettingError
from core.loading.loading import LoadedModel
from core.models.detokenizer import StreamDecoder, TokenTable
from core.quant.offload import OriginalWeights
from core.runtime.environment import describe_device, package_versions
from core.trace.events import RunStarted
from core.trace.fork import Fork
from core.trace.stamps import new_run_id, utc_now


class Prompt(NamedTuple):
    """A prompt as shown and as the model reads it."""

    text: str
    token_ids: list[int]
    fork: Fork | None = None
    """Where the answer is a branch of another run's."""

    @property
    def given_token_ids(self) -> list[int]:
        """The tokens with which the answer begins; empty but for a branch."""
        return self.fork.token_ids if self.fork is not None else []

    @property
    def all_token_ids(self) -> list[int]:
        """All that the target reads before the first step."""
        return self.token_ids + self.given_token_ids


class Beginning(NamedTuple):
    """An answer before its first step."""

    text: StopText
    """Takes the tokens that the steps emit."""
    given_texts: list[str]
    """What each of `Prompt.given_token_ids` adds to the text."""


class RunParts(NamedTuple):
    """What was made ready for one run."""

    runner: ModelRunner
    drafter: Drafter | None
    curve: CostCurve | None
    """Of a verification; None where tree sizes are fixed and it was not measured before."""
    cost: CostOfRows | None
    """What a verification costs this run: the curve, or its share of a batch's forward. None where tree
    sizes are fixed."""
    graphs: GraphRunnerCache | None
    """Lets the device do the steps alone; None where the host must decide them."""
    corrections: Corrections | None
    """What the settings change of the target's logits."""
    host_reason: str
    """Why the host decides steps that the device could do alone; empty where it does, or cannot."""
    scheduler: Scheduler
    """With whom its forwards are shared."""
    answer: Beginning
    memory: MemoryView | None = None
    """The earlier answers that it looks up in, where it does."""
    num_given: int = 0
    """Tokens with which the answer begins, which no step chooses."""


def make_corrections(
    sampling: SamplingConfig,
    table: TokenTable,
    vocab_size: int,
    end_token_ids: frozenset[int],
    token_trie: Callable[[], Any],
) -> Corrections | None:
    """What the settings change of the target's logits; None where they stay as they are.

    `token_trie` is asked for where there is a constraint. Raises InvalidSettingError for a token that
    the target lacks, and for a constraint that cannot be held.
    """
    if not sampling.corrections:
        return None
    biases: dict[int, float] = {}
    for token, bias in sampling.token_biases:
        token_id = table.id_of(token, vocab_size)
        if token_id in biases:
            raise InvalidSettingError(f"logit_bias names token {token_id} twice; give it once.")
        biases[token_id] = bias
    constraint = None
    if sampling.constraint is not None:
        constraint = Constraint(sampling.constraint, token_trie, vocab_size, end_token_ids)
    return Corrections(sampling, biases, vocab_size, end_token_ids, constraint)


def begin_answer(
    target: LoadedModel, prompt: Prompt, config: RunConfig, corrections: Corrections | None
) -> Beginning:
    """Goes as far into an answer as its prompt gives it; the corrections begin there.

    Raises InvalidSettingError for a beginning that no answer under these settings has.
    """
    given = prompt.given_token_ids
    if len(given) > config.max_new_tokens:
        raise InvalidSettingError(
            f"the answer begins with {len(given)} tokens and max_new_tokens is {config.max_new_tokens}, "
            "which counts them; give more."
        )
    text = StopText(StreamDecoder(target.tokenizer), config.stop, config.sampling.min_new_tokens)
    texts: list[str] = []
    for place, token_id in enumerate(given):
        if text.cut is not None or (place and given[place - 1] in target.eos_token_ids):
            raise InvalidSettingError(
                f"the answer ends with its token {place} and the branch goes on behind that; choose "
                "another token, or leave out the stop string that ends it."
            )
        texts.append(text.push(token_id))
    if corrections is not None:
        corrections.begin(prompt.token_ids, given)
    return Beginning(text, texts)


def run_started(
    target_model: LoadedModel,
    prompt: Prompt,
    config: RunConfig,
    parts: RunParts,
    originals: OriginalWeights | None,
) -> RunStarted:
    """The first event of a run, which tells what it depends on."""
    forward = parts.runner.forward
    target = {**target_model.identity.to_dict(), "forward": forward.name}
    if parts.graphs is not None:
        target["forward"] = f"{forward.name}, {parts.graphs.name}"
    if parts.host_reason:
        target["host_steps"] = parts.host_reason
    if isinstance(forward, TorchForward):
        target["kernels"] = forward.kernel_names
    if parts.curve is not None:
        target["forward_ms"] = parts.curve.to_ms()
    rounding = target_model.rounding_note(config)
    if rounding:
        target["rounding"] = rounding
    if originals is not None and originals.is_offloaded:
        target["num_bytes"] = originals.num_bytes
        target["place"] = "disk"
    return RunStarted(
        step=0,
        t_start_s=0.0,
        t_end_s=0.0,
        run_id=new_run_id(),
        started_at=utc_now(),
        config=config.to_dict(),
        target=target,
        draft=parts.drafter.identity if parts.drafter is not None else None,
        device=describe_device(target_model.device),
        versions=dict(package_versions()),
        seed=config.sampling.seed,
        prompt_text=prompt.text,
        prompt_token_ids=prompt.token_ids,
        batch_size=parts.scheduler.size,
        lossy_rule=lossy_rule(config.to_dict()),
        memory=None if parts.memory is None else parts.memory.to_dict(),
        parent="" if prompt.fork is None else prompt.fork.parent,
        forked_at=None if prompt.fork is None else prompt.fork.position,
        prefix_token_ids=prompt.given_token_ids,
        prefix_texts=parts.answer.given_texts,
    )
