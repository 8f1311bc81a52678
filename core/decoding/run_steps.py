"""Who does the steps of a run: the device alone, or together for several runs, or the host."""

from core.config import RunConfig
from core.decoding.device.seats import Seat
from core.decoding.run_start import RunParts
from core.decoding.step import Clock, HostStepper, Stepper
from core.drafters.pace import StepCost
from core.loading.loading import LoadedModel


def host_decides(reason: str) -> str:
    """Says why the host decides steps that the device could do."""
    return f"The host decides the steps of this run, for {reason}."


def seated(
    parts: RunParts, config: RunConfig, num_known: int, max_length: int
) -> tuple[RunParts, Seat | None]:
    """The place of a run that begins now, with so many tokens, among those beside it on the device,
    where there are places.

    The parts of a run without one say why the host decides its steps.
    """
    seats = parts.scheduler.seats
    if seats is None or parts.graphs is None:
        return parts, None
    if not 0 < num_known < parts.runner.context_limit:
        return parts, None  # it fails before its first step
    seat = seats.seat(parts.runner, parts.drafter, config, max_length)
    if isinstance(seat, str):
        return parts._replace(graphs=None, host_reason=host_decides(seat)), None
    return parts, seat


def make_stepper(
    target: LoadedModel,
    parts: RunParts,
    seat: Seat | None,
    config: RunConfig,
    max_length: int,
    clock: Clock,
) -> Stepper:
    """The steps of a run of at most `max_length` tokens."""
    runner, drafter, wait = parts.runner, parts.drafter, parts.scheduler.wait
    if seat is not None:
        return seat.stepper(wait, runner, drafter, config, clock, parts.cost)
    if parts.graphs is not None:
        return parts.graphs.stepper(runner, drafter, config, max_length, clock, parts.cost, wait)
    alone = parts.scheduler.size == 1
    return HostStepper(
        runner,
        drafter,
        config,
        device=target.device,
        end_token_ids=target.eos_token_ids,
        clock=clock,
        cost=None if parts.cost is None else StepCost(parts.cost, learns=alone),
        corrections=parts.corrections,
        num_given=parts.num_given,
    )
