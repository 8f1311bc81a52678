"""What several lookups would have accepted of greedy answers that traces hold, asked twice over.

    python -m core.benchmark.run_mtbench --mode ngram --log-dir DIR
    python -m tests.formats.replay_lookups DIR

Greedy decoding writes the same text whoever drafts, so a draft is accepted as far as it is the
answer. SuffixDecoding's own needs `pip install --no-deps arctic-inference==0.3.0`.
"""

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from core.drafters.base import DraftLimits, Outcome
from core.drafters.ngram import NgramDrafter
from core.drafters.suffix_memory import MemoryView, SuffixMemory
from core.modes.ngram import NgramSettings
from core.trace.events import RunStarted
from core.trace.file import load_trace
from core.trees.tree import DraftTree

_MOST_NODES = 32


class Asked(NamedTuple):
    prompt: list[int]
    answer: list[int]


class Lookup:
    """Drafts behind the tokens so far; told of every run and of what its steps emit."""

    def begin(self, prompt: list[int]) -> None: ...
    def draft(self, root: int, limits: DraftLimits) -> DraftTree: ...
    def follow(self, tree: DraftTree, path: list[int], emitted: list[int]) -> None: ...
    def end(self, answer: list[int]) -> None: ...


class Ours(Lookup):
    def __init__(self, remembers: bool):
        self._memory = SuffixMemory() if remembers else None

    def begin(self, prompt: list[int]) -> None:
        view = None if self._memory is None else MemoryView(self._memory)
        self._drafter = NgramDrafter(NgramSettings(fixed_size=True), memory=view)
        self._drafter.begin(prompt, 2**30)

    def draft(self, root: int, limits: DraftLimits) -> DraftTree:
        return self._drafter.draft(root, limits, None)

    def follow(self, tree: DraftTree, path: list[int], emitted: list[int]) -> None:
        self._drafter.commit(Outcome(tree, path, path, emitted))

    def end(self, answer: list[int]) -> None:
        if self._memory is not None:
            self._memory.add(answer)


class SuffixDecoding(Lookup):
    """arctic-inference with the settings of vLLM, but for the depth: 24 there cuts long repetition."""

    def __init__(self, remembers: bool, is_tree: bool):
        from arctic_inference.suffix_decoding import SuffixDecodingCache

        self._cache = SuffixDecodingCache(64, -1 if remembers else 0)
        self._is_tree, self._number = is_tree, 0

    def begin(self, prompt: list[int]) -> None:
        self._number += 1
        self._cache.start_request(self._number, prompt)
        self._context = prompt[-64:]

    def draft(self, root: int, limits: DraftLimits) -> DraftTree:
        most = min(_MOST_NODES, limits.depth)
        found = self._cache.speculate(
            self._number, self._context, most, use_tree_spec=self._is_tree
        )
        tree = DraftTree(root)
        for token_id, parent in zip(found.token_ids, found.parents, strict=True):
            tree.add(parent + 1, token_id, 1.0)
        return tree

    def follow(self, tree: DraftTree, path: list[int], emitted: list[int]) -> None:
        self._cache.add_active_response(self._number, emitted)
        self._context = [*self._context, *emitted][-64:]

    def end(self, answer: list[int]) -> None:
        self._cache.stop_request(self._number)


class Pool(Lookup):
    """llama.cpp's ngram-mod: the token that followed each n-gram last, of prompts and answers, drafted
    as long as the pool goes on, where that is at least so many tokens. Its hashes never collide here."""

    def __init__(self, length: int, least: int, most: int):
        self._length, self._least, self._most = length, least, most
        self._pool: dict[tuple[int, ...], int] = {}

    def begin(self, prompt: list[int]) -> None:
        self._context: list[int] = []
        self.follow(DraftTree(0), [], prompt)

    def draft(self, root: int, limits: DraftLimits) -> DraftTree:
        tree, key = DraftTree(root), tuple(self._context[-self._length :])
        while tree.num_drafted < min(self._most, limits.depth) and key in self._pool:
            tree.add(tree.num_drafted, self._pool[key], 1.0)
            key = (*key[1:], self._pool[key])
        return tree if tree.num_drafted >= self._least else DraftTree(root)

    def follow(self, tree: DraftTree, path: list[int], emitted: list[int]) -> None:
        for token_id in emitted:
            if len(self._context) >= self._length:
                self._pool[tuple(self._context[-self._length :])] = token_id
            self._context.append(token_id)


def accepted(tree: DraftTree, answer: Sequence[int]) -> list[int]:
    """The nodes on the way of the answer."""
    path = [0]
    for token_id in answer:
        fitting = [node for node in tree.children[path[-1]] if tree.token_ids[node] == token_id]
        if not fitting:
            break
        path.append(fitting[0])
    return path[1:]


def tau(lookup: Lookup, asked: Sequence[Asked]) -> float:
    """Mean tokens a step over all answers."""
    num_tokens = num_steps = 0
    for prompt, answer in asked:
        lookup.begin(prompt)
        place, root = 0, prompt[-1]
        while place < len(answer):
            left = len(answer) - place - 1
            tree = lookup.draft(root, DraftLimits(256, left)) if left else DraftTree(root)
            path = accepted(tree, answer[place : place + left])
            emitted = answer[place : place + len(path) + 1]
            lookup.follow(tree, path, emitted)
            place, root, num_steps = place + len(emitted), emitted[-1], num_steps + 1
        lookup.end(answer)
        num_tokens += len(answer)
    return num_tokens / num_steps


def asked_in(folder: Path) -> list[Asked]:
    """Prompts and answers of all traces, in the order in which they were asked."""
    found = []
    for path in folder.rglob("*.jsonl"):
        trace = load_trace(path)
        started = trace.first(RunStarted)
        assert started is not None
        place = [int(number) for number in re.findall(r"\d+", path.stem)]
        found.append((place, Asked(started.prompt_token_ids, trace.token_ids)))
    return [asked for _, asked in sorted(found)]


LOOKUPS: dict[str, Callable[[], Lookup]] = {
    "ngram": lambda: Ours(remembers=False),
    "ngram with a memory": lambda: Ours(remembers=True),
    "SuffixDecoding, alone, chains": lambda: SuffixDecoding(False, False),
    "SuffixDecoding, alone, trees": lambda: SuffixDecoding(False, True),
    "SuffixDecoding, chains": lambda: SuffixDecoding(True, False),
    "SuffixDecoding, trees": lambda: SuffixDecoding(True, True),
    "ngram-mod, 24-grams, at least 48 tokens": lambda: Pool(24, 48, 64),
    "ngram-mod, 24-grams": lambda: Pool(24, 1, _MOST_NODES),
    "ngram-mod, 8-grams": lambda: Pool(8, 1, _MOST_NODES),
    "ngram-mod, 4-grams": lambda: Pool(4, 1, _MOST_NODES),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", type=Path, metavar="DIR", help="of run_mtbench --log-dir")
    asked = asked_in(parser.parse_args().traces)
    print(f"{len(asked)} answers, {sum(len(answer) for _, answer in asked)} tokens")
    for name, make in LOOKUPS.items():
        lookup = make()
        print(f"| {name} | {tau(lookup, asked):.2f} | {tau(lookup, asked):.2f} |", flush=True)


if __name__ == "__main__":
    main()
