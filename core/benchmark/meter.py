"""Asks runners, and reads around each answer what the machine tells of memory and energy."""

from dataclasses import replace

from core.benchmark.measurement import Answer, Resources
from core.benchmark.runners import Runner
from core.decoding.run_start import Prompt
from core.runtime.energy import EnergyMeter
from core.runtime.peak_memory import PeakMemory


class Meter:
    """Stands between those who ask and the runners."""

    def __init__(self, energy: EnergyMeter):
        self.energy = energy

    def answer(self, runner: Runner, prompt: Prompt) -> Answer:
        """The runner's answer with what it took; nothing is told of a runner out of sight."""
        if runner.memory is None:
            return runner.answer(prompt)
        runner.memory.reset()
        self.energy.start()
        answer = runner.answer(prompt)
        energy_j = self.energy.stop_j()
        memory: PeakMemory = runner.memory.peak()
        return replace(
            answer, resources=Resources(memory.resident_bytes, memory.gpu_bytes, energy_j)
        )
