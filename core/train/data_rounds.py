"""The rounds of `core.train.generate_data`: prompts, answers, and what is kept of them."""

import argparse
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from core.backends.torch.forward import TorchForward
from core.distributed.ranks import Rank, join_ranks, leave_ranks, wait_for_all
from core.errors import InvalidSettingError
from core.loading.fingerprint import model_key
from core.loading.loading import LoadedModel
from core.loading.prompts import text_token_ids
from core.runtime.environment import describe_device, package_versions
from core.runtime.strict_json import dumps
from core.train.chat_frame import ChatFrame, chat_frame
from core.train.conversations import PromptFilter, cut, good_conversations
from core.train.filters import NearDuplicates, prompt_key, read_questions
from core.train.sampler import Opening, SampledRound, Sampler, SamplerSettings
from core.train.shards import (
    Conversation,
    read_manifest,
    shard_path,
    write_manifest,
    write_shard,
)
from core.train.teacher import load_teacher, own_forward

# The tasks that a small chat model otherwise seldom invents; None is the template's own prompt.
_SYSTEM_PROMPTS = (
    None,
    "You are a helpful assistant. The user asks for stories, letters, blog posts or poems.",
    "You are a helpful assistant. The user gives you a role to play and asks you to stay in it.",
    "You are a helpful assistant. The user asks about mathematics and logic, with numbers.",
    "You are a helpful programming assistant. The user asks for code or its explanation.",
    "You are a helpful assistant. The user gives a text and asks to extract facts from it.",
    "You are a helpful assistant. The user asks about physics, chemistry, biology or medicine.",
    "You are a helpful assistant. The user asks about history, economics, law or society.",
)
# Slots that need more ask again: at a temperature, the answers differ.
_OPENINGS_PER_SLOT = 2
_PROMPT_COLUMNS = 192
_ROUND_STRIDE = 1_000_003


class _Job(NamedTuple):
    """What all stages need."""

    options: argparse.Namespace
    rank: Rank
    target: LoadedModel
    forward: TorchForward
    frame: ChatFrame
    near: NearDuplicates
    num_rounds: int


def generate(options: argparse.Namespace) -> None:
    """Writes the data that the checked options ask for; raises SpecDecodesError."""
    rank = join_ranks(options.device)
    _generate(_prepare(options, rank))
    leave_ranks(rank)


