"""Options that the benchmark commands share."""

import argparse
from argparse import Namespace

from core.benchmark.question_sets import OWN, questions_file
from core.benchmark.questions import Question, load_questions, pick_questions
from core.command_line import check_needed, words
from core.errors import InvalidSettingError
from core.runtime.ray_cluster import LOCAL, Cluster


def add_question_options(parser: argparse.ArgumentParser) -> None:
    """Adds what `questions_from_options` reads."""
    parser.add_argument(
        "--questions",
        default=OWN,
        metavar="F.jsonl",
        help="questions, one JSON object a line; own takes the project's 80, long four "
        "with prompts of 1,000 tokens, mt-bench fetches MT-Bench's from the hub (default: own)",
    )
    parser.add_argument(
        "--categories", type=words, default=(), help="only these categories; commas"
    )
    parser.add_argument("--limit", type=int, help="at most so many questions, over all categories")
    parser.add_argument("--repeats", type=int, default=1, help="answers to each prompt")


def add_cluster_options(parser: argparse.ArgumentParser) -> None:
    """Adds what `cluster_from_options` reads."""
    parser.add_argument(
        "--ray",
        nargs="?",
        const=LOCAL,
        metavar="ADDRESS",
        help="spread the questions over a Ray cluster: host:port, auto for the one that runs here, "
        "or nothing to start one",
    )
    parser.add_argument(
        "--workers",
        type=int,
        help="workers of the Ray cluster, a model each (default: one a node, or one a GPU)",
    )


def cluster_from_options(options: Namespace, *, remembers: bool) -> Cluster | None:
    """The cluster that is asked for, if any; raises InvalidSettingError.

    `remembers` is whether a run has a memory, which no other process shares.
    """
    check_needed(options, "workers", "ray")
    if options.ray is None:
        return None
    if remembers:
        raise InvalidSettingError(
            "memory is of one process, and --ray spreads the questions; leave one of them out."
        )
    if options.workers is not None and options.workers < 1:
        raise InvalidSettingError(f"workers is {options.workers}; give at least 1.")
    return Cluster(options.ray, options.workers, wants_gpu=options.device == "cuda")


def questions_from_options(options: Namespace) -> list[Question]:
    """The chosen questions; raises InvalidSettingError."""
    if options.repeats < 1:
        raise InvalidSettingError(f"repeats is {options.repeats}; give at least 1.")
    return pick_questions(
        load_questions(questions_file(options.questions)), options.categories, options.limit
    )
