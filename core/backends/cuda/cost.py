"""T(n) on a device: seconds of a captured forward over n rows."""

from collections.abc import Sequence
from statistics import median

import torch

from core.backends.cost_curve import CostCurve
from core.backends.cuda.attention import Rows
from core.backends.cuda.forward import ComputesRows
from core.backends.cuda.graphs import Graphs, Marks

# The largest are those of several sequences together.
SIZES = (1, 2, 4, 8, 16, 32, 48, 64, 128, 256, 512)
# The first run compiles and the second captures.
_WARM_UPS, _REPEATS = 3, 7


def measure_on_device(
    forward: ComputesRows,
    devices: Sequence[torch.device],
    context_length: int,
    state_size: int | None,
) -> CostCurve:
    """Times forwards of every size behind `context_length` columns of whatever the cache holds, which
    lies on the devices.

    `state_size` is the width of the states that an EAGLE head is given with its rows.
    """
    device, *others = devices
    graphs, marks = Graphs(device, others), Marks(device)
    length = torch.tensor([context_length], device=device)
    seconds = []
    for size in SIZES:
        places = length + torch.arange(size, device=device)
        tree = torch.ones((size, size), dtype=torch.bool, device=device).tril()
        rows = Rows(torch.zeros_like(places), places, places, length, tree, places)
        given = None
        if state_size is not None:
            given = torch.zeros((size, state_size), dtype=forward.dtype, device=device)

        def run(rows: Rows = rows, given: torch.Tensor | None = given) -> None:
            forward(rows, given=given)

        found = []
        for _ in range(_WARM_UPS + _REPEATS):
            before = marks.mark()
            graphs.run(size, run)
            after = marks.mark()
            marks.wait(after)
            found.append(marks.seconds(after) - marks.seconds(before))
        seconds.append(median(found[_WARM_UPS:]))
    return CostCurve(SIZES, tuple(seconds))
