"""Programs of others against the endpoint on the default model, each in an environment of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.config import RunConfig
from core.engine import Engine
from core.models.sources import find_model
from core.runtime.storage import no_progress
from core.trace.file import Trace
from tests.app.api.served_api import ServedApi, serve_api

pytestmark = pytest.mark.slow

HOME = Path(__file__).parents[2] / ".build" / "clients"
QUESTIONS = ["Why is the sky blue?", "List five fruits.", "Name a river.", "What is 2 + 3?"]
NUM_TOKENS = 24
TARGET = "smollm2-135m"
# Theirs are their own packages.
SURROUNDINGS = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def command(package: str, program: str) -> Path:
    """A program of a package, which is installed where it was not."""
    home = HOME / package.partition("[")[0].partition("=")[0]
    if not (home / "bin" / program).exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([str(home / "bin" / "pip"), "install", "--quiet", package], check=True)
    return home / "bin" / program


@pytest.fixture(scope="module")
def api(default_engine: Engine) -> Iterator[ServedApi]:
    settings = {"mode": "ngram", "drafter": {"fixed_size": True}}
    with serve_api(
        lambda key, progress: default_engine, TARGET, size=8, settings=settings
    ) as served:
        yield served


@pytest.mark.parametrize("concurrency", [1, 4, 8])
def test_aiperf_reads_times_tokens_and_speculation(
    concurrency: int, api: ServedApi, tmp_path: Path
) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text("".join(json.dumps({"text": text}) + "\n" for text in QUESTIONS))
    number = 2 * concurrency
    before = len(api.handlers.store.runs)
    done = subprocess.run(
        [
            str(command("aiperf==0.13.0", "aiperf")), "profile", "--model", "smollm2-135m",
            "--url", api.address, "--endpoint-type", "chat", "--streaming",
            "--concurrency", str(concurrency), "--request-count", str(number),
            "--input-file", str(questions), "--custom-dataset-type", "single_turn",
            "--tokenizer", str(find_model(TARGET, no_progress).folder), "--use-server-token-count",
            "--extra-inputs", json.dumps({"max_completion_tokens": NUM_TOKENS, "temperature": 0}),
            "--ui", "none", "--artifact-dir", str(tmp_path / "out"),
        ],
        capture_output=True, text=True, timeout=900, env=SURROUNDINGS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    print(done.stdout)
    lines = (tmp_path / "out" / "profile_export.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert len(records) == number and all(record.get("error") is None for record in records)
    runs = api.handlers.store.runs[before:]
    totals = {"accepted": 0, "drafted": 0, "tokens": 0}
    for record in records:
        told = record.get("spec_decode_acceptance", {})
        totals["accepted"] += told.get("num_accepted_draft_tokens", 0)
        totals["drafted"] += told.get("num_draft_tokens", 0)
        totals["tokens"] += int(record["metrics"]["output_token_count"]["value"])
    stats = [run.stats for run in runs]
    assert len(runs) == number
    assert totals == {
        "accepted": sum(own["num_accepted"] for own in stats),
        "drafted": sum(own["num_drafted"] for own in stats),
        "tokens": sum(own["num_tokens"] for own in stats),
    }
    assert totals["drafted"] > 0


TASK = """
task: say_it
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n\\n"], max_gen_toks: TOKENS, temperature: 0, do_sample: false}
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
"""


@pytest.mark.parametrize("kind", ["completions", "chat-completions"])
def test_lm_eval_scores_what_the_engine_answers(
    kind: str, api: ServedApi, default_engine: Engine, tmp_path: Path
) -> None:
    """A task whose right answers are the engine's own, but for one that is wrong."""
    answers = [_answer(default_engine, question, kind) for question in QUESTIONS]
    data = tmp_path / "data.jsonl"
    with data.open("w") as file:
        for question, answer in zip(QUESTIONS, [*answers[:-1], "wrong"], strict=True):
            file.write(json.dumps({"question": question, "answer": answer}) + "\n")
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    text = TASK.replace("DATA", str(data)).replace("TOKENS", str(NUM_TOKENS))
    (tasks / "say_it.yaml").write_text(text)
    path = kind.replace("chat-", "chat/")
    given = f"model=smollm2-135m,base_url={api.address}/v1/{path},num_concurrent=4,max_retries=1"
    given += ",tokenizer_backend=None,tokenized_requests=False"
    chat = ["--apply_chat_template"] if kind.startswith("chat") else []
    done = subprocess.run(
        [
            str(command("lm-eval[api]==0.4.13", "lm-eval")), "run", "--model", f"local-{kind}",
            "--model_args", given, "--tasks", "say_it", "--include_path", str(tasks),
            "--output_path", str(tmp_path / "out"), *chat,
        ],
        capture_output=True, text=True, timeout=900,
        env={**SURROUNDINGS, "OPENAI_API_KEY": "none"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (results,) = (tmp_path / "out").rglob("results*.json")
    told: dict[str, Any] = json.loads(results.read_text())["results"]["say_it"]
    score = next(value for name, value in told.items() if name.startswith("exact_match,"))
    assert score == (len(QUESTIONS) - 1) / len(QUESTIONS)


def _answer(engine: Engine, question: str, kind: str) -> str:
    prompt = engine.raw_prompt(question)
    if kind.startswith("chat"):
        prompt = engine.chat_prompt([{"role": "user", "content": question}])
    config = RunConfig(max_new_tokens=NUM_TOKENS, stop=("\n\n",))
    return Trace(list(engine.run(prompt, config))).text
