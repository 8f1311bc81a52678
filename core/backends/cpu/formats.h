// Weights as they are stored: written out to float32 in registers, or as the bytes that whole rows
// multiply.

#pragma once

#include <cmath>

#include "dots.h"
#include "model.h"

namespace {

// Dense formats give UNIT weights of an output.
struct Dense {
  static constexpr bool IS_PACKED = false;
};

struct Float32 : Dense {
  static void weights(const Linear& linear, int64_t row, int unit, Lanes* w) {
    const float* from = reinterpret_cast<const float*>(linear.values) + row * linear.in_features;
    fetch(from + unit * UNIT);
    fetch(from + unit * UNIT + UNIT / 2);
    for (int i = 0; i < 4; ++i) w[i] = load(from + unit * UNIT + i * LANES);
  }
};

struct BFloat16 : Dense {
  static void weights(const Linear& linear, int64_t row, int unit, Lanes* w) {
    const uint16_t* from =
        reinterpret_cast<const uint16_t*>(linear.values) + row * linear.in_features + unit * UNIT;
    fetch(from);
    for (int i = 0; i < 4; ++i) {
      Halves halves;
      std::memcpy(&halves, from + i * LANES, sizeof(halves));
      w[i] = (Lanes)(__builtin_convertvector(halves, Words) << 16);
    }
  }
};

// Eight numbers, written out to float32.
inline Lanes load_wide(const float* from) { return load(from); }
inline Lanes load_wide(const _Float16* from) {
#if defined(__F16C__)
  return (Lanes)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#else
  HalfFloats halves;
  std::memcpy(&halves, from, sizeof(halves));
  return __builtin_convertvector(halves, Lanes);
#endif
}

struct Float16 : Dense {
  static void weights(const Linear& linear, int64_t row, int unit, Lanes* w) {
    const _Float16* from =
        reinterpret_cast<const _Float16*>(linear.values) + row * linear.in_features + unit * UNIT;
    fetch(from);
    for (int i = 0; i < 4; ++i) w[i] = load_wide(from + i * LANES);
  }
};

// Packed weights stand in panels of LANES outputs: unit after unit its VECTORS, lane l of which is
// of output l and holds some columns. Scales and offsets stand in panels too. Products round their
// rows (rounded.h).
template <class Scale>
struct Packed {
  static constexpr bool IS_PACKED = true;
  static const Scale* scales_of(const Linear& linear, int64_t panel, int64_t unit) {
    const int64_t num_groups = (linear.in_features / UNIT) >> linear.group_shift;
    const int64_t group = unit >> linear.group_shift;
    return static_cast<const Scale*>(linear.scales) + (panel * num_groups + group) * 2 * LANES;
  }
};

template <class Scale>
struct Int4 : Packed<Scale> {  // 0 to 15; a byte's halves are four columns apart
  static constexpr int VECTORS = 4;
  using Sum = NibbleSum;
  static int32_t number(const int32_t* unit, int64_t lane, int column) {
    return (unit[column / 8 * LANES + lane] >> (column % 4 * 8 + column / 4 % 2 * 4)) & 15;
  }
  // Adds a unit of a panel times NUM_ROWS rows of bytes, whose words stand side by side.
  template <int NUM_ROWS>
  static void add(const int32_t* unit, const int32_t* x, Sum* sums) {
    fetch(unit);
    fetch(unit + 2 * LANES);
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; ++j) {
      const Words words = load_words(unit + j * LANES);
      const Words low = words & 0x0f0f0f0f, high = (words >> 4) & 0x0f0f0f0f;
#pragma GCC unroll 4
      for (int r = 0; r < NUM_ROWS; ++r) {
        sums[r].add(low, all_words(x[2 * j * NUM_ROWS + r]));
        sums[r].add(high, all_words(x[(2 * j + 1) * NUM_ROWS + r]));
      }
    }
  }
};

template <class Scale>
struct Int8 : Packed<Scale> {  // -128 to 127
  static constexpr int VECTORS = 8;
  using Sum = ByteSum;
  static int32_t number(const int32_t* unit, int64_t lane, int column) {
    return (int8_t)(unit[column / 4 * LANES + lane] >> (column % 4 * 8));
  }
  template <int NUM_ROWS>
  static void add(const int32_t* unit, const int32_t* x, Sum* sums) {
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; ++j) {
      if (j % 2 == 0) fetch(unit + j * LANES);
      const Words words = load_words(unit + j * LANES);
#pragma GCC unroll 4
      for (int r = 0; r < NUM_ROWS; ++r) sums[r].add(words, all_words(x[j * NUM_ROWS + r]));
    }
  }
};

template <class Call>
void with_format(int32_t format, Call call) {
  switch (format) {
    case 0: call(Float32{}); break;
    case 1: call(BFloat16{}); break;
    case 2: call(Int4<_Float16>{}); break;
    case 3: call(Int4<float>{}); break;
    case 4: call(Int8<_Float16>{}); break;
    case 5: call(Int8<float>{}); break;
    case 6: call(Float16{}); break;
  }
}

bool is_packed(const Linear& linear) {
  bool found = false;
  with_format(linear.format, [&](auto format) { found = decltype(format)::IS_PACKED; });
  return found;
}

// One output's weights.
void write_out(const Linear& linear, int64_t row, float* to) {
  with_format(linear.format, [&](auto format) {
    using Format = decltype(format);
    for (int64_t unit = 0; unit < linear.in_features / UNIT; ++unit) {
      if constexpr (Format::IS_PACKED) {
        const int64_t panel = row / LANES, lane = row % LANES;
        const int64_t at = panel * (linear.in_features / UNIT) + unit;
        const int32_t* values = linear.values + at * Format::VECTORS * LANES;
        const auto* scales = Format::scales_of(linear, panel, unit);
        const float scale = scales[lane], offset = scales[LANES + lane];
        for (int i = 0; i < UNIT; ++i)
          to[unit * UNIT + i] = std::fma((float)Format::number(values, lane, i), scale, offset);
      } else {
        Lanes w[4];
        Format::weights(linear, row, unit, w);
        for (int i = 0; i < 4; ++i) store(to + unit * UNIT + i * LANES, w[i]);
      }
    }
  });
}

}  // namespace
