// Lays weights out in panels, from numbers one after the other or from the blocks of a GGUF file
// (llama.cpp, ggml-common.h).

#pragma once

#include <cstring>

#include "formats.h"

namespace {

// Where the parts of a block stand, and the numbers of its columns.
struct Q4_0 {
  static constexpr int BITS = 4, UNITS = 1, BYTES = 18, HALVES[] = {0};
  static uint32_t number(const uint8_t* block, int i) { return block[2 + i % 16] >> (i / 16 * 4) & 15; }
};
struct Q4_1 {
  static constexpr int BITS = 4, UNITS = 1, BYTES = 20, HALVES[] = {0, 2};
  static uint32_t number(const uint8_t* block, int i) { return block[4 + i % 16] >> (i / 16 * 4) & 15; }
};
struct Q5_0 {
  static constexpr int BITS = 5, UNITS = 1, BYTES = 22, HALVES[] = {0};
  static uint32_t number(const uint8_t* block, int i) {
    return (block[6 + i % 16] >> (i / 16 * 4) & 15) | (block[2 + i / 8] >> (i % 8) & 1) << 4;
  }
};
struct Q5_1 {
  static constexpr int BITS = 5, UNITS = 1, BYTES = 24, HALVES[] = {0, 2};
  static uint32_t number(const uint8_t* block, int i) {
    return (block[8 + i % 16] >> (i / 16 * 4) & 15) | (block[4 + i / 8] >> (i % 8) & 1) << 4;
  }
};
struct Q8_0 {
  static constexpr int BITS = 8, UNITS = 1, BYTES = 34, HALVES[] = {0};
  static uint32_t number(const uint8_t* block, int i) { return block[2 + i] ^ 0x80; }
};

// Of K-quants: 256 numbers a block; `inner` gives the scale of a part, `offset` what is multiplied by
// the second half and taken away.
struct Q2_K {
  static constexpr int BITS = 2, UNITS = SUPER_UNITS, BYTES = 84, HALVES[] = {80, 82};
  static constexpr int PARTS = 2;
  static uint32_t number(const uint8_t* block, int i) {
    return block[16 + i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
  }
  static int inner(const uint8_t* block, int part) { return block[part] & 15; }
  static int offset(const uint8_t* block, int part) { return block[part] >> 4; }
};
struct Q3_K {
  static constexpr int BITS = 3, UNITS = SUPER_UNITS, BYTES = 110, HALVES[] = {108};
  static constexpr int PARTS = 2;
  static uint32_t number(const uint8_t* block, int i) {
    return (block[32 + i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3) |
           (block[i % 32] >> (i / 32) & 1) << 2;
  }
  static int inner(const uint8_t* block, int part) {
    const uint8_t* scales = block + 96;
    const int low = part < 8 ? scales[part] & 15 : scales[part - 8] >> 4;
    return (low | (scales[8 + part % 4] >> (part / 4 * 2) & 3) << 4) - 32;
  }
  static int offset(const uint8_t*, int) { return 0; }
};
// Twelve bytes hold eight scales and eight offsets of six bits.
inline int six_bits(const uint8_t* packed, int index, int is_offset) {
  if (index < 4) return packed[index + 4 * is_offset] & 63;
  const int low = is_offset ? packed[index + 4] >> 4 : packed[index + 4] & 15;
  return low | (packed[index - 4 + 4 * is_offset] >> 6) << 4;
}
struct Q4_K {
  static constexpr int BITS = 4, UNITS = SUPER_UNITS, BYTES = 144, HALVES[] = {0, 2};
  static constexpr int PARTS = 1;
  static uint32_t number(const uint8_t* block, int i) {
    return block[16 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
  }
  static int inner(const uint8_t* block, int part) { return six_bits(block + 4, part, 0); }
  static int offset(const uint8_t* block, int part) { return six_bits(block + 4, part, 1); }
};
struct Q5_K {
  static constexpr int BITS = 5, UNITS = SUPER_UNITS, BYTES = 176, HALVES[] = {0, 2};
  static constexpr int PARTS = 1;
  static uint32_t number(const uint8_t* block, int i) {
    return (block[48 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15) |
           (block[16 + i % 32] >> (i / 32) & 1) << 4;
  }
  static int inner(const uint8_t* block, int part) { return six_bits(block + 4, part, 0); }
  static int offset(const uint8_t* block, int part) { return six_bits(block + 4, part, 1); }
};
struct Q6_K {
  static constexpr int BITS = 6, UNITS = SUPER_UNITS, BYTES = 210, HALVES[] = {208};
  static constexpr int PARTS = 2;
  static uint32_t number(const uint8_t* block, int i) {
    const int half = i / 128, in_half = i % 128, quarter = in_half / 32;
    const uint8_t low = block[half * 64 + in_half % 64];
    const uint8_t high = block[128 + half * 32 + in_half % 32];
    return (quarter < 2 ? low & 15 : low >> 4) | (high >> (quarter * 2) & 3) << 4;
  }
  static int inner(const uint8_t* block, int part) { return (int8_t)block[192 + part]; }
  static int offset(const uint8_t*, int) { return 0; }
};

// By the numbers of their formats in formats.h; Q4_1 and Q5_1 share theirs with other grids.
template <class Call>
void with_blocks(int32_t format, Call call) {
  switch (format) {
    case 5: call(Q4_1{}); break;
    case 6: call(Q5_1{}); break;
    case 12: call(Q4_0{}); break;
    case 13: call(Q5_0{}); break;
    case 14: call(Q8_0{}); break;
    case 15: call(Q2_K{}); break;
    case 16: call(Q3_K{}); break;
    case 17: call(Q4_K{}); break;
    case 18: call(Q5_K{}); break;
    case 19: call(Q6_K{}); break;
  }
}

// Fills fresh memory with panels, lane by lane.
template <class PackLane>
void each_panel(int64_t num_outputs, char* to, int64_t panel_bytes, int num_threads,
                PackLane pack_lane) {
  const int64_t num_panels = (num_outputs + PANEL - 1) / PANEL;
#pragma omp parallel for num_threads(num_threads)
  for (int64_t index = 0; index < num_panels; ++index) {
    char* panel = to + index * panel_bytes;
    std::memset(panel, 0, panel_bytes);
    for (int lane = 0; lane < PANEL && index * PANEL + lane < num_outputs; ++lane)
      pack_lane(index * PANEL + lane, lane, panel);
  }
}

// One lane of a panel.
template <class Block>
void pack_lane(const uint8_t* row, int64_t in_features, int lane, char* panel, char* scales) {
  int32_t* values = reinterpret_cast<int32_t*>(panel);
  constexpr int NUM_HALVES = sizeof(Block::HALVES) / sizeof(int);
  const auto put_half = [&](char* at, const uint8_t* block, int which) {
    std::memcpy(at + (which * PANEL + lane) * 2, block + Block::HALVES[which], 2);
  };
  for (int64_t index = 0; index < in_features / (Block::UNITS * UNIT); ++index) {
    const uint8_t* block = row + index * Block::BYTES;
    for (int i = 0; i < Block::UNITS * UNIT; ++i)
      Numbers<Block::BITS>::put(
          values + (index * Block::UNITS + i / UNIT) * Block::BITS * PANEL, lane, i % UNIT,
          Block::number(block, i));
    if constexpr (Block::UNITS == 1) {
      for (int which = 0; which < NUM_HALVES; ++which)
        put_half(scales + index * NUM_HALVES * PANEL * 2, block, which);
    } else {
      using Super = SuperScales<Block::PARTS, NUM_HALVES == 2>;
      char* super = scales + index * Super::BYTES;
      for (int which = 0; which < NUM_HALVES; ++which) put_half(super, block, which);
      int8_t* inner = reinterpret_cast<int8_t*>(super + NUM_HALVES * PANEL * 2);
      for (int part = 0; part < Block::UNITS * Block::PARTS; ++part) {
        inner[part * NUM_HALVES * PANEL + lane] = (int8_t)Block::inner(block, part);
        if constexpr (NUM_HALVES == 2)
          inner[(part * 2 + 1) * PANEL + lane] = (int8_t)Block::offset(block, part);
      }
    }
  }
}

// One lane of a panel of numbers that stand a byte each.
inline void pack_bytes(int32_t bits, const uint8_t* row, int64_t in_features, int lane,
                       char* panel) {
  int32_t* values = reinterpret_cast<int32_t*>(panel);
  const auto pack = [&](auto numbers, int num_bits) {
    for (int64_t i = 0; i < in_features; ++i)
      decltype(numbers)::put(values + i / UNIT * num_bits * PANEL, lane, (int)(i % UNIT), row[i]);
  };
  switch (bits) {
    case 2: pack(Numbers<2>{}, 2); break;
    case 3: pack(Numbers<3>{}, 3); break;
    case 4: pack(Numbers<4>{}, 4); break;
    case 8: pack(Numbers<8>{}, 8); break;
  }
}

// One lane of a panel of floating numbers, words or halves of words each.
template <class Element>
void pack_elements(const char* row, int64_t count, int lane, char* panel) {
  for (int64_t i = 0; i < count; ++i)
    std::memcpy(panel + (i * PANEL + lane) * sizeof(Element), row + i * sizeof(Element),
                sizeof(Element));
}

}  // namespace
