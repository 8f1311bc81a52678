"""llama.cpp's server by xllamacpp, called as the program `llama-server` is."""

import argparse
import time

# Copies of what stands in the prompt, of so many tokens behind so many that match: the package's own
# value of 12 finds none in short prompts.
_MATCH_TOKENS, _DRAFT_TOKENS = 3, 10


def main() -> None:
    """Serves until the process is ended."""
    import xllamacpp

    parser = argparse.ArgumentParser()
    for name in ("-m", "--host", "--spec-type"):
        parser.add_argument(name)
    for name in ("-c", "-np", "-t", "-tb", "-ngl", "--port"):
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
    kinds = xllamacpp.common_speculative_type
    if options.spec_type == "ngram-simple":
        given.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
        given.speculative.ngram_simple.size_n = _MATCH_TOKENS
        given.speculative.ngram_simple.size_m = _DRAFT_TOKENS
    elif options.spec_type == "ngram-mod":
        given.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_NGRAM_MOD]
    server = xllamacpp.Server(given)
    while server:
        time.sleep(3600)


if __name__ == "__main__":
    main()
