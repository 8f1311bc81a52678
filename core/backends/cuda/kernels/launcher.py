"""Starts a compiled kernel on a device, past torch."""

import ctypes
from typing import Any

import torch

from core.backends.cuda.kernels.variant import device_of

# Compute capability times ten from which kernels overlap.
_OVERLAPPING_ARCHITECTURE = 90


class Launcher:
    """One kernel in the memory of one device."""

    def __init__(
        self, device_index: int, code: bytes, name: str, num_threads: int, shared_bytes: int = 0
    ):
        """`code` is machine code with a function of that name, for blocks of so many threads with at
        most so much shared memory of their own choice."""
        from cuda.bindings import driver

        self._driver = driver
        self._device_index = device_index
        with torch.cuda.device(device_index):
            # Kept, for the function is gone with it.
            self._module = _checked(driver.cuModuleLoadData(code))
            self._function = _checked(driver.cuModuleGetFunction(self._module, name.encode()))
            if shared_bytes:
                attributes = driver.CUfunction_attribute
                most = attributes.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
                _checked(driver.cuFuncSetAttribute(self._function, most, shared_bytes))
        config = driver.CUlaunchConfig()
        config.gridDimY = config.gridDimZ = config.blockDimY = config.blockDimZ = 1
        config.blockDimX = num_threads
        if device_of(device_index).architecture >= _OVERLAPPING_ARCHITECTURE:
            overlap = driver.CUlaunchAttribute()
            names = driver.CUlaunchAttributeID
            overlap.id = names.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
            overlap.value.programmaticStreamSerializationAllowed = 1
            config.attrs, config.numAttrs = [overlap], 1
        self._config = config

    def launch(self, num_blocks: int, arguments: ctypes.Structure, shared_bytes: int = 0) -> None:
        """Starts it on the device's current stream; `arguments` has the kernel's, in their order."""
        start = ctypes.addressof(arguments)
        offsets = [getattr(type(arguments), name).offset for name, *_ in arguments._fields_]
        pointers = (ctypes.c_void_p * len(offsets))(*(start + offset for offset in offsets))
        config = self._config
        config.gridDimX = num_blocks
        config.sharedMemBytes = shared_bytes
        config.hStream = torch.cuda.current_stream(self._device_index).cuda_stream
        _checked(
            self._driver.cuLaunchKernelEx(config, self._function, ctypes.addressof(pointers), 0)
        )


def _checked(result: tuple[Any, ...]) -> Any:
    status, *rest = result
    if int(status):
        raise RuntimeError(f"CUDA's driver says {status.name}")
    return rest[0] if rest else None
