"""Writes app/static/types.d.ts from the Python classes: `python -m tests.page_types`."""

import dataclasses
import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from app import messages
from app.engines.engine_slot import PoolStatus
from app.runs.archive import KeptRun
from core.trace.events import EVENT_CLASSES
from core.trace.pauses import PauseFacts
from core.trace.stats import MAY_BE_UNKNOWN, Difference, RunStats
from visualize.compare import SUMMARY_DTYPES, Divergence
from visualize.status import NodeStatus

PAGE = Path(__file__).parent.parent / "app" / "static" / "types.d.ts"
_HEAD = (
    "// What the server sends. Made of the Python classes by `make docs`; a test holds it equal.\n"
)
_PLAIN = {str: "string", int: "number", float: "number", bool: "boolean", Any: "any"}
_DTYPES = {"string": "string", "int64": "number", "Int64": "number | null"}
_DTYPES |= {"float64": "number", "Float64": "number | null"}
# What `app.runs.wire.events_for_page` adds.
_ADDED: dict[str, dict[str, Any]] = {
    "RunStarted": {"lossy_rule": str, "explanation": messages.RuleSentences},
    "ServerTotals": {"differences": list[Difference]},
    "Committed": {"node_states": list[NodeStatus], "times_ms": messages.PhaseTimes},
}


def type_declarations() -> str:
    """The whole file."""
    parts = [_HEAD]
    for cls in EVENT_CLASSES.values():
        name = cls.__name__
        fields = {"kind": Literal[cls.kind], **_hints(cls), **_ADDED.get(name, {})}  # type: ignore[name-defined]
        parts.append(_interface(name, cls, fields))
    union = " | ".join(cls.__name__ for cls in EVENT_CLASSES.values())
    parts.append(f"/** An event as the page gets it. */\nexport type PageEvent = {union};\n")
    parts.append(_interface("Stats", RunStats, dict(_stats())))
    parts.append(_interface("Pauses", PauseFacts, _hints(PauseFacts)))
    for cls in (Difference, Divergence, KeptRun, PoolStatus):
        parts.append(_interface(cls.__name__, cls, _hints(cls)))
    rows = "".join(f"  {name}: {_DTYPES[dtype]};\n" for name, dtype in SUMMARY_DTYPES.items())
    parts.append(
        f"/** A run, its repeats taken together. */\nexport interface SummaryRow {{\n{rows}}}\n"
    )
    for value in vars(messages).values():
        if is_typeddict(value):
            parts.append(_interface(value.__name__, value, _hints(value)))
    return "\n".join(parts)


def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {name: hint for name, hint in hints.items() if get_origin(hint) is not ClassVar}


def _stats() -> Iterator[tuple[str, Any]]:
    """The counters, and the ratios that are properties."""
    hints = _hints(RunStats)
    for name in RunStats().to_dict():
        hint = hints.get(name) or get_type_hints(getattr(RunStats, name).fget)["return"]
        yield name, hint | None if name in MAY_BE_UNKNOWN else hint


def _interface(name: str, cls: type, fields: dict[str, Any]) -> str:
    first = (inspect.getdoc(cls) or "").partition("\n\n")[0]
    lines = [f"/** {' '.join(first.split())} */", f"export interface {name} {{"]
    for field, hint in fields.items():
        is_optional = get_origin(hint) is NotRequired
        inner = get_args(hint)[0] if is_optional else hint
        lines.append(f"  {field}{'?' if is_optional else ''}: {_type(inner)};")
    return "\n".join([*lines, "}", ""])


def _type(hint: Any) -> str:
    """The TypeScript of a hint; raises ValueError for one that JSON cannot hold."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return str(args[1])
    if origin in (Union, types.UnionType):
        return " | ".join(map(_type, args))
    if origin is Literal:
        return " | ".join(f'"{value}"' for value in args)
    if origin is list:
        inner = _type(args[0])
        return f"({inner})[]" if " | " in inner else f"{inner}[]"
    if origin is dict:
        return f"Record<{_type(args[0])}, {_type(args[1])}>"
    if hint is type(None):
        return "null"
    if hint in _PLAIN:
        return _PLAIN[hint]
    if is_typeddict(hint) or dataclasses.is_dataclass(hint) or hasattr(hint, "_fields"):
        return str(hint.__name__)
    raise ValueError(f"{hint} has no type on the page")


if __name__ == "__main__":
    PAGE.write_text(type_declarations(), encoding="utf-8")
