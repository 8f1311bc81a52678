"""Speed on the default model's file in other types of numbers, beside llama.cpp on the same files:
`python -m tests.core.models.measure_files --llama-cpp PYTHON [--types Q4_0,Q8_0,Q4_K_M,F16]`.

llama.cpp requantizes the file, and `core.benchmark.compare` measures each.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

from gguf import LlamaFileType

from core.benchmark import compare
from core.models.sources import find_model
from core.runtime.storage import no_progress

_REQUANTIZE = """
import ctypes, sys, llama_cpp
settings = llama_cpp.llama_model_quantize_default_params()
settings.ftype, settings.allow_requantize = int(sys.argv[3]), True
names = [name.encode() for name in sys.argv[1:3]]
sys.exit(llama_cpp.llama_model_quantize(*names, ctypes.byref(settings)))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tests.core.models.measure_files", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "--llama-cpp", metavar="PYTHON", required=True, help="it has llama-cpp-python"
    )
    parser.add_argument(
        "--types", default="Q4_0,Q8_0,Q4_K_M,F16", help="as llama.cpp names them, commas"
    )
    options = parser.parse_args()
    default = find_model("smollm2-135m", no_progress).gguf
    with tempfile.TemporaryDirectory() as folder:
        for name in options.types.split(","):
            path = str(Path(folder) / f"{name}.gguf")
            number = str(LlamaFileType[f"MOSTLY_{name}"].value)
            subprocess.run(
                [options.llama_cpp, "-c", _REQUANTIZE, str(default), path, number],
                check=True, capture_output=True,
            )  # fmt: skip
            compare.main(
                ["--modes", "ngram", "--target", path, "--with", f"llama-cpp={options.llama_cpp}",
                 "--limit", "2", "--max-new-tokens", "128"]
            )  # fmt: skip


if __name__ == "__main__":
    main()
