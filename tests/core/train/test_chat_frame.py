"""The loss mask is read off ids, whatever the template.

The tiny tokenizer knows no spaces.
"""

import numpy as np
import pytest

from core.errors import InvalidSettingError
from core.train.chat_frame import assistant_mask, chat_frame
from tests.core.train.conftest import TEMPLATE
from tests.tiny_folder import byte_tokenizer

TEMPLATES = {
    "turns": TEMPLATE,
    "chatml": "{% for m in messages %}<turn>{{ m.role }};{{ m.content }}<end>;{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant;{% endif %}",
    "instructions": "{% for m in messages %}{% if m.role == 'user' %}<turn>{{ m.content }}<turn>"
    "{% else %}{{ m.content }}<end>{% endif %}{% endfor %}",
}


def tokenizer_of(template: str):
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    tokenizer.chat_template = template
    return tokenizer


def masked_text(tokenizer, messages, cut_off: int = 0) -> list[str]:
    """The marked runs of a rendered chat."""
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    ids = np.array(tokenizer(text).input_ids, dtype=np.int32)
    ids = ids[: len(ids) - cut_off]
    frame = chat_frame(tokenizer, frozenset({tokenizer.eos_token_id}))
    mask = assistant_mask(ids, frame)
    runs = np.split(np.arange(len(ids)), np.flatnonzero(np.diff(mask)) + 1)
    return [tokenizer.decode(ids[run]) for run in runs if mask[run[0]]]


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_answers_of_several_turns_and_their_ends_are_marked(template: str) -> None:
    messages = [
        {"role": "user", "content": "one?"},
        {"role": "assistant", "content": "uno"},
        {"role": "user", "content": "assistant;two?"},
        {"role": "assistant", "content": "dos,due"},
    ]
    assert masked_text(tokenizer_of(template), messages) == ["uno<end>", "dos,due<end>"]


def test_an_answer_that_is_cut_off_is_marked_to_its_last_token() -> None:
    tokenizer = tokenizer_of(TEMPLATE)
    messages = [
        {"role": "user", "content": "one?"},
        {"role": "assistant", "content": "uno,dos"},
    ]
    assert masked_text(tokenizer, messages, cut_off=3) == ["uno,d"]


def test_a_chat_without_an_answer_has_nothing_to_learn() -> None:
    assert masked_text(tokenizer_of(TEMPLATE), [{"role": "user", "content": "one?"}]) == []


def test_a_template_whose_answers_never_end_is_refused() -> None:
    tokenizer = tokenizer_of("{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}")
    with pytest.raises(InvalidSettingError, match="end token"):
        chat_frame(tokenizer, frozenset({tokenizer.eos_token_id}))
