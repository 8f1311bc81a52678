"""Token ids of chats, in which only the model's own template writes control tokens."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from core.models.control_tokens import ControlTokenError, ControlTokens, broken, unused_mark

if TYPE_CHECKING:
    from core.models.chat_template import ChatTemplate, Message, Style


class ChatEncoder:
    """A tokenizer with its chat template."""

    def __init__(self, tokenizer: Any, end_token_ids: Iterable[int] = ()):
        """`end_token_ids` are control tokens, whatever the tokenizer says of them."""
        self._tokenizer = tokenizer
        self._tokens = ControlTokens(tokenizer, end_token_ids)

    @cached_property
    def template(self) -> "ChatTemplate | None":
        """None where the tokenizer has none for plain chats."""
        from core.models.chat_template import ChatTemplate, chosen_template

        source = chosen_template(self._tokenizer.chat_template)
        return ChatTemplate(source, self._tokenizer.special_tokens_map) if source else None

    def chat_token_ids(self, messages: Sequence["Message"]) -> list[int]:
        """The chat, open for an answer.

        Raises TemplateFailedError, TextLostError and ControlTokenError.
        """
        assert self.template is not None, "its users ask first"
        now = datetime.now()
        style = self.template.style(messages, now)
        chat = _Chat(self.template, messages, style, now)
        control = self._tokens.pattern(style.frame)
        return self._tokens.token_ids(chat.text, chat.marked(control), control, chat.mark)

    def text_token_ids(self, text: str) -> list[int]:
        """A text alone, as it would stand in a chat; raises ControlTokenError."""
        mark, control = unused_mark(text), self._tokens.pattern(self._frame)
        return self._tokens.token_ids(text, broken(text, control, mark), control, mark)

    @cached_property
    def _frame(self) -> str:
        """What the template writes round one question; empty where it writes none."""
        from core.models.chat_template import TemplateFailedError, TextLostError

        try:
            question = [{"role": "user", "content": "?"}]
            return self.template.style(question, datetime.now()).frame if self.template else ""
        except (TemplateFailedError, TextLostError):
            return ""


class _Chat:
    """One chat, rendered with and without marks."""

    def __init__(
        self,
        template: "ChatTemplate",
        messages: Sequence["Message"],
        style: "Style",
        now: datetime,
    ):
        self._template = template
        self._roles = [message["role"] for message in messages]
        self._contents = [message["content"] for message in messages]
        self._style = style
        self._now = now
        self.text = template.render(messages, style, now)
        self.mark = unused_mark("".join([self.text, *self._contents]))

    def marked(self, control: re.Pattern[str]) -> str:
        """The text with marks where it comes from contents.

        A template may look into a content, for the end of a thought for instance. It still sees
        there what it looks for: marks that would change what it writes are left out.
        """
        text = self._rendered([self._fully_marked(content, control) for content in self._contents])
        if text is None:
            text = self._rendered(
                [self._mostly_marked(index, control) for index in range(len(self._contents))]
            )
        if text is None:
            raise ControlTokenError(self.text)
        return text

    def _fully_marked(self, content: str, control: re.Pattern[str]) -> str:
        """Marks stand inside of the spaces round a text, which templates take away."""
        inner = content.strip()
        if not inner:
            return content
        before, _, after = content.partition(inner)
        return f"{before}{self.mark}{broken(inner, control, self.mark)}{self.mark}{after}"

    def _mostly_marked(self, index: int, control: re.Pattern[str]) -> str:
        """One content with as many marks as it may have, the others as they are."""

        def is_harmless(content: str) -> bool:
            return (
                self._rendered([*self._contents[:index], content, *self._contents[index + 1 :]])
                is not None
            )

        content = self._contents[index]
        whole = self._fully_marked(content, control)
        if is_harmless(whole):
            return whole
        for token in sorted({found[0] for found in control.finditer(content)}):
            marked = broken(content, re.compile(re.escape(token)), self.mark)
            if is_harmless(marked):
                content = marked
        return content

    def _rendered(self, contents: list[str]) -> str | None:
        """The chat of other contents; None where more than marks is other."""
        from core.models.chat_template import TemplateFailedError

        messages = [
            {"role": role, "content": content}
            for role, content in zip(self._roles, contents, strict=True)
        ]
        try:
            text = self._template.render(messages, self._style, self._now)
        except TemplateFailedError:
            return None
        return text if text.replace(self.mark, "") == self.text else None
