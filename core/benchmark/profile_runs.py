"""Makes profiles of questions, keeps them on disk, and sets real runs beside what they predict."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from core.benchmark.named_configs import NamedConfig
from core.benchmark.questions import Question
from core.benchmark.task_progress import TaskProgress
from core.command_line import told_if_not_written, write_text
from core.config import RunConfig
from core.errors import InvalidSettingError, SpecDecodesError
from core.modes.settings import DrafterSettings
from core.profile.costs import at_one_pace
from core.profile.prediction import CostsOf, Prediction, predict
from core.profile.profile import Profile, profile_of
from core.runtime.strict_json import dumps
from core.runtime.text_files import read_text
from core.trace.events import ProfileStarted, RunFailed, RunStarted
from core.trace.file import Trace, load_trace, save_trace
from core.trace.stats import RunStats

if TYPE_CHECKING:
    from core.decoding.run_start import Prompt
    from core.engine import Engine

# Beside the profiles of a folder.
_CATEGORIES = "categories.json"


class MadeProfile(NamedTuple):
    """The profile of one question under one mode."""

    label: str
    """The words that asked for the mode."""
    question_id: int
    category: str
    """Of the question; empty where that is not known."""
    trace: Trace
    profile: Profile
    seconds: float
    """That making it took; 0 for one that was read."""


def make_profiles(
    engine: "Engine", questions: Sequence[Question], named: Sequence[NamedConfig]
) -> list[MadeProfile]:
    """Of the first turn of every question; raises SpecDecodesError."""
    made = []
    with TaskProgress("profiles", len(questions) * len(named)) as progress:
        for question in questions:
            prompt = prompt_of(engine, question)
            for label, config in named:
                made.append(_made(engine, prompt, question, label, config))
                progress.advance(f"question {question.question_id}, {label}")
    _set_one_pace(made)
    return made


def _set_one_pace(made: Sequence[MadeProfile]) -> None:
    """Gives all profiles of one machine and target one pace, for they stand in one table."""
    groups: dict[Any, list[Profile]] = {}
    for item in made:
        run = item.trace.first(RunStarted)
        assert run is not None, "a profile has it"
        groups.setdefault((run.device, dumps(run.target)), []).append(item.profile)
    for profiles in groups.values():
        costs = at_one_pace([profile.costs for profile in profiles])
        for profile, own in zip(profiles, costs, strict=True):
            profile.costs = own


def prompt_of(engine: "Engine", question: Question) -> "Prompt":
    """Its first turn as a chat; raises InvalidSettingError for one that does not fit."""
    prompt = engine.chat_prompt([{"role": "user", "content": question.turns[0]}])
    engine.check_prompt(prompt)
    return prompt


def _made(
    engine: "Engine", prompt: "Prompt", question: Question, label: str, config: RunConfig
) -> MadeProfile:
    start_s = time.perf_counter()
    trace = Trace(list(engine.profile(prompt, config)))
    seconds = time.perf_counter() - start_s
    failed = trace.first(RunFailed)
    if failed is not None:
        raise SpecDecodesError(f"{label}, question {question.question_id}: {failed.message}")
    return MadeProfile(
        label, question.question_id, question.category, trace, profile_of(trace), seconds
    )


def save_profiles(folder: Path, made: Sequence[MadeProfile]) -> None:
    """MODE-QUESTION.jsonl each, with a number behind the mode where there are several of it, and the
    categories of the questions beside them; raises StorageError."""
    labels = list(dict.fromkeys(item.label for item in made))
    for item in made:
        mode = item.profile.config.mode
        same = [label for label in labels if label.partition(":")[0] == mode]
        number = f"-{same.index(item.label) + 1}" if len(same) > 1 else ""
        path = folder / f"{mode}{number}-{item.question_id}.jsonl"
        with told_if_not_written(path):
            folder.mkdir(parents=True, exist_ok=True)
            save_trace(item.trace, path)
    categories = {str(item.question_id): item.category for item in made}
    write_text(folder / _CATEGORIES, dumps(categories, indent=1) + "\n")


def read_profiles(folder: Path) -> list[MadeProfile]:
    """All profiles in a folder, those of equal settings under one label; raises InvalidSettingError
    where there are none, and TraceFormatError for a file that is no trace."""
    paths = sorted(folder.glob("*.jsonl"))
    if not paths:
        raise InvalidSettingError(
            f"{folder} holds no profiles; give a folder that --traces of this command wrote."
        )
    made = list(_read(paths, _categories_in(folder)))
    _set_one_pace(made)
    return made


def _categories_in(folder: Path) -> dict[str, str]:
    """By the words of question ids; empty where none are kept."""
    path = folder / _CATEGORIES
    if not path.is_file():
        return {}
    try:
        found = json.loads(read_text(path, "give the file that --traces wrote"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise InvalidSettingError(
            f"{path} holds no categories by question ids; give the file that --traces wrote, or none."
        )
    return found


def _read(paths: Sequence[Path], categories: Mapping[str, str]) -> Iterator[MadeProfile]:
    labels: dict[str, str] = {}
    for number, path in enumerate(paths, start=1):
        trace = load_trace(path)
        profile = profile_of(trace)
        started = trace.first(ProfileStarted)
        assert started is not None, "a profile has it"
        key = str(sorted(started.config.items(), key=str))
        mode = profile.config.mode
        count = sum(label.partition(" ")[0] == mode for label in labels.values())
        label = labels.setdefault(key, mode if not count else f"{mode} ({count + 1})")
        tail = path.stem.rpartition("-")[2]
        question_id = int(tail) if tail.isdecimal() else number
        category = categories.get(tail, "")
        yield MadeProfile(label, question_id, category, trace, profile, 0.0)


class Checked(NamedTuple):
    """Real runs of all questions beside their prediction."""

    label: str
    settings: DrafterSettings
    predicted: Prediction
    """At the pace of the plain runs beside the real ones."""
    real: RunStats
    num_equal: int
    """Runs with the steps of their replay, as far as their numbers tell: as many, and as many tokens
    drafted and kept."""
    num_runs: int
    pace: float
    """How many times as long plain decoding took beside the real runs as the profiles tell."""


def check(
    engine: "Engine",
    questions: Sequence[Question],
    made: Sequence[MadeProfile],
    chosen: Sequence[tuple[str, DrafterSettings]],
    repeats: int = 1,
) -> list[Checked]:
    """Runs the chosen settings for real, each question in turn under all of them and `repeats` times,
    of which the median counts; raises SpecDecodesError.

    The pace of a machine changes from minute to minute. So plain decoding runs beside each question's
    runs, and predictions are at the pace that it has there.
    """
    if not chosen:
        return []
    configs = [(label, _config(made, label, settings)) for label, settings in chosen]
    # Once more, to warm up: what is first loaded or learned is no part of the pace.
    for label, config in configs:
        _real(engine, questions[0], label, config)
    configs = [("plain", configs[0][1].plain()), *configs]
    runs: dict[tuple[int, int], list[RunStats]] = {}
    with TaskProgress("real runs", len(configs) * len(questions) * repeats) as progress:
        for _, question in product(range(repeats), questions):
            for place, (label, config) in enumerate(configs):
                stats = _real(engine, question, label, config)
                runs.setdefault((place, question.question_id), []).append(stats)
                progress.advance(f"question {question.question_id}, {label}")
    ids = [question.question_id for question in questions]
    plain, *reals = [[runs[place, each] for each in ids] for place in range(len(configs))]
    pace = _pace_beside([item for item in made if item.label == chosen[0][0]], _usual(plain))
    checked = []
    for (label, settings), real in zip(chosen, reals, strict=True):
        own = {item.question_id: item.profile for item in made if item.label == label}
        profiles = [own[each] for each in ids]
        num_equal = 0
        for profile, of_one in zip(profiles, real, strict=True):
            replayed = predict([profile], settings, _at_pace(pace))
            num_equal += sum(_has_steps(stats, replayed) for stats in of_one)
        predicted = predict(profiles, settings, _at_pace(pace))
        num_runs = sum(map(len, real))
        checked.append(Checked(label, settings, predicted, _usual(real), num_equal, num_runs, pace))
    return checked


def _at_pace(pace: float) -> CostsOf:
    return lambda profile: profile.costs.at_pace(pace * profile.costs.pace)


def _usual(runs: Sequence[Sequence[RunStats]]) -> RunStats:
    """Of each question's runs the one that took the median time, added up: what else a machine does for
    a moment is no part of them."""
    found = RunStats()
    for of_one in runs:
        found.merge(sorted(of_one, key=lambda stats: stats.steps_s)[len(of_one) // 2])
    return found


def _config(made: Sequence[MadeProfile], label: str, settings: DrafterSettings) -> RunConfig:
    config = next(item.profile.config for item in made if item.label == label)
    return replace(config, drafter=settings)


def _pace_beside(items: Sequence[MadeProfile], plain: RunStats) -> float:
    """Of plain runs of all profiles' questions."""
    expected = predict([item.profile for item in items], None)
    return (plain.steps_s / plain.num_tokens) / (expected.seconds / expected.num_tokens)


def _has_steps(stats: RunStats, replayed: Prediction) -> bool:
    return (replayed.num_steps, replayed.num_drafted, replayed.num_accepted) == (
        stats.num_steps,
        stats.num_drafted,
        stats.num_accepted,
    )


def _real(engine: "Engine", question: Question, label: str, config: RunConfig) -> RunStats:
    """Of a real run of a question; raises SpecDecodesError."""
    trace = Trace(list(engine.run(prompt_of(engine, question), config)))
    failed = trace.first(RunFailed)
    if failed is not None:
        raise SpecDecodesError(f"{label}: {failed.message}")
    return trace.stats
