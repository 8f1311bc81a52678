"""The colours of everything, chosen once: the set of Okabe and Ito, safe for colour-blind eyes, and a
violet, for it has too few for the sources of tokens.

Colour never stands alone: bars have names, tokens have a form as well.
"""

from typing import Final, Literal

Theme = Literal["light", "dark"]

BLUE: Final = "#0072b2"
SKY: Final = "#56b4e9"
ORANGE: Final = "#e69f00"
VERMILION: Final = "#d55e00"
GREEN: Final = "#009e73"
PURPLE: Final = "#cc79a7"
GREY: Final = "#8c8c8c"
VIOLET: Final = "#6a4fc4"

SOURCE_COLOURS: Final = {
    "accepted": BLUE,
    "remembered": ORANGE,
    "forced": VIOLET,
    "recovered": VERMILION,
    "bonus": GREEN,
    "plain": GREY,
    "untold": SKY,
}
STATUS_COLOURS: Final = {"accepted": BLUE, "rejected": PURPLE, "untested": GREY}
PHASE_COLOURS: Final = {
    "draft": SKY,
    "verify": BLUE,
    "accept": GREEN,
    "commit": ORANGE,
    "other": GREY,
}
UNTOLD_COLOUR: Final = PURPLE
"""For whole steps, where their phases are not told."""
RUN_COLOURS: Final = (BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY, GREY)
"""For several runs side by side."""
