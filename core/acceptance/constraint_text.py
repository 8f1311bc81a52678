"""Constraints as they are written in settings; `core.acceptance.constraint` holds answers to them."""

import json
from typing import Literal, NamedTuple

from core.errors import InvalidSettingError, reason_of, shown

_ANY_OBJECT = '{"type": "object"}'


class Form(NamedTuple):
    """A form that answers follow."""

    kind: Literal["json", "regex", "lark"]
    text: str
    """A JSON schema, a regular expression, or a grammar in llguidance's Lark."""


def read_constraint(constraint: str) -> Form:
    """The form that a constraint names; raises InvalidSettingError for what is none."""
    kind, _, text = constraint.partition(":")
    match kind:
        case "json":
            text = text or _ANY_OBJECT
            try:
                json.loads(text)
            except (ValueError, RecursionError) as error:
                raise InvalidSettingError(
                    f"the schema of the constraint is not JSON ({reason_of(error)}); give a JSON "
                    "schema."
                ) from None
            return Form("json", text)
        case "regex" | "lark" if text:
            return Form(kind, text)
    raise InvalidSettingError(
        f"constraint is {shown(constraint)}; give json, json:SCHEMA, regex:EXPRESSION or lark:GRAMMAR."
    )
