"""OpenVINO GenAI, which reads the GGUF file itself: plain, and with its prompt lookup."""

from typing import Any


def describe() -> str:
    """The package."""
    import openvino_genai

    return f"openvino-genai {openvino_genai.__version__}"


def load(settings: dict[str, Any]) -> Any:
    """See `loop`."""
    import numpy as np
    import openvino
    import openvino_genai

    class Streamer(openvino_genai.StreamerBase):  # type: ignore[misc]
        """Hands tokens out as they come, a list of them behind each step."""

        def __init__(self, emit: Any):
            super().__init__()
            self._emit = emit

        def write(self, token: Any) -> Any:
            fresh = [token] if isinstance(token, int) else list(token)
            status = openvino_genai.StreamingStatus
            return status.STOP if self._emit(fresh) else status.RUNNING

        def end(self) -> None:
            """Nothing is held back."""

    tokens = settings["lookup_tokens"]
    extra = {"prompt_lookup": True} if tokens else {}
    pipeline = openvino_genai.LLMPipeline(
        settings["gguf"], "CPU", INFERENCE_NUM_THREADS=settings["num_threads"], **extra
    )
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = settings["max_new_tokens"]
    config.do_sample = False
    config.stop_token_ids = set(settings["end_token_ids"])
    if tokens:
        config.num_assistant_tokens = tokens
        config.max_ngram_size = settings["match_tokens"]

    def answer(prompt: list[int], emit: Any) -> None:
        ids = np.array([prompt], dtype=np.int64)
        given = openvino_genai.TokenizedInputs(
            openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids))
        )
        pipeline.generate(given, config, Streamer(emit))

    return answer
