"""OpenAI's own client against a real engine: each answer is the engine's, whatever drafts it."""

import concurrent.futures
import re
from typing import Any

import openai
import pytest
import torch

from core.config import RunConfig
from core.engine import Engine
from core.trace.events import Committed
from core.trace.file import Trace
from tests.app.api.served_api import ServedApi

Tiny = tuple[str, Engine]
PROMPT = "The quick brown fox. The quick brown fox. The quick"
MESSAGES: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}]
TREE = {"mode": "ngram", "drafter": {"num_nodes": 12, "fixed_size": True}}


def trace_of(engine: Engine, prompt: Any, **settings: Any) -> Trace:
    """What the engine itself answers."""
    made = engine.raw_prompt(prompt) if isinstance(prompt, str) else engine.chat_prompt(prompt)
    return Trace(list(engine.run(made, RunConfig.from_dict(settings))))


def test_models_are_listed_and_found(client: openai.OpenAI, tiny: Tiny) -> None:
    assert [model.id for model in client.models.list()] == [tiny[0], "smollm2-135m"]
    assert client.models.retrieve("smollm2-135m").owned_by == "specdecodes"
    with pytest.raises(openai.NotFoundError, match="There is no model 'gpt'"):
        client.models.retrieve("gpt")


@pytest.mark.parametrize("own", [{"mode": "naive"}, TREE], ids=["naive", "ngram"])
def test_a_chat_has_the_engines_answer(client: openai.OpenAI, tiny: Tiny, own: Any) -> None:
    answer = client.chat.completions.create(
        model=tiny[0],
        messages=MESSAGES,
        max_tokens=30,
        temperature=0,
        extra_body={"specdecodes": own},
    )
    trace = trace_of(tiny[1], MESSAGES, max_new_tokens=30)
    choice = answer.choices[0]
    assert choice.message.content == trace.text and choice.finish_reason == "length"
    assert answer.object == "chat.completion" and answer.model == tiny[0]
    prompt_tokens = len(tiny[1].chat_prompt(MESSAGES).token_ids)
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (prompt_tokens, 30)


def test_a_stream_has_a_chunk_a_step_with_its_token_ids(client: openai.OpenAI, tiny: Tiny) -> None:
    stream = client.chat.completions.create(
        model=tiny[0],
        messages=MESSAGES,
        max_completion_tokens=40,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"specdecodes": TREE, "return_token_ids": True},
    )
    trace = trace_of(tiny[1], MESSAGES, max_new_tokens=40, **TREE)
    first, *chunks = stream
    assert first.choices[0].delta.role == "assistant"
    prompt_ids = tiny[1].chat_prompt(MESSAGES).token_ids
    assert first.model_extra is not None and first.model_extra["prompt_token_ids"] == prompt_ids
    steps = [chunk.choices[0].model_extra for chunk in chunks[:-2]]
    expected = [event.token_ids for event in trace.of_kind(Committed)]
    assert [step["token_ids"] for step in steps if step] == expected
    assert max(map(len, expected)) > 2, "drafts are accepted"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-2])
    assert text == trace.text
    assert chunks[-2].choices[0].finish_reason == "length"
    last = chunks[-1]
    assert last.choices == [] and last.usage is not None and last.usage.completion_tokens == 40
    assert last.model_extra is not None
    told = last.model_extra["metrics"]["speculative_decoding"]
    stats = trace.stats
    assert told["num_accepted_draft_tokens"] == stats.num_accepted
    assert told["num_draft_tokens"] == stats.num_drafted
    histogram = told["acceptance_histogram"]
    assert sum(histogram) == told["num_spec_steps"] == len(told["per_step_drafted"])
    assert sum(number * count for number, count in enumerate(histogram)) == stats.num_accepted
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_the_same_seed_gives_the_same_text_and_choices_have_seeds_of_their_own(
    client: openai.OpenAI, tiny: Tiny
) -> None:
    sampling = {
        "temperature": 0.8,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.01,
        "presence_penalty": 0.4,
    }
    given = {name: sampling[name] for name in ("temperature", "top_p", "presence_penalty")}
    answer = client.completions.create(
        model=tiny[0],
        prompt=[PROMPT, "A"],
        max_tokens=20,
        seed=7,
        n=2,
        extra_body={"specdecodes": TREE, "top_k": 40, "min_p": 0.01},
        **given,  # type: ignore[arg-type]
    )
    assert [choice.text for choice in answer.choices] == [
        trace_of(tiny[1], prompt, max_new_tokens=20, sampling={**sampling, "seed": seed}).text
        for prompt in (PROMPT, "A")
        for seed in (7, 8)
    ]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(PROMPT) + 1 and answer.usage.completion_tokens == 80
    assert answer.choices[0].text != answer.choices[1].text


