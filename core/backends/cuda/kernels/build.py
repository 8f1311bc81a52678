"""Compiles kernels at their first use with NVIDIA's runtime compiler, which comes with torch."""

import hashlib
import os
from pathlib import Path
from typing import Any

from core.errors import KernelsUnavailableError
from core.runtime.storage import cache_home

# Without headers, so that no toolkit is needed.
_FLAGS = ("--std=c++17", "--diag-suppress=177", "--diag-suppress=549")


def built(files: tuple[str, ...], architecture: int, values: dict[str, int]) -> bytes:
    """Machine code for sm_`architecture` of files of this folder, one behind the other, with the values
    that the last one's head names.

    It is kept on disk. Raises KernelsUnavailableError where it cannot be compiled.
    """
    major, minor = compiler_version()
    options = [f"--gpu-architecture=sm_{architecture}", *_FLAGS]
    options += [f"-D{name}={value}" for name, value in values.items()]
    source = "\n".join(Path(__file__).with_name(name).read_text("utf-8") for name in files)
    key = "\n".join([f"nvrtc {major}.{minor}", *options, source])
    digest = hashlib.sha256(key.encode()).hexdigest()[:20]
    path = cache_home() / "kernels" / f"{digest}.cubin"
    try:
        return _whole(path.read_bytes())
    except (OSError, ValueError):
        code = _compiled(_compiler(), files[-1], source, options)
        _keep(path, code)
        return code


def compiler_version() -> tuple[int, int]:
    """Of the runtime compiler; raises KernelsUnavailableError where there is none."""
    try:
        _, major, minor = _compiler().nvrtcVersion()
    except (ImportError, RuntimeError) as error:
        raise KernelsUnavailableError(
            "the kernels need cuda-bindings and NVIDIA's runtime compiler, which torch's builds for "
            "CUDA bring along"
        ) from error
    return int(major), int(minor)


def _compiler() -> Any:
    from cuda.bindings import nvrtc

    return nvrtc


def _compiled(nvrtc: Any, name: str, source: str, options: list[str]) -> bytes:
    _, program = nvrtc.nvrtcCreateProgram(source.encode(), name.encode(), 0, [], [])
    (status,) = nvrtc.nvrtcCompileProgram(
        program, len(options), [option.encode() for option in options]
    )
    if int(status):
        _, size = nvrtc.nvrtcGetProgramLogSize(program)
        log = b" " * size
        nvrtc.nvrtcGetProgramLog(program, log)
        lines = log.decode(errors="replace").splitlines()
        reason = next((line for line in lines if "error" in line), status.name)
        raise KernelsUnavailableError(f"the kernels cannot be compiled ({reason.strip()}).")
    _, size = nvrtc.nvrtcGetCUBINSize(program)
    code = bytes(size)
    nvrtc.nvrtcGetCUBIN(program, code)  # writes into it
    nvrtc.nvrtcDestroyProgram(program)
    return code


def _whole(content: bytes) -> bytes:
    """The code behind its own hash: the driver takes half a file for what it is not."""
    digest, code = content[:32], content[32:]
    if hashlib.sha256(code).digest() != digest:
        raise ValueError("not what was written")
    return code


def _keep(path: Path, code: bytes) -> None:
    """Writes under a temporary name and renames; a disk that refuses is done without."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(hashlib.sha256(code).digest() + code)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
