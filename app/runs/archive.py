"""Runs on disk, a folder a visitor: a trace and a short description of each."""

import dataclasses
import json
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from app.runs.imports import describe_sources, read_sources
from core.errors import InvalidSettingError, SpecDecodesError, TraceFormatError
from core.runtime.strict_json import dumps
from core.trace.events import ProfileStarted
from core.trace.file import Trace, load_trace, save_trace
from visualize.imports.records import Source
from visualize.run_facts import RunFacts, run_facts

MAX_RUNS = 200
MAX_AGE_DAYS = 30
MAX_NAME = 80
_RUN_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_DAY_S = 24 * 3600
_IMPORT = ".import"
_CONTENTS = (".jsonl", _IMPORT)


@dataclass(frozen=True, kw_only=True)
class KeptRun:
    """What a list shows of a run, or of a file of another program, without opening it."""

    run_id: str
    trace_id: str
    """The id that its trace has; empty for a file of another program."""
    parent: str
    """The `trace_id` of the run that it is a branch of; empty where it is none."""
    name: str
    mode: str
    """Of a file of another program, its kind."""
    profiled: str
    """Mode that it is a profile of; empty where it is none."""
    lossy_rule: str
    """See `Trace.lossy_rule`."""
    target: str
    device: str
    prompt: str
    kept_at_s: float
    """Seconds since 1970."""
    started_at: str
    outcome: str
    num_tokens: int | None
    num_tested: int | None
    """Draft tokens that `acceptance_rate` is of: those tested, in a file of another program those
    drafted."""
    tokens_per_s: float | None
    acceptance_length: float | None
    acceptance_rate: float | None
    tau_is_bound: bool = False
    """Whether tau is at most that: steps of a server came together."""
    is_import: bool = False
    """Whether it is a file of another program, and no trace."""
    drafted_length: float | None = None
    """Tokens a step over the steps that had a draft, of a file that tells no others."""


class Readable(NamedTuple):
    """A visitor's traces."""

    traces: list[Trace]
    num_unreadable: int


