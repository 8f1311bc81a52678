"""The kernels on 64-bit Arm, by a cross compiler and under emulation (Debian's packages
g++-aarch64-linux-gnu and qemu-user)."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from core.backends.cpu.build import SOURCE

COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
# Prints, for each format, the products of rows together and says whether each is the same alone.
DRIVER = """
#include <cstdio>
#include <vector>
#include "pack.h"
#include "product.h"

static uint32_t state = 1;
static uint32_t draw() { return (state = state * 1664525u + 1013904223u) >> 8; }

template <class Block>
void try_blocks(int32_t format, int64_t scale_bytes) {
  const int64_t outputs = 21, width = 512, rows = 7, panels = (outputs + PANEL - 1) / PANEL;
  const int64_t row_bytes = width / (Block::UNITS * UNIT) * Block::BYTES;
  std::vector<uint8_t> data(outputs * row_bytes);
  for (auto& byte : data) byte = (uint8_t)draw();
  for (int64_t at = 0; at < (int64_t)data.size(); at += Block::BYTES)
    for (int half : Block::HALVES) {
      const Half number = (Half)((float)(draw() % 100) / 500.0f);
      std::memcpy(&data[at + half], &number, 2);
    }
  std::vector<int32_t> values(panels * width * Block::BITS / 32 * PANEL);
  std::vector<char> scales(panels * scale_bytes * PANEL * (width / (Block::UNITS * UNIT)));
  const int64_t panel_scales = scales.size() / panels;
  each_panel(outputs, (char*)values.data(), width * Block::BITS / 8 * PANEL, 1,
             [&](int64_t row, int lane, char* panel) {
               pack_lane<Block>(&data[row * row_bytes], width, lane, panel,
                                scales.data() + row / PANEL * panel_scales);
             });
  const Segment segment{format, 0, 0, outputs, values.data(), scales.data()};
  const Linear linear{(int32_t)outputs, (int32_t)width, 1, 0, &segment, nullptr};
  std::vector<float> x(rows * width), together(rows * outputs), alone(rows * outputs);
  for (auto& number : x) number = (float)(int)(draw() % 2001) / 1000.0f - 1.0f;
  const Needs needs = needs_of(linear);
  std::vector<RoundedUnit> room(Matrix::floats(rows, width, needs));
  const auto multiplied = [&](int64_t first, int64_t count, float* y) {
    const Matrix matrix((float*)room.data(), count, width, needs);
    for (int64_t row = 0; row < count; ++row) {
      std::memcpy(matrix.row(row), &x[(first + row) * width], width * 4);
      matrix.finish(needs, row, 0, width);
    }
    multiply(linear, 0, outputs, {count, matrix.input(needs), y, outputs});
  };
  multiplied(0, rows, together.data());
  for (int64_t row = 0; row < rows; ++row) multiplied(row, 1, &alone[row * outputs]);
  std::printf("%d %d", format, std::memcmp(together.data(), alone.data(), alone.size() * 4) == 0);
  for (float number : together) std::printf(" %a", number);
  std::printf("\\n");
}

int main() {
  try_blocks<Q4_0>(12, 2);
  try_blocks<Q5_1>(6, 4);
  try_blocks<Q8_0>(14, 2);
  try_blocks<Q4_K>(17, 20);
  try_blocks<Q6_K>(19, 18);
}
"""
TARGETS = {
    "i8mm": [COMPILER, "-march=armv8.6-a+i8mm", "-static"],
    "armv8": [COMPILER, "-march=armv8-a", "-static"],
    "here": ["c++", "-march=x86-64-v3"],
}


def printed(target: str, folder: Path) -> list[list[str]]:
    source, program = folder / "driver.cpp", folder / target
    source.write_text(DRIVER, "utf-8")
    flags = ["-O2", "-std=c++17", "-ffp-contract=fast", "-I", str(SOURCE.parent)]
    subprocess.run([*TARGETS[target], *flags, "-o", program, source], check=True)
    command = [str(program)] if target == "here" else [EMULATOR, "-cpu", "max", str(program)]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [line.split() for line in found.splitlines()]


@pytest.mark.skipif(
    shutil.which(COMPILER) is None or shutil.which(EMULATOR) is None,
    reason="no cross compiler and emulator for 64-bit Arm",
)
def test_arm_computes_what_other_processors_do(tmp_path: Path) -> None:
    i8mm, armv8, here = (printed(target, tmp_path) for target in TARGETS)
    assert i8mm == armv8
    assert [words[1] for words in i8mm] == ["1"] * 5, "a row has the same bits alone"
    for arm, other in zip(i8mm, here, strict=True):
        numbers = [
            torch.tensor([float.fromhex(word) for word in words[2:]]) for words in (arm, other)
        ]
        assert float(numbers[1].abs().max()) > 1.0
        torch.testing.assert_close(*numbers, rtol=1e-4, atol=1e-4)
