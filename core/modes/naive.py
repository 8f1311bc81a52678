"""naive: plain decoding, which all other modes are measured against."""

from core.modes.registry import Mode, register

register(Mode("naive", "plain"))
