"""One visitor: asks, stops, reloads and exports at random, and checks all that comes back."""

import io
import json
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from app.server.paths import PREFIX
from core.trace.file import Trace, read_trace
from tests.load.oracle import MOST_TOKENS, SAMPLINGS, Oracle, Question
from tests.page_client import PageClient

EXPORTS = ("steps.csv", "tokens.csv", "perfetto.json", "report.html", "figures.json")
ACTIONS = ("wait", "wait", "wait", "stop", "stop", "reload", "export", "export")


@dataclass
class Asked:
    """When a run was queued and when it began; seconds of one clock for all visitors."""

    queued_s: float
    began_s: float | None = None


@dataclass
class Findings:
    """What all visitors saw; each thread appends to its own."""

    asked: list[Asked] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    num_tokens: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    steps_after_press: list[int] = field(default_factory=list)
    """From the last step that was seen before a stop was pressed to the end."""
    steps_after_stop: list[int] = field(default_factory=list)
    """From when the server had taken the stop to the end; those on the way are not in it."""


class Answer:
    """The tokens of a run as its messages bring them."""

    def __init__(self) -> None:
        self.run_id = ""
        self.token_ids: list[int] = []
        self.num_steps = 0
        self.status: dict[str, Any] = {}
        self._num_events = 0

    def take(self, text: str) -> None:
        """Raises ValueError where a message is of another run, or events are missing."""
        message = json.loads(text)
        if "notice" in message:
            raise ValueError(f"refused: {message['notice']}")
        if self.run_id and message["run"] != self.run_id:
            raise ValueError("a message of another run")
        if message["seq"] != self._num_events:
            raise ValueError(f"events {self._num_events} to {message['seq']} are missing")
        self.run_id, self.status = message["run"], message["status"]
        self._num_events += len(message["events"])
        for event in message["events"]:
            if event["kind"] == "committed":
                self.token_ids += event["token_ids"]
                self.num_steps += 1


class Visitor:
    """Goes on until `end`; no trouble is raised, all are noted."""

    def __init__(
        self,
        address: str,
        oracle: Oracle,
        modes: tuple[str, ...],
        seed: int,
        end: threading.Event,
    ):
        self._modes = modes
        self._chance = random.Random(seed)
        self._oracle = oracle
        self._end = end
        self._client = PageClient(address)
        self.findings = Findings()

    def run(self) -> None:
        while not self._end.is_set():
            action = self._chance.choice(ACTIONS)
            question = self._chance.choice(self._oracle.questions)
            num_tokens = self._chance.randint(4, MOST_TOKENS)
            mode = self._chance.choice(self._modes)
            try:
                self._ask(action, question, num_tokens, mode)
            except Exception as error:
                told = f"{action}, {mode}, {num_tokens} tokens, {question}: {error!r}"
                self.findings.troubles.append(told)
                self._client.reload()
            counts = self.findings.counts
            counts[action] = counts.get(action, 0) + 1
            time.sleep(self._chance.random())
        self._client.close()

    def _ask(self, action: str, question: Question, num_tokens: int, mode: str) -> None:
        self._client.act("clear")
        asked = Asked(time.monotonic())
        self.findings.asked.append(asked)
        expected = self._oracle.answer(question, num_tokens)
        answer = Answer()
        when = self._chance.randint(0, len(expected) - 1)
        messages = self._client.stream(
            "send",
            **{
                "message": question.prompt,
                "setting-mode": mode,
                "setting-dtype": "float32",
                "setting-max-new-tokens": num_tokens,
                **SAMPLINGS[question.sampling],
            },
        )
        num_steps_at_press = num_steps_at_stop = None
        for text in messages:
            answer.take(text)
            if asked.began_s is None and answer.status["phase"] == "running":
                asked.began_s = time.monotonic()
            if len(answer.token_ids) >= when and num_steps_at_stop is None:
                if action == "reload":
                    messages.close()  # type: ignore[attr-defined]
                    answer = self._gone_on(answer.run_id)
                    break
                if action == "stop" and answer.status["phase"] == "running":
                    num_steps_at_press = answer.num_steps
                    self._client.act("stop")
                    num_steps_at_stop = self._trace(answer.run_id).stats.num_steps
        self._check(action, answer, expected)
        if num_steps_at_stop is not None and num_steps_at_press is not None:
            num_steps = self._trace(answer.run_id).stats.num_steps
            self.findings.steps_after_press.append(num_steps - num_steps_at_press)
            self.findings.steps_after_stop.append(num_steps - num_steps_at_stop)
        if action == "export":
            self._export(answer)

    def _gone_on(self, run_id: str) -> Answer:
        """The whole answer after the page was loaded anew in its middle."""
        self._client.reload()
        messages = self._client.resume("chat", [run_id])
        (turn,) = json.loads(next(messages))["resumed"]
        answer = Answer()
        if turn["is_over"]:
            message = self._client.http.get(f"/{PREFIX}/archive/{run_id}/message.json")
            answer.take(message.raise_for_status().text)
        for text in messages:
            answer.take(text)
        return answer

    def _check(self, action: str, answer: Answer, expected: list[int]) -> None:
        self.findings.num_tokens += len(answer.token_ids)
        if answer.token_ids != expected[: len(answer.token_ids)]:
            raise ValueError(f"other tokens: {answer.token_ids} for {expected}")
        if answer.status["phase"] != "ended":
            raise ValueError(f"it ended as {answer.status}")
        if action != "stop" and len(answer.token_ids) < len(expected):
            raise ValueError(f"{len(answer.token_ids)} of {len(expected)} tokens")

    def _trace(self, run_id: str) -> Trace:
        text = self._client.http.get(f"/{PREFIX}/runs/{run_id}/trace.jsonl").raise_for_status().text
        return read_trace(io.StringIO(text))

    def _export(self, answer: Answer) -> None:
        if self._trace(answer.run_id).token_ids != answer.token_ids:
            raise ValueError("the trace has other tokens")
        name = self._chance.choice(EXPORTS)
        self._client.http.get(f"/{PREFIX}/runs/{answer.run_id}/{name}").raise_for_status()
        listed = self._client.http.get(f"/{PREFIX}/archive.json").raise_for_status().json()["runs"]
        if answer.run_id not in {run["run_id"] for run in listed}:
            raise ValueError("the run is not among those that were kept")
