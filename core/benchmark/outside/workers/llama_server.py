"""llama.cpp's server by xllamacpp, called as the program `llama-server` is."""

import argparse
import time

# Copies of what stands in the prompt, of so many tokens behind so many that match: the package's own
# value of 12 finds none in short prompts.
_MATCH_TOKENS, _DRAFT_TOKENS = 3, 10
# Options of llama-server, and where the package has them.
_NUMBERS = {
    "--spec-draft-n-max": ("draft", "n_max"),
    "--spec-draft-n-min": ("draft", "n_min"),
    "--spec-ngram-simple-size-n": ("ngram_simple", "size_n"),
    "--spec-ngram-simple-size-m": ("ngram_simple", "size_m"),
    "--spec-ngram-mod-n-match": ("ngram_mod", "n_match"),
    "--spec-ngram-mod-n-min": ("ngram_mod", "n_min"),
    "--spec-ngram-mod-n-max": ("ngram_mod", "n_max"),
}


def main() -> None:
    """Serves until the process is ended."""
    import xllamacpp

    parser = argparse.ArgumentParser()
    for name in ("-m", "--host", "--spec-type", "--model-draft"):
        parser.add_argument(name)
    for name in ("-c", "-np", "-t", "-tb", "-ngl", "--port", *_NUMBERS):
        parser.add_argument(name, type=int)
    options = parser.parse_args()
    given = xllamacpp.CommonParams()
    given.model.path = options.m
    given.n_ctx, given.n_parallel = options.c, options.np
    given.hostnames, given.port = [options.host], options.port
    if options.t is not None:
        given.cpuparams.n_threads = options.t
        given.cpuparams_batch.n_threads = options.tb
        given.n_gpu_layers = options.ngl
    if options.spec_type is not None:
        kinds = xllamacpp.common_speculative_type
        name = options.spec_type.upper().replace("-", "_")
        given.speculative.types = [getattr(kinds, f"COMMON_SPECULATIVE_TYPE_{name}")]
    if options.model_draft is not None:
        given.speculative.draft.mparams.path = options.model_draft
    given.speculative.ngram_simple.size_n = _MATCH_TOKENS
    given.speculative.ngram_simple.size_m = _DRAFT_TOKENS
    for name, (part, field) in _NUMBERS.items():
        number = getattr(options, name.removeprefix("--").replace("-", "_"))
        if number is not None:
            setattr(getattr(given.speculative, part), field, number)
    server = xllamacpp.Server(given)
    while server:
        time.sleep(3600)


if __name__ == "__main__":
    main()
