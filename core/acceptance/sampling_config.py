"""Settings of sampling: how the target's next token is chosen."""

from dataclasses import dataclass

from core.errors import InvalidSettingError
from core.settings import Settings, default_of, setting


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(Settings):
    """How the target's next token is chosen.

    One rule decides whether it is drawn: a temperature above 0 draws, 0 takes the most probable
    token, and so does giving nothing. `do_sample` alone draws at temperature 1. The two hold what
    they come to, so that a greedy run has temperature 0; what contradicts is refused.
    """

    do_sample: bool = setting(
        None, "draw from the target's distribution; the same as temperature 1 where none is given"
    )
    temperature: float = setting(
        None,
        "above 0 draws from the target's distribution and divides its logits; 0, or unset, takes "
        "the most probable token",
        low=0.0,
        high=100.0,
        flags=("temp", "temperature"),
    )
    top_k: int = setting(0, "keep only the k most probable tokens; 0 keeps all", low=0, high=10**6)
    top_p: float = setting(
        1.0, "keep the smallest set of tokens with this probability mass", low=1e-6, high=1.0
    )
    seed: int = setting(0, "the same seed gives the same text in every mode", low=0, high=2**63 - 1)

    def __post_init__(self) -> None:
        is_unsaid = self.do_sample is None and self.temperature is None
        if self.temperature is None:
            object.__setattr__(self, "temperature", 1.0 if self.do_sample else 0.0)
        if self.do_sample is None:
            object.__setattr__(self, "do_sample", self.temperature != 0)
        super().__post_init__()
        if self.do_sample and self.temperature == 0:
            raise InvalidSettingError(
                "do_sample draws tokens and temperature 0 takes the most probable ones; give a "
                "temperature above 0, or leave do_sample out."
            )
        if not self.do_sample and self.temperature != 0:
            raise InvalidSettingError(
                f"do_sample is false and temperature {self.temperature} draws tokens; leave one of "
                "them out."
            )
        for name in ("top_k", "top_p"):
            if is_unsaid and getattr(self, name) != default_of(SamplingConfig, name):
                raise InvalidSettingError(
                    f"{name} narrows what is drawn and nothing says that tokens are drawn; give a "
                    f"temperature as well, or leave {name} out."
                )

    @property
    def is_greedy(self) -> bool:
        return not self.do_sample