def test_without_a_temperature_tokens_are_drawn(client: openai.OpenAI, tiny: Tiny) -> None:
    texts = {
        client.completions.create(model=tiny[0], prompt=PROMPT, max_tokens=20).choices[0].text
        for _ in range(3)
    }
    assert len(texts) == 3


def test_stop_strings_end_an_answer(client: openai.OpenAI, tiny: Tiny) -> None:
    whole = trace_of(tiny[1], PROMPT, max_new_tokens=30).text
    stop = whole[9:12]
    answer = client.completions.create(
        model=tiny[0], prompt=PROMPT, max_tokens=30, temperature=0, stop=["never", stop]
    )
    choice = answer.choices[0]
    assert choice.text == whole[: whole.index(stop)] and choice.finish_reason == "stop"
    assert choice.model_extra is not None and choice.model_extra["stop_reason"] == stop


def test_prompts_may_be_token_ids_and_are_repeated_on_demand(
    client: openai.OpenAI, tiny: Tiny
) -> None:
    text = "TheQuickBrownFox"  # which this tokenizer has characters for
    ids = tiny[1].raw_prompt(text).token_ids
    given: Any = {"model": tiny[0], "max_tokens": 8, "temperature": 0}
    plain = client.completions.create(prompt=text, echo=True, **given).choices[0].text
    assert plain.startswith(text) and len(plain) > len(text)
    by_ids = client.completions.create(prompt=[ids, ids[:3]], echo=True, **given)
    assert by_ids.choices[0].text == plain and by_ids.choices[1].text.startswith(text[:3])
    streamed = client.completions.create(prompt=ids, echo=True, stream=True, **given)
    assert "".join(chunk.choices[0].text for chunk in streamed) == plain


def expected_logprobs(engine: Engine, ids: list[int], biases: dict[int, float]) -> torch.Tensor:
    """Of every next token, by transformers' own forward over the whole text  # [len(ids), vocab]"""
    with torch.no_grad():
        logits = engine.target.module(torch.tensor([ids])).logits[0].double()
    for token_id, bias in biases.items():
        logits[:, token_id] += bias
    return torch.log_softmax(logits, -1)


@pytest.mark.parametrize("temperature", [0, 0.7])
@pytest.mark.parametrize("biases", [{}, {40: 3.0, 41: -100.0}], ids=["plain", "biased"])
def test_probabilities_are_the_targets_at_every_token_under_speculation(
    client: openai.OpenAI, tiny: Tiny, temperature: float, biases: dict[int, float]
) -> None:
    given: Any = {
        "model": tiny[0],
        "temperature": temperature,
        "max_tokens": 40,
        "seed": 3,
        "logit_bias": {str(token_id): bias for token_id, bias in biases.items()},
        "extra_body": {"specdecodes": TREE, "return_token_ids": True},
    }
    answer = client.chat.completions.create(
        messages=MESSAGES, logprobs=True, top_logprobs=4, **given
    )
    choice = answer.choices[0]
    assert choice.logprobs and choice.logprobs.content and choice.model_extra and answer.model_extra
    if not temperature:
        told = answer.model_extra["metrics"]["speculative_decoding"]
        assert told["num_accepted_draft_tokens"] > 3
    prompt_ids, ids = answer.model_extra["prompt_token_ids"], choice.model_extra["token_ids"]
    rows = expected_logprobs(tiny[1], prompt_ids + ids, biases)[len(prompt_ids) - 1 :]
    text_of = tiny[1]._token_table.text_of
    for token_id, entry, row in zip(ids, choice.logprobs.content, rows, strict=False):
        assert entry.token == text_of(token_id)
        assert entry.logprob == pytest.approx(float(row[token_id]), abs=1e-4)
        best = row.topk(4)
        assert [other.token for other in entry.top_logprobs] == [
            text_of(int(index)) for index in best.indices
        ]
        assert [other.logprob for other in entry.top_logprobs] == pytest.approx(
            best.values.tolist(), abs=1e-4
        )
        is_byte = entry.token.startswith("<0x")
        raw = bytes.fromhex(entry.token[3:5]) if is_byte else entry.token.encode()
        assert entry.bytes == list(raw)


