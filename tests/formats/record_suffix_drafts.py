"""Records what arctic-inference's SuffixDecoding drafts from earlier answers.

Needs an environment with numpy and `pip install --no-deps arctic-inference==0.3.0`, whose suffix trees
are built with cmake and a compiler of C++20, without a GPU. From the repository's folder:

    python -m tests.formats.record_suffix_drafts

Where two tokens followed equally often, which of them comes first is an accident of its tree; such
drafts are left out.
"""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "suffix" / "drafts.json"
# Deeper than any context and draft together, so that the depth of the tree cuts nothing off.
_DEPTH = 512
_VOCABULARY = 12
_NUM_CACHES = 10
_NUM_CONTEXTS = 12
_MOST_NODES = 24
# Of a chain and of a tree, for every token of the context; their own default is 1, with which trees
# seldom branch.
_FACTORS = {"chain": 1.0, "tree": 3.0}


def _answers(chance: random.Random) -> list[list[int]]:
    """Texts of a few phrases, for tokens drawn one by one would hardly repeat."""
    phrases = [
        [chance.randrange(_VOCABULARY) for _ in range(chance.randint(3, 8))] for _ in range(4)
    ]
    return [
        [token for _ in range(chance.randint(3, 6)) for token in _phrase(phrases, chance)]
        for _ in range(24)
    ]


def _phrase(phrases: list[list[int]], chance: random.Random) -> list[int]:
    phrase = list(chance.choice(phrases))
    if chance.random() < 0.2:
        phrase[chance.randrange(len(phrase))] = chance.randrange(_VOCABULARY)
    return phrase


def _is_ambiguous(answers: list[list[int]], context: list[int], draft: list[int]) -> bool:
    """Whether on the way of a chain, behind any match, two tokens followed equally often."""
    for length in range(1, len(context) + 1):
        wanted = context[-length:]
        for end in range(len(draft) + 1):
            sought = wanted + draft[:end]
            counts = Counter(
                answer[i + len(sought)]
                for answer in answers
                for i in range(len(answer) - len(sought))
                if answer[i : i + len(sought)] == sought
            ).most_common(2)
            if len(counts) == 2 and counts[0][1] == counts[1][1]:
                return True
    return False


def _record(chance: random.Random, number: int) -> dict[str, Any]:
    """A cache's answers, and what it drafts behind some contexts."""
    from arctic_inference.suffix_decoding import SuffixDecodingCache

    answers = _answers(chance)
    # Every other cache is so small that the oldest answers had to go.
    num_kept = 16 if number % 2 else len(answers)
    cache = SuffixDecodingCache(_DEPTH, num_kept + 1)
    for place, answer in enumerate(answers):
        cache.start_request(place, [])
        cache.add_active_response(place, answer)
        cache.stop_request(place)
    cache.start_request("now", [])
    kept = [answers[place] for place in cache.cached_requests if place != "now"]
    cases: list[dict[str, Any]] = []
    while len(cases) < _NUM_CONTEXTS:
        source = chance.choice(kept)
        end = chance.randint(2, len(source))
        context = [chance.randrange(_VOCABULARY), *source[max(0, end - chance.randint(2, 8)) : end]]
        case: dict[str, Any] = {"context": context}
        for name, factor in _FACTORS.items():
            # It never matches the whole of what it is given.
            draft = cache.speculate(
                "now", [0, *context], _MOST_NODES, factor, use_tree_spec=name == "tree"
            )
            case[name] = {
                "token_ids": draft.token_ids,
                "parents": draft.parents,
                "reach": [round(prob, 7) for prob in draft.probs],
                "score": draft.score,
                "match_length": draft.match_len,
            }
        if not _is_ambiguous(kept, context, case["chain"]["token_ids"]):
            cases.append(case)
    return {"answers": kept, "cases": cases}


def main() -> None:
    chance = random.Random(0)
    caches = [_record(chance, number) for number in range(_NUM_CACHES)]
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(
        json.dumps({"num_nodes": _MOST_NODES, "factors": _FACTORS, "caches": caches}) + "\n"
    )
    chains = Counter(len(case["chain"]["token_ids"]) for cache in caches for case in cache["cases"])
    print(f"nodes of the chains: {sorted(chains.items())}")


if __name__ == "__main__":
    main()
