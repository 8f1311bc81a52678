"""Where drafts fit: by category of question, place in the text, length of context, kind of token.

A token's kind is told by its first character that is no space, or by its first where all are, in the
text that it stands in. It is the first of these that fits:

- `no text`: the token adds nothing to the text, such as the end of an answer
- `code`: the character stands in a fenced block of the answer, its fences included
- `space`: the token is space alone
- `number`: a digit
- `start of a word`: a letter behind anything but a letter or a digit, or at the beginning
- `inside a word`: a letter behind a letter or a digit; also an apostrophe between two letters, and what
  stands behind it
- `punctuation`: everything else, symbols as well
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from core.profile.profile import Profile
from core.profile.tally import Tally

NO_TEXT, CODE, SPACE, NUMBER = "no text", "code", "space", "number"
START, INSIDE, PUNCTUATION = "start of a word", "inside a word", "punctuation"
KINDS = (START, INSIDE, SPACE, NUMBER, PUNCTUATION, CODE, NO_TEXT)
BY = ("category", "kind", "position", "context")
"""What tokens are grouped by."""
BY_WORDS = {
    "category": "category of the question",
    "kind": "kind of token",
    "position": "place in the text, tokens",
    "context": "tokens before it, prompt included",
}
FEW = 30
"""A share of fewer is told apart: chance moves it by a tenth or more."""

# Ranges of places begin with this one, and each is twice as long as all before it.
_FIRST_RANGE = 32
# A fence as CommonMark has it: three or more backticks or tildes, little indented; what stands behind an
# opening one of backticks has none.
_OPENING = re.compile(r" {0,3}(?P<fence>`{3,}(?=[^`]*$)|~{3,})")
_APOSTROPHES = "'\N{RIGHT SINGLE QUOTATION MARK}"


def kinds_of(texts: Sequence[str]) -> list[str]:
    """The kind of each token, by what it adds to the text."""
    whole = "".join(texts)
    is_code = _code_characters(whole)
    kinds, end = [], 0
    for text in texts:
        start, end = end, end + len(text)
        first = start + len(text) - len(text.lstrip())
        if not text:
            kinds.append(NO_TEXT)
        elif is_code[first if first < end else start]:
            kinds.append(CODE)
        else:
            kinds.append(SPACE if first == end else _kind_at(whole, first))
    return kinds


def _code_characters(whole: str) -> list[bool]:
    """Of each character, whether it stands in a fenced block; one without an end goes to the end."""
    marks: list[bool] = []
    fence = ""
    for line in re.findall(r"[^\n]*\n|[^\n]+", whole):
        bare = line.rstrip()
        if fence:
            marks += [True] * len(line)
            closing = bare.lstrip(" ")
            is_indented = len(bare) - len(closing) > 3
            if len(closing) >= len(fence) and not closing.strip(fence[0]) and not is_indented:
                fence = ""
        else:
            found = _OPENING.match(bare)
            fence = found["fence"] if found else ""
            marks += [bool(found)] * len(line)
    return marks


def _kind_at(whole: str, place: int) -> str:
    before, character = whole[place - 1 : place], whole[place]

    def joins(at: int) -> bool:
        """Whether it is an apostrophe between two letters."""
        is_inside = 0 < at < len(whole) - 1 and whole[at] in _APOSTROPHES
        return is_inside and _is_letter(whole[at - 1]) and _is_letter(whole[at + 1])

    if _is_digit(character):
        return NUMBER
    if _is_letter(character):
        return INSIDE if _is_letter(before) or _is_digit(before) or joins(place - 1) else START
    return INSIDE if joins(place) else PUNCTUATION


def _is_letter(character: str) -> bool:
    """Also a mark that changes a letter."""
    return bool(character) and unicodedata.category(character)[0] in "LM"


def _is_digit(character: str) -> bool:
    """Also other numbers of one character."""
    return bool(character) and unicodedata.category(character)[0] == "N"


@dataclass(slots=True)
class Group:
    """Counts of the tokens that have something in common; ratios are made last."""

    by: str
    """One of BY."""
    name: str
    num_tokens: int = 0
    num_judged: int = 0
    """Of these, the ones in whose place something was drafted."""
    num_accepted: int = 0
    num_steps: int = 0
    """Steps that begin with one of the tokens."""
    num_emitted: int = 0
    """Tokens that these steps emit."""

    @property
    def acceptance(self) -> float | None:
        """Accepted of the judged; None where nothing was drafted."""
        return self.num_accepted / self.num_judged if self.num_judged else None

    @property
    def tokens_a_step(self) -> float | None:
        """Of the steps that begin here; None without any."""
        return self.num_emitted / self.num_steps if self.num_steps else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "by": self.by,
            "group": self.name,
            "num_tokens": self.num_tokens,
            "num_judged": self.num_judged,
            "num_accepted": self.num_accepted,
            "num_steps": self.num_steps,
            "num_emitted": self.num_emitted,
            "acceptance": self.acceptance,
            "tokens_a_step": self.tokens_a_step,
        }


class GroupedRun(NamedTuple):
    """A replayed run, and the category of its question; empty where that is not known."""

    profile: Profile
    category: str
    tally: Tally


def groups_of(runs: Iterable[GroupedRun]) -> list[Group]:
    """The groups of all tokens of some runs, those of one kind of grouping together and in order."""
    found: dict[tuple[str, str], Group] = {}
    places: dict[tuple[str, str], float] = {}
    for run in runs:
        names = list(_names(run))
        for position, of_token in enumerate(names):
            for by, (name, place) in of_token.items():
                group = found.setdefault((by, name), Group(by, name))
                places.setdefault((by, name), place)
                fate = run.tally.fates[position]
                group.num_tokens += 1
                group.num_judged += fate != "undrafted"
                group.num_accepted += fate == "accepted"
        for step in run.tally.steps:
            for by, (name, _) in names[step.position].items():
                found[by, name].num_steps += 1
                found[by, name].num_emitted += step.num_emitted
    return sorted(found.values(), key=lambda each: (BY.index(each.by), places[each.by, each.name]))


class _Named(NamedTuple):
    """A group's name, and its place among those of its kind."""

    name: str
    place: float


def _names(run: GroupedRun) -> Iterator[dict[str, _Named]]:
    """For every token of a run the groups that it is in."""
    kinds = kinds_of(run.profile.texts)
    num_before = len(run.profile.prompt_token_ids)
    for position in range(run.tally.num_tokens):
        names = {
            "kind": _Named(kinds[position], KINDS.index(kinds[position])),
            "position": _range_of(position + 1),
            "context": _range_of(num_before + position),
        }
        if run.category:
            names["category"] = _Named(run.category, 0.0)
        yield names


def _range_of(count: int) -> _Named:
    """The range that a count from 1 falls into."""
    last = _FIRST_RANGE
    while last < count:
        last *= 2
    first = 1 if last == _FIRST_RANGE else last // 2 + 1
    return _Named(f"{first}-{last}", last)
