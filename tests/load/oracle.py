"""What the engine itself answers, computed before any visitor comes."""

from typing import Any, NamedTuple

from app.engines.engine_slot import EngineKey
from app.engines.engines import load_engine
from core.config import RunConfig
from core.trace.file import Trace

MOST_TOKENS = 48
PROMPTS = (
    "Why is the sky blue?",
    "Count from one to ten.",
    "Name three fruits and say what colour they have.",
    "Repeat this twice: the quick brown fox jumps over the lazy dog.",
    "Write a short poem about rain.",
    "What is the capital of France?",
)
SAMPLINGS: tuple[dict[str, Any], ...] = (
    {"setting-temperature": 0.0, "setting-seed": 0},
    {"setting-temperature": 0.8, "setting-seed": 7},
)


class Question(NamedTuple):
    """A prompt and the page's settings of its sampling."""

    prompt: str
    sampling: int


class Oracle:
    """Plain decoding's tokens for every question; a shorter answer is the beginning of them."""

    def __init__(self, target: str):
        engine = load_engine(EngineKey(target, "float32"), lambda stage, done, total: None)
        self._answers: dict[Question, list[int]] = {}
        for prompt in PROMPTS:
            for number, sampling in enumerate(SAMPLINGS):
                config = RunConfig.from_dict(
                    {
                        "target": target,
                        "dtype": "float32",
                        "max_new_tokens": MOST_TOKENS,
                        "trace_top_k": 0,
                        "sampling": {
                            "temperature": sampling["setting-temperature"],
                            "seed": sampling["setting-seed"],
                        },
                    }
                )
                asked = engine.chat_prompt([{"role": "user", "content": prompt}])
                trace = Trace(list(engine.run(asked, config, should_stop=bool)))
                self._answers[Question(prompt, number)] = trace.token_ids

    @property
    def questions(self) -> list[Question]:
        return list(self._answers)

    def answer(self, question: Question, most_tokens: int) -> list[int]:
        """The whole answer of at most so many tokens."""
        return self._answers[question][:most_tokens]