def _prepare(options: argparse.Namespace, rank: Rank) -> _Job:
    questions = [question for path in options.exclude for question in read_questions(path)]
    near = NearDuplicates(questions)
    target = load_teacher(options)
    forward = own_forward(target)
    frame = chat_frame(target.tokenizer, target.eos_token_ids)
    num_rounds = -(-options.tokens // (options.slots * options.columns))
    options.out.mkdir(parents=True, exist_ok=True)
    settings = {
        "target": options.target,
        "target_key": model_key(target),
        "seed": options.seed,
        "slots": options.slots,
        "columns": options.columns,
        "most_user_tokens": options.most_user_tokens,
        "most_answer_tokens": options.most_answer_tokens,
        "turns": options.turns,
        "temperatures": options.temperatures,
        "held_out_share": options.held_out,
        "prompt_files": [path.name for path in options.prompts],
        "excluded_files": [path.name for path in options.exclude],
    }
    before = read_manifest(options.out)
    if before is not None and before["settings"] != settings:
        changed = [name for name in settings if before["settings"].get(name) != settings[name]]
        raise InvalidSettingError(
            f"{options.out} holds data of other settings ({', '.join(changed)}); give another "
            "folder, or the same settings to go on."
        )
    if before is None and rank.is_first:
        versions = package_versions()
        about = {"device": describe_device(rank.device), "versions": versions}
        write_manifest(options.out, {"settings": settings, "made_on": about})
    wait_for_all(rank)
    return _Job(options, rank, target, forward, frame, near, num_rounds)


def _generate(job: _Job) -> None:
    options, started = job.options, time.monotonic()
    prompts = _all_prompts(job)
    sampler = Sampler(
        job.forward,
        job.frame,
        SamplerSettings(
            options.slots, options.columns, options.most_user_tokens, options.most_answer_tokens
        ),
    )
    per_round = min(_OPENINGS_PER_SLOT * options.slots, len(prompts))
    # The CPU sorts out a round while the GPU samples the next.
    with ThreadPoolExecutor(max_workers=1) as sorting:
        writing: Future[None] | None = None
        for index in range(job.rank.number, job.num_rounds, job.rank.num_ranks):
            if shard_path(options.out, index).exists():
                continue
            if options.minutes and time.monotonic() - started > options.minutes * 60:
                break
            before_s = time.monotonic()
            picked = [(index * per_round + i) % len(prompts) for i in range(per_round)]
            openings = [_answered(job, prompts[i], i) for i in picked]
            sampled = sampler.run(openings, _seed(options.seed, index))
            sampled_s = time.monotonic() - before_s
            if writing is not None:
                writing.result()
            writing = sorting.submit(_write_round, job, index, sampled, openings, sampled_s)
        if writing is not None:
            writing.result()
    wait_for_all(job.rank)
    if job.rank.is_first:
        _finish_manifest(options.out, len(prompts), time.monotonic() - started)


def _write_round(
    job: _Job, index: int, sampled: SampledRound, openings: list[Opening], sampled_s: float
) -> None:
    kept, counts = good_conversations(
        sampled, openings, job.frame, job.target.tokenizer, job.near, job.options.held_out
    )
    num_kept = sum(len(item.token_ids) for item in kept)
    print(
        f"round {index + 1}/{job.num_rounds}: {sampled.token_ids.numel() / sampled_s:,.0f} "
        f"tokens/s, kept {num_kept:,} tokens of {dict(counts)}",
        flush=True,
    )
    _note(job.options.out, index, counts, kept, sampled_s)
    write_shard(shard_path(job.options.out, index), kept)


def _answered(job: _Job, prompt: list[int], index: int) -> Opening:
    options = job.options
    temperature = options.temperatures[index % len(options.temperatures)]
    num_answers = 1 + index // len(options.temperatures) % options.turns
    return Opening(job.frame.conversation_start(prompt), True, num_answers, temperature)


def _seed(seed: int, round_index: int) -> int:
    return seed * _ROUND_STRIDE + round_index


def _all_prompts(job: _Job) -> list[list[int]]:
    """Prompts of files, then sampled ones; each once, the same on every rank."""
    options, tokenizer = job.options, job.target.tokenizer
    wanted = job.num_rounds * _OPENINGS_PER_SLOT * options.slots
    texts = [text for path in options.prompts for text in read_questions(path)]
    prompts: dict[str, list[int]] = {}
    for text in texts:
        ids = text_token_ids(job.target, text.strip())
        if 0 < len(ids) <= options.most_user_tokens and not job.near(text):
            prompts.setdefault(prompt_key(text), ids)
    sampler = None
    round_index = 0
    while len(prompts) < wanted:
        # Ranks sample a part each, then all read all.
        mine = round_index + job.rank.number
        path = options.out / f"prompts-{mine:05d}.safetensors"
        if not path.exists():
            sampler = sampler or _prompt_sampler(job)
            write_shard(path, _sampled_prompts(job, sampler, mine))
        wait_for_all(job.rank)
        before = len(prompts)
        for part in range(round_index, round_index + job.rank.num_ranks):
            for ids in _read_prompts(options.out / f"prompts-{part:05d}.safetensors"):
                prompts.setdefault(prompt_key(tokenizer.decode(ids)), ids)
        round_index += job.rank.num_ranks
        if job.rank.is_first:
            print(f"{len(prompts):,} of {wanted:,} prompts", flush=True)
        if len(prompts) - before < (wanted - before) / 1000:
            break  # the model has little more to ask: its prompts are asked again
    if not prompts:
        raise InvalidSettingError(
            "the target wrote no prompt that can be used; give --prompts FILE with some."
        )
    return list(prompts.values())[:wanted]


def _prompt_sampler(job: _Job) -> Sampler:
    options = job.options
    longest = max(len(opening.token_ids) for opening in _prompt_openings(job))
    settings = SamplerSettings(
        options.slots,
        max(_PROMPT_COLUMNS, longest + options.most_user_tokens),
        options.most_user_tokens,
        options.most_answer_tokens,
    )
    return Sampler(job.forward, job.frame, settings)


def _prompt_openings(job: _Job) -> list[Opening]:
    openings = []
    for system_prompt in _SYSTEM_PROMPTS:
        frame = chat_frame(job.target.tokenizer, job.target.eos_token_ids, system_prompt)
        for temperature in (0.8, 1.0):
            openings.append(Opening(list(frame.opening), False, 0, temperature))
    return openings


def _sampled_prompts(job: _Job, sampler: Sampler, index: int) -> list[Conversation]:
    openings = _prompt_openings(job)
    sampled = sampler.run(openings, _seed(job.options.seed, index) + _ROUND_STRIDE // 2)
    keep = PromptFilter(job.target.tokenizer, job.frame, job.near)
    found = []
    for number, ids in cut(sampled):
        prompt = keep(ids, len(openings[number % len(openings)].token_ids))
        if prompt is not None:
            array = np.array(prompt, dtype=np.int32)
            found.append(Conversation(array, np.zeros(len(array), dtype=np.bool_), 0.0, False))
    print(f"prompts, part {index}: {len(found):,} kept, {dict(keep.counts)} dropped", flush=True)
    return found


def _read_prompts(path: Path) -> list[list[int]]:
    from safetensors.torch import load_file

    part = load_file(path)
    ends = part["offsets"].tolist()
    ids = part["token_ids"].tolist()
    return [ids[start:end] for start, end in pairwise(ends)]


def _note(
    folder: Path, index: int, counts: Counter[str], kept: list[Conversation], sampled_s: float
) -> None:
    """What is told of a round, beside its shard."""

    values: dict[str, Any] = {
        "counts": dict(counts),
        "num_conversations": len(kept),
        "num_tokens": sum(len(item.token_ids) for item in kept),
        "num_answer_tokens": sum(int(item.loss_mask.sum()) for item in kept),
        "num_held_out": sum(item.is_held_out for item in kept),
        "sampled_s": round(sampled_s, 2),
    }
    (folder / f"round-{index:05d}.json").write_text(dumps(values), encoding="utf-8")


def _finish_manifest(folder: Path, num_prompts: int, total_s: float) -> None:
    import json

    manifest = read_manifest(folder) or {}
    totals: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for path in sorted(folder.glob("round-*.json")):
        values = json.loads(path.read_text(encoding="utf-8"))
        counts.update(values.pop("counts"))
        totals.update(values)
    manifest["prompts"] = num_prompts
    manifest["totals"] = {**totals, "seconds_of_this_run": round(total_s, 1)}
    manifest["conversations"] = dict(counts)
    write_manifest(folder, manifest)
    print(f"{totals['num_tokens']:,} tokens in {total_s:.0f} s", flush=True)
