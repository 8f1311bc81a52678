"""Values that no sensible person sends: odd numbers, markup, paths, formulas, broken characters."""

from typing import Any

from hypothesis import strategies as st

ODD_TEXTS = (
    "", " ", "\x00", "a\x00b", "\ud800", "\ud83d", "\u2028", "\u202e", "\ufeff", "=1+1", "@SUM(1)",
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "{{7*7}}", "%s%n", "${HOME}",
    "../../../etc/passwd", "..\\..\\x", "/etc/passwd", "~", "~nobody-here", "file:///etc/passwd",
    "CON", "nan", "Infinity", "1e999", "-0", "x" * 5000, "a/" * 200, "null", "[]", "{}", "\r\n",
    "[" * 3000, '{"a":' * 3000,
)  # fmt: skip
ODD_NUMBERS = (
    0, -1, 1, 2**31, 2**63 - 1, 2**63, -(2**63), 10**30, 10**400, 0.0, -0.0, 0.5, 1e-320, 1e308,
    float("nan"), float("inf"), float("-inf"),
)  # fmt: skip

odd_texts = st.sampled_from(ODD_TEXTS) | st.text(max_size=20)
odd_scalars = st.none() | st.booleans() | st.sampled_from(ODD_NUMBERS) | odd_texts
odd_values: st.SearchStrategy[Any] = st.recursive(
    odd_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_texts, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def broken_bytes(draw: st.DrawFn, good: bytes) -> bytes:
    """A good file of which pieces were cut out, repeated, overwritten or put elsewhere."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.integers(0, 40)))
        piece = bytes(data[start:stop])
        match draw(st.sampled_from(["cut", "repeat", "overwrite", "insert", "move"])):
            case "cut":
                del data[start:stop]
            case "repeat":
                data[start:start] = piece * draw(st.integers(1, 50))
            case "overwrite":
                data[start:stop] = draw(st.binary(min_size=len(piece), max_size=len(piece)))
            case "insert":
                text = draw(odd_texts).encode("utf-8", "surrogatepass")
                data[start:start] = text
            case "move":
                del data[start:stop]
                place = draw(st.integers(0, len(data)))
                data[place:place] = piece
    return bytes(data)