class Archive:
    """Keeps the newest runs of each visitor; older ones make room."""

    def __init__(self, folder: Path, max_runs: int = MAX_RUNS, max_age_days: float = MAX_AGE_DAYS):
        """`folder` holds a folder a visitor; the limits are for each of them."""
        self.folder = folder
        self._max_runs = max_runs
        self._max_age_s = max_age_days * _DAY_S

    def keep(self, visitor: str, run_id: str, trace: Trace, name: str = "") -> KeptRun:
        """Writes a run, then drops what is too old or too much."""
        run = _describe(run_id, trace, name)
        self.place(visitor).mkdir(parents=True, exist_ok=True)
        save_trace(trace, self._path(visitor, run_id, ".jsonl"))
        self._write(visitor, run)
        self._prune(visitor)
        return run

    def runs(self, visitor: str) -> list[KeptRun]:
        """The visitor's runs, newest first."""
        return sorted(self._described(visitor), key=lambda run: run.kept_at_s, reverse=True)

    def trace(self, visitor: str, run_id: str) -> Trace | None:
        """The trace of a run; None where there is none, or it is somebody else's."""
        path = self._path(visitor, run_id, ".jsonl")
        return load_trace(path) if path.is_file() else None

    def rename(self, visitor: str, run_id: str, name: str) -> None:
        """Gives a run a name; an empty one is refused."""
        name = " ".join(name.split())[:MAX_NAME]
        if not name:
            raise InvalidSettingError("The name is empty; give the run a name.")
        for run in self._described(visitor):
            if run.run_id == run_id:
                self._write(visitor, dataclasses.replace(run, name=name))

    def delete(self, visitor: str, run_id: str) -> None:
        """Removes a run; one that is not there is ignored."""
        for ending in (".json", *_CONTENTS):
            self._path(visitor, run_id, ending).unlink(missing_ok=True)

    def readable(self, visitor: str) -> Readable:
        """All traces that open, newest first, and how many do not."""
        traces, num_unreadable = [], 0
        for run in self.runs(visitor):
            if run.is_import:
                continue
            try:
                trace = self.trace(visitor, run.run_id)
            except TraceFormatError:
                num_unreadable += 1
                continue
            if trace is not None:  # not deleted meanwhile
                traces.append(trace)
        return Readable(traces, num_unreadable)

    def adopt(self, visitor: str, trace: Trace, name: str) -> KeptRun:
        """Keeps a trace from elsewhere under an id of its own."""
        return self.keep(visitor, secrets.token_urlsafe(16), trace, name)

    def adopt_import(self, visitor: str, data: bytes, name: str) -> KeptRun:
        """Keeps a file of another program as it is; raises InvalidSettingError for what is none."""
        run_id = secrets.token_urlsafe(16)
        run = _describe_import(run_id, read_sources(data, name), name)
        self.place(visitor).mkdir(parents=True, exist_ok=True)
        path = self._path(visitor, run_id, _IMPORT)
        temporary = path.with_name(path.name + ".part")
        temporary.write_bytes(data)
        temporary.replace(path)
        self._write(visitor, run)
        self._prune(visitor)
        return run

    def import_file(self, visitor: str, run_id: str) -> bytes | None:
        """A file of another program as it came; None where there is none."""
        path = self._path(visitor, run_id, _IMPORT)
        return path.read_bytes() if path.is_file() else None

    def sources(self, visitor: str, run_id: str) -> list[Source] | None:
        """What a kept file of another program tells, by the name it has in the list; None as above."""
        data = self.import_file(visitor, run_id)
        if data is None:
            return None
        named = (run.name for run in self._described(visitor) if run.run_id == run_id)
        return read_sources(data, next(named, "file"))

    def _described(self, visitor: str) -> Iterator[KeptRun]:
        for path in self.place(visitor).glob("*.json"):
            try:
                values = json.loads(path.read_text("utf-8"))
            except FileNotFoundError:
                continue  # deleted meanwhile
            except ValueError:
                values = {}
            try:
                yield KeptRun(**values)
            except TypeError:
                run = self._described_anew(visitor, path.stem, values)
                if run is not None:
                    yield run

    def _described_anew(self, visitor: str, run_id: str, values: Any) -> KeptRun | None:
        """The description of a run whose own is of another version; its name and date stay."""
        try:
            trace, data = self.trace(visitor, run_id), self.import_file(visitor, run_id)
            if trace is not None:
                run = _describe(run_id, trace, "")
            elif data is not None:
                run = _describe_import(run_id, read_sources(data, "file"), "file")
            else:
                return None
        except SpecDecodesError:
            return None
        known = values if isinstance(values, dict) else {}
        kept = {key: known[key] for key in ("name", "kept_at_s") if key in known}
        run = dataclasses.replace(run, **kept)
        self._write(visitor, run)
        return run

    def _write(self, visitor: str, run: KeptRun) -> None:
        path = self._path(visitor, run.run_id, ".json")
        temporary = path.with_name(path.name + ".part")
        temporary.write_text(dumps(dataclasses.asdict(run)), "utf-8", errors="replace")
        temporary.replace(path)

    def _prune(self, visitor: str) -> None:
        oldest_s = time.time() - self._max_age_s
        for place, run in enumerate(self.runs(visitor)):
            if place >= self._max_runs or run.kept_at_s < oldest_s:
                self.delete(visitor, run.run_id)

    def place(self, visitor: str) -> Path:
        """The visitor's shelf."""
        return self.folder / visitor

    def _path(self, visitor: str, run_id: str, ending: str) -> Path:
        if not _RUN_ID.fullmatch(run_id):
            raise InvalidSettingError("There is no such run; choose one of the list.")
        return self.place(visitor) / (run_id + ending)


def _name_of(facts: RunFacts) -> str:
    """A branch has its prompt in common with its parent, and comes first where the name is cut off."""
    branch = "" if facts.forked_at is None else f"branch at token {facts.forked_at + 1}: "
    return branch + facts.prompt_text


def _describe(run_id: str, trace: Trace, name: str) -> KeptRun:
    facts, stats = run_facts(trace), trace.stats
    values: dict[str, Any] = {
        "run_id": run_id,
        "trace_id": facts.run_id,
        "parent": facts.parent,
        "name": " ".join((name or _name_of(facts)).split())[:MAX_NAME] or "untitled",
        "prompt": facts.prompt_text[:400],
        "kept_at_s": time.time(),
        "outcome": facts.outcome or "cut off",
    }
    for key in ("mode", "lossy_rule", "target", "device", "started_at"):
        values[key] = getattr(facts, key)
    for key in ("num_tokens", "num_tested", "tokens_per_s", "acceptance_length", "acceptance_rate"):
        values[key] = stats.known(key)
    profile = trace.first(ProfileStarted)
    values["profiled"] = "" if profile is None else str(profile.config.get("mode", ""))
    values["tau_is_bound"] = stats.origins.get("num_steps") == "at least"
    return KeptRun(**values)


def _describe_import(run_id: str, sources: list[Source], name: str) -> KeptRun:
    return KeptRun(
        run_id=run_id,
        trace_id="",
        parent="",
        name=" ".join(name.split())[:MAX_NAME] or "untitled",
        kept_at_s=time.time(),
        is_import=True,
        **describe_sources(sources),
    )