def test_a_completion_tells_probabilities_and_where_tokens_begin(
    client: openai.OpenAI, tiny: Tiny
) -> None:
    given: Any = {"model": tiny[0], "prompt": PROMPT, "max_tokens": 12, "temperature": 0}
    own: Any = {"extra_body": {"specdecodes": TREE}}
    choice = client.completions.create(logprobs=2, **given, **own).choices[0]
    logprobs = choice.logprobs
    assert logprobs and logprobs.tokens and logprobs.token_logprobs and logprobs.top_logprobs
    offsets = logprobs.text_offset
    assert offsets == sorted(offsets or []) and offsets and len(offsets) == 12
    first = "".join(logprobs.tokens).partition("<")[0]  # up to a part of a character
    assert len(first) > 2 and choice.text.startswith(first)
    assert offsets[: len(first)] == list(range(len(first)))
    for token, logprob, best in zip(
        logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True
    ):
        assert logprob is not None and best is not None
        assert best[token] == max(best.values()) == logprob and len(best) == 2
    parts = [
        chunk.choices[0].logprobs
        for chunk in client.completions.create(logprobs=0, stream=True, **given, **own)
    ]
    streamed = [part for part in parts if part is not None]
    assert [n for part in streamed for n in part.text_offset or []] == offsets
    values = [value for part in streamed for value in part.token_logprobs or []]
    assert values == pytest.approx(logprobs.token_logprobs)
    assert all(len(best) == 1 for part in streamed for best in part.top_logprobs or [])


def test_requests_at_once_are_joined_and_each_has_its_own_answer(
    api: ServedApi, tiny: Tiny
) -> None:
    client = api.client()
    seeds = range(6)

    def ask(seed: int) -> str:
        answer = client.completions.create(
            model=tiny[0], prompt=PROMPT, max_tokens=60, temperature=0.9, seed=seed
        )
        return answer.choices[0].text

    with concurrent.futures.ThreadPoolExecutor(len(seeds)) as threads:
        texts = list(threads.map(ask, seeds))
    assert texts == [
        trace_of(
            tiny[1], PROMPT, max_new_tokens=60, sampling={"temperature": 0.9, "seed": seed}
        ).text
        for seed in seeds
    ]


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ({"mode": "sd-mtp"}, "no layer"),
        ({"drafter": {"memory": True}}, "nothing is remembered here between runs"),
        ({"dtype": "bfloat16"}, "load it anew or leave dtype unset"),
    ],
)
def test_what_the_target_cannot_do_is_told_before_an_answer_begins(
    client: openai.OpenAI, tiny: Tiny, own: Any, sentence: str
) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match=sentence):
            client.completions.create(
                model=tiny[0], prompt=PROMPT, stream=stream, extra_body={"specdecodes": own}
            )


def test_a_prompt_that_the_target_cannot_read_is_told_and_others_go_on(
    client: openai.OpenAI, tiny: Tiny
) -> None:
    with pytest.raises(openai.BadRequestError, match="the model's context holds 512"):
        client.completions.create(model=tiny[0], prompt=PROMPT * 12)
    for wrong in ([5, 100_000], [5, -1]):
        with pytest.raises(openai.BadRequestError, match="token"):
            client.completions.create(model=tiny[0], prompt=wrong)
    assert client.completions.create(model=tiny[0], prompt=[5]).choices[0].text


@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        ({"structured_outputs": {"regex": "[a-c]{4}X"}}, "[a-c]{4}X"),
        ({"structured_outputs": {"choice": ["never.", "always"]}}, r"never\.|always"),
        ({"structured_outputs": {"grammar": 'start: "<" /[0-9]{3}/ ">"'}}, "<[0-9]{3}>"),
        ({"structured_outputs": {"json": {"enum": ["yes", None]}}}, '"yes"|null'),
        ({"structured_outputs": {"json": {"const": None}}}, "null"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"type": "integer", "minimum": 100}},
                }
            },
            "[1-9][0-9]{2,}",
        ),
    ],
    ids=["regex", "choice", "grammar", "json", "null", "schema"],
)
def test_an_answer_follows_the_form_that_is_asked_for(
    client: openai.OpenAI, tiny: Tiny, form: Any, pattern: str
) -> None:
    given: Any = {"model": tiny[0], "messages": MESSAGES, "max_tokens": 60, "seed": 4}
    texts = []
    for own in ({"mode": "naive"}, TREE):
        answer = client.chat.completions.create(**given, extra_body={"specdecodes": own, **form})
        texts.append(answer.choices[0].message.content)
        is_whole = answer.choices[0].finish_reason == "stop"
        assert is_whole == bool(re.fullmatch(pattern, texts[-1] or ""))
        assert is_whole or re.match(pattern, texts[-1] or "")
    assert texts[0] == texts[1]


def test_a_form_that_cannot_be_read_is_told(client: openai.OpenAI, tiny: Tiny) -> None:
    with pytest.raises(openai.BadRequestError, match="the constraint cannot be used"):
        client.completions.create(
            model=tiny[0], prompt="A", extra_body={"structured_outputs": {"regex": "(("}}
        )
