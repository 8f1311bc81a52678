"""llama.cpp by llama-cpp-python: plain through its C interface, and its prompt lookup.

The package's own loop takes a twentieth of a step for sampling; only the lookup is written on it.
"""

import ctypes
from typing import Any


def describe() -> str:
    """The package, and the instruction sets that it was compiled for."""
    import llama_cpp

    told = llama_cpp.llama_print_system_info().decode()
    on = [part.split("=")[0].strip() for part in told.split("|") if part.strip().endswith("= 1")]
    return f"llama-cpp-python {llama_cpp.__version__}, {' '.join(on)}"


def load(settings: dict[str, Any]) -> Any:
    """See `loop`."""
    tokens = settings["lookup_tokens"]
    return _lookup(settings, tokens) if tokens else _plain(settings)


def _plain(settings: dict[str, Any]) -> Any:
    import llama_cpp
    import numpy as np

    llama_cpp.llama_backend_init()
    model_settings = llama_cpp.llama_model_default_params()
    model = llama_cpp.llama_model_load_from_file(settings["gguf"].encode(), model_settings)
    if not model:
        raise ValueError("it cannot load the file")
    given = llama_cpp.llama_context_default_params()
    given.n_ctx = given.n_batch = settings["context"]
    given.n_threads = given.n_threads_batch = settings["num_threads"]
    given.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
    context = llama_cpp.llama_init_from_model(model, given)
    memory = llama_cpp.llama_get_memory(context)
    vocab_size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))

    def answer(prompt: list[int], emit: Any) -> None:
        llama_cpp.llama_memory_clear(memory, True)
        token_ids = prompt
        while True:
            array = (llama_cpp.llama_token * len(token_ids))(*token_ids)
            status = llama_cpp.llama_decode(
                context, llama_cpp.llama_batch_get_one(array, len(token_ids))
            )
            if status:
                raise RuntimeError(f"llama_decode gives {status}")
            logits = llama_cpp.llama_get_logits_ith(context, -1)
            floats = ctypes.cast(logits, ctypes.POINTER(ctypes.c_float * vocab_size)).contents
            token_ids = [int(np.frombuffer(floats, np.float32).argmax())]
            if emit(token_ids):
                return

    return answer


def _lookup(settings: dict[str, Any], num_tokens: int) -> Any:
    import llama_cpp
    from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

    threads = settings["num_threads"]
    model = llama_cpp.Llama(
        settings["gguf"],
        n_ctx=settings["context"],
        n_threads=threads,
        n_threads_batch=threads,
        draft_model=LlamaPromptLookupDecoding(num_pred_tokens=num_tokens),
        logits_all=True,
        flash_attn=True,
        verbose=False,
    )

    def answer(prompt: list[int], emit: Any) -> None:
        model.reset()
        for token_id in model.generate(prompt, temp=0.0, top_k=1, repeat_penalty=1.0):
            if emit([int(token_id)]):
                return

    return answer
