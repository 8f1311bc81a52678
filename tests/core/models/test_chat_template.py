"""What templates want of a chat is given to them, or said in one sentence."""

from datetime import datetime
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from core.errors import InvalidSettingError
from core.loading.prompts import told
from core.models.chat_encoder import ChatEncoder
from core.models.chat_template import ChatTemplate, chosen_template
from tests.tiny_folder import byte_tokenizer

NOW = datetime(2024, 2, 3)
CHAT = [
    {"role": "system", "content": "be kind"},
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "hello"},
    {"role": "user", "content": " more\n"},
]


def each(content: str) -> str:
    """A template of all messages."""
    return "{% for m in messages %}[{{ m.role[0] }}" + content + "]{% endfor %}"


PLAIN = each("{{ m.content }}")
WRITTEN = "[sbe kind][uhi][ahello][u more\n]"


def written(source: str, chat: list[dict[str, str]] = CHAT, **special: str) -> str:
    template = ChatTemplate(source, special)
    return template.render(chat, template.style(chat, NOW), NOW)


def refusal(source: Any, chat: list[dict[str, str]] = CHAT) -> str:
    """What a user is told of a template."""
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = source
    with pytest.raises(InvalidSettingError) as refused, told("tiny"):
        ChatEncoder(tokenizer).chat_token_ids(chat)
    assert "\n" not in str(refused.value) and str(refused.value).endswith(".")
    return str(refused.value)


@pytest.mark.parametrize(
    "content",
    [
        "{{ m.content }}",
        "{{ m.content[0].text }}",
        "{{ m['content'][0]['text'] }}",
        "{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}"
        "{% endfor %}",
        "{% if m.content is string %}{{ m.content }}{% else %}{{ m.content[0].text }}{% endif %}",
        "{% generation %}{{ m.content }}{% endgeneration %}",
        "{%- generation -%}{{ m.content }}{%- endgeneration -%}",
    ],
)
def test_contents_come_out_as_strings_and_as_parts(content: str) -> None:
    assert written(each(content)) == WRITTEN


@pytest.mark.parametrize(
    "names",
    [
        "{% if tools|length > 0 %}tools{% endif %}",
        "{% if not tools is defined %}{% set tools = none %}{% endif %}"
        "{% if tools is not none %}tools{% endif %}",
        "{% for tool in tools %}tool{% endfor %}{% for page in documents %}page{% endfor %}",
        "{{ functions|join(',') }}{{ available.tools.all }}{{ settings['x'] }}",
        "{{ '' + date_string }}{{ date_string + '' }}{{ today() }}",
        "{{ bos_token + eos_token }}{{ unk_token }}{{ pad_token }}",
        "{% if enable_thinking %}thinks{% endif %}",
    ],
)
def test_names_that_a_template_expects_are_empty(names: str) -> None:
    assert written(names + PLAIN) == WRITTEN


def test_dates_are_those_of_the_day() -> None:
    assert written("{{ strftime_now('%d %b %Y') }}" + PLAIN) == "03 Feb 2024" + WRITTEN
    kept = "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% endif %}"
    assert written(kept + PLAIN) == "2024" + WRITTEN


def test_special_tokens_are_those_of_the_tokenizer() -> None:
    assert written("{{ bos_token }}" + PLAIN, bos_token="<s>") == "<s>" + WRITTEN


def test_tags_for_training_keep_what_is_set_inside_to_themselves() -> None:
    """As transformers has it, which runs their inside as a function."""
    source = (
        "{% set x = 'out' %}{% generation %}{% set x = 'in' %}{{ x }}{% endgeneration %}{{ x }}"
    )
    tokenizer: PreTrainedTokenizerFast = byte_tokenizer()
    text = tokenizer.apply_chat_template(CHAT, chat_template=source + PLAIN, tokenize=False)
    assert written(source + PLAIN) == text == "inout" + WRITTEN


@pytest.mark.parametrize(
    ("templates", "chosen"),
    [
        (None, None),
        ("", None),
        ("x", "x"),
        ({"default": "x", "tool_use": "y"}, "x"),
        ({"tool_use": "y", "rag": "z", "chat": "x"}, "x"),
        ([{"name": "tool_use", "template": "y"}, {"name": "chat", "template": "x"}], "x"),
        ({"tool_use": "y"}, "y"),
        ({"tool_use": "y", "rag": "z"}, None),
        ({}, None),
    ],
)
def test_of_several_templates_the_one_for_plain_chats_is_chosen(
    templates: Any, chosen: str | None
) -> None:
    assert chosen_template(templates) == chosen


@pytest.mark.parametrize(
    ("source", "lost"),
    [
        (each("{{ m.content.text }}"), "the system prompt"),
        ("{{ messages[0].content }}", "a question"),
        ("{{ messages[-1].content }}", "the system prompt"),
        (each("{% if m.role != 'assistant' %}{{ m.content }}{% endif %}"), "an answer"),
        ("nothing", "the system prompt"),
    ],
)
def test_text_that_a_template_leaves_out_is_named(source: str, lost: str) -> None:
    assert f"the chat template of tiny leaves {lost} out;" in refusal(source)


def test_empty_texts_may_be_left_out() -> None:
    chat = [{"role": "system", "content": " "}, {"role": "user", "content": "hi"}]
    assert written("{{ messages[1].content }}", chat) == "hi"


@pytest.mark.parametrize(
    ("source", "told_of"),
    [
        (
            "{{ raise_exception('Only\nusers, please.') }}",
            "refuses this chat (Only users, please);",
        ),
        ("{{ 1 / 0 }}" + PLAIN, "fails (ZeroDivisionError: division by zero);"),
        (
            "{{ messages.nothing.at.all() }}",
            "fails (UndefinedError: 'list object' has no attribute",
        ),
        ("{% if %}", "fails (TemplateSyntaxError: "),
        ("{{ 'x' | nothing }}", "fails (TemplateAssertionError: No filter named 'nothing'"),
        ("{{ ''.__class__.__mro__ }}" + PLAIN, "fails (SecurityError: "),
    ],
)
def test_a_template_s_own_words_are_quoted(source: str, told_of: str) -> None:
    assert f"the chat template of tiny {told_of}" in refusal(source)


def test_a_refusal_of_a_system_prompt_leaves_other_chats_alone() -> None:
    source = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
        + PLAIN
    )
    assert "(No system role); leave the system prompt empty" in refusal(source)
    assert written(source, CHAT[1:]) == WRITTEN[10:]
