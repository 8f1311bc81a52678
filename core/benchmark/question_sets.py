"""Sets of questions by name: the project's own, long prompts, and MT-Bench from the hub."""

from pathlib import Path

from core.errors import InvalidSettingError, StorageError, reason_of
from core.models.hub_files import fetched
from core.runtime.proxies import spare_this_machine

OWN = "own"
# Prompts of about 1,000 tokens, for the time to the first.
LONG = "long"
MT_BENCH = "mt-bench"
_FILES = {
    OWN: Path(__file__).with_name("questions.jsonl"),
    LONG: Path(__file__).with_name("long_questions.jsonl"),
}
# Where its authors keep it, at the commit that put it there (Zheng et al. 2023; Apache-2.0).
_MT_BENCH_SPACE = "lmsys/mt-bench"
_MT_BENCH_COMMIT = "18adcd3ca6a11a866069b81cba58d17b0daa981d"
_MT_BENCH_FILE = "data/mt_bench/question.jsonl"


def questions_file(name: str) -> Path:
    """The file of a named set, else the file at that path.

    Raises InvalidSettingError where the hub does not give MT-Bench.
    """
    if name in _FILES:
        return _FILES[name]
    if name == MT_BENCH:
        return _from_hub()
    return Path(name).expanduser()


def _from_hub() -> Path:
    from huggingface_hub import hf_hub_download

    spare_this_machine()
    try:
        return fetched(
            hf_hub_download, _MT_BENCH_SPACE, _MT_BENCH_FILE,
            repo_type="space", revision=_MT_BENCH_COMMIT,
        )  # fmt: skip
    except StorageError:
        raise
    except Exception as error:  # the hub's errors have no common class, and proxies have theirs
        reason = reason_of(error)
        raise InvalidSettingError(
            f"the hub gave no questions of MT-Bench ({reason}); check the network, or give "
            "--questions the path of its question.jsonl."
        ) from error
