"""Answers that follow a form: a JSON schema, a regular expression, or a grammar.

llguidance says which tokens may come next. That depends on the answer so far, so that in a draft tree
each node has the mask of its own path; the matcher goes down the tree and back again.
"""

from collections.abc import Callable, Sequence, Set
from typing import Any

import numpy as np
import torch

from core.acceptance.constraint_text import read_constraint
from core.errors import InvalidSettingError, reason_of
from core.trees.tree import DraftTree

# One way to write white space, or a small model may write it without end.
_SPACES = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def make_token_trie(tokenizer: Any, vocab_size: int, end_token_ids: Set[int]) -> Any:
    """What llguidance knows of a vocabulary; raises InvalidSettingError where it cannot read one."""
    import llguidance

    if not end_token_ids:
        raise InvalidSettingError(
            "a constraint lets an answer end by a token for that, and the target has none; leave "
            "constraint out."
        )
    try:
        return llguidance.LLTokenizer(
            tokenizer.backend_tokenizer.to_str(),
            n_vocab=vocab_size,
            eos_token=sorted(end_token_ids),
        )
    except Exception as error:  # of many kinds, for tokenizers of other kinds
        raise InvalidSettingError(
            f"constraint cannot be used with this target's tokenizer ({reason_of(error)}); leave it "
            "out."
        ) from error


class Constraint:
    """That of one run. Calls come in the order begin, (allowed, commit)*."""

    def __init__(
        self,
        constraint: str,
        token_trie: Callable[[], Any],
        vocab_size: int,
        end_token_ids: Set[int],
    ):
        """Raises InvalidSettingError for a form that cannot be read."""
        import llguidance

        matcher = llguidance.LLMatcher
        kind, text = read_constraint(constraint)
        if kind == "json":
            grammar = matcher.grammar_from_json_schema(text, defaults=_SPACES)
        elif kind == "regex":
            grammar = matcher.grammar_from_regex(text)
        else:
            grammar = matcher.grammar_from_lark(text)
        trie = token_trie()
        wrong = matcher.validate_grammar(grammar, trie)
        if wrong:
            raise InvalidSettingError(
                f"the constraint cannot be used ({wrong.splitlines()[0].strip().rstrip('.')}); give "
                "another one."
            )
        self._matcher = matcher(trie, grammar)
        self._vocab_size = vocab_size
        self._ends = sorted(end for end in end_token_ids if end < vocab_size)

    def begin(self, answer_token_ids: Sequence[int] = ()) -> None:
        """Starts an answer, or goes on behind its beginning.

        Raises InvalidSettingError for a beginning that the constraint does not allow.
        """
        self._matcher.reset()
        for place, token_id in enumerate(answer_token_ids):
            is_end = token_id in self._ends
            if not (self._matcher.is_accepting() if is_end else self._takes(token_id)):
                raise InvalidSettingError(
                    f"the constraint does not allow token {token_id} as token {place + 1} of the "
                    "answer; choose another one."
                )

    def _takes(self, token_id: int) -> bool:
        return token_id < self._vocab_size and self._matcher.try_consume_tokens([token_id]) == 1

    def commit(self, token_ids: Sequence[int]) -> None:
        """The tokens that a step adds to the answer; behind an end there are none."""
        for token_id in token_ids:
            if token_id in self._ends:
                return
            if not self._takes(token_id):  # nothing was allowed there
                raise _dead_end()

    def forced(self, limit: int) -> list[int]:
        """The tokens, at most `limit`, that come next whatever the target finds: of each place in a row
        where only one is allowed."""
        token_ids: list[int] = self._matcher.compute_ff_tokens()[:limit]
        if len(self._ends) > 1 or len(token_ids) == limit:
            return token_ids
        num_consumed = self._matcher.try_consume_tokens(token_ids)
        is_complete = self._matcher.is_stopped()
        self._matcher.rollback(num_consumed)
        return [*token_ids, *self._ends] if is_complete else token_ids

    def allowed(self, tree: DraftTree, nodes: Sequence[int]) -> torch.Tensor:
        """Which tokens may come after each node  # [nodes, vocab] bool.

        After a node that may not be there itself, and after an end, all may: nobody gets there. Raises
        InvalidSettingError where none may come after the root.
        """
        rows = torch.ones((len(nodes), self._vocab_size), dtype=torch.bool)
        places = {node: place for place, node in enumerate(nodes)}
        on_the_way = set()
        for node in nodes:
            while node not in on_the_way:
                on_the_way.add(node)
                node = max(0, tree.parents[node])
        # A node to go down to, or None to come back from one.
        left: list[int | None] = [0]
        while left:
            at = left.pop()
            if at is None:
                self._matcher.rollback(1)
                continue
            if at:
                token_id = tree.token_ids[at]
                if token_id in self._ends or not self._matcher.try_consume_tokens([token_id]):
                    continue
                left.append(None)
            if at in places:
                mask = self._mask()
                if mask.any():
                    rows[places[at]] = mask
                elif not at:
                    raise _dead_end()
            left += [child for child in tree.children[at] if child in on_the_way]
        return rows

    def _mask(self) -> torch.Tensor:
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        mask = torch.from_numpy(np.unpackbits(bits, bitorder="little")[: self._vocab_size]).bool()
        mask[self._ends] = self._matcher.is_accepting()
        return mask


def _dead_end() -> InvalidSettingError:
    return InvalidSettingError(
        "the constraint allows none of the target's tokens at this place; give another one."
    )
