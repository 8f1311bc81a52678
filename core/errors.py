"""The errors of the engine; every message says what was got, what is allowed and what to do."""


class SpecDecodesError(Exception):
    """Base of all errors that a user can cause or mend; the message is one clear sentence."""


class InvalidSettingError(SpecDecodesError, ValueError):
    """A setting, prompt or argument outside what is allowed."""


class ModelUnavailableError(SpecDecodesError):
    """A model that cannot be found, fetched, verified, converted or loaded."""


class DrafterUnavailableError(SpecDecodesError):
    """A drafter that cannot run with this target or on this machine."""


class KernelsUnavailableError(SpecDecodesError):
    """Compiled kernels that cannot be had on this machine."""


class TraceFormatError(SpecDecodesError):
    """A trace file that cannot be read; `line_number` counts from 1."""

    def __init__(self, message: str, line_number: int):
        super().__init__(f"line {line_number}: {message}")
        self.line_number = line_number
