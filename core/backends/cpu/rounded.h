// Products of packed weights with rows rounded to 8 bits: whole numbers multiply 32 at a time (as
// llama.cpp does with Q8_1).
//
// A row is rounded unit by unit, alone, and its sums run in the order of its units, so that its result
// depends on no other row. Offsets of weights meet the sum of a unit's rounded numbers.

#pragma once

#include <cmath>
#include <vector>

#include "product.h"

namespace {

constexpr int64_t ROUNDED_TILE = 4;  // rows

constexpr int UNIT_WORDS = UNIT / 4;
constexpr float TINIEST = 1e-36f;  // 127 over less is infinite

// Rows as bytes, tile after tile and unit after unit, the rows of a tile side by side; a scale and a
// scaled sum for each unit of a row.
struct RoundedRows {
  std::vector<int32_t> bytes;        // a tile is [units, UNIT_WORDS, rows]
  std::vector<float> scales, sums;  // [units, rows]
};

// `bytes` are `stride` words apart. Of numbers that are not finite the scale and the sum are not, and
// with them every result. Their bits, without the sign, are larger than those of all others.
inline void round_unit(const float* x, int32_t* bytes, int64_t stride, float* scale, float* sum) {
  Words largest = {};
  for (int k = 0; k < UNIT; k += LANES) {
    const Words size = (Words)load(x + k) & 0x7fffffff;
    largest = size > largest ? size : largest;
  }
  int32_t most_bits = 0;
  for (int i = 0; i < LANES; ++i) most_bits = largest[i] > most_bits ? largest[i] : most_bits;
  float most;
  std::memcpy(&most, &most_bits, sizeof(most));
  if (!std::isfinite(most)) {
    for (int i = 0; i < UNIT_WORDS; ++i) bytes[i * stride] = 0;
    *scale = *sum = NAN;
    return;
  }
  const Lanes inverse = all(most > TINIEST ? 127.0f / most : 0.0f);
  Words whole[UNIT / LANES], total = {};
  for (int k = 0; k < UNIT / LANES; ++k) {
    const Lanes scaled = load(x + k * LANES) * inverse;
    whole[k] = __builtin_convertvector(scaled + (scaled < Lanes{} ? all(-0.5f) : all(0.5f)), Words);
    total += whole[k];
  }
  int8_t in_order[UNIT];
  for (int i = 0; i < UNIT; ++i) in_order[i] = (int8_t)whole[i / LANES][i % LANES];
  for (int i = 0; i < UNIT_WORDS; ++i) std::memcpy(bytes + i * stride, in_order + 4 * i, 4);
  *scale = most / 127.0f;
  *sum = sum_of(__builtin_convertvector(total, Lanes)) * *scale;
}

// The room is the thread's own, and its next product takes it again.
inline const RoundedRows& rounded_rows(const float* x, int64_t rows, int64_t width) {
  static thread_local RoundedRows room;
  const int64_t num_units = width / UNIT;
  if ((int64_t)room.scales.size() < rows * num_units) {
    room.bytes.resize(rows * width / 4);
    room.scales.resize(rows * num_units);
    room.sums.resize(rows * num_units);
  }
  for (int64_t first = 0; first < rows; first += ROUNDED_TILE) {
    const int64_t count = rows - first < ROUNDED_TILE ? rows - first : ROUNDED_TILE;
    for (int64_t unit = 0; unit < num_units; ++unit)
      for (int64_t row = 0; row < count; ++row) {
        const int64_t at = first * num_units + unit * count + row;
        const int64_t bytes_at = (first * num_units + unit * count) * UNIT_WORDS + row;
        round_unit(x + (first + row) * width + unit * UNIT, &room.bytes[bytes_at], count,
                   &room.scales[at], &room.sums[at]);
      }
  }
  return room;
}

template <class Format, int NUM_ROWS>
void rounded_tile(const Linear& linear, int64_t panel, int64_t row, const RoundedRows& rounded,
                  const Product& product) {
  const int64_t num_units = linear.in_features / UNIT;
  const int32_t* values = linear.values + panel * num_units * Format::VECTORS * LANES;
  const int32_t* bytes = rounded.bytes.data() + row * num_units * UNIT_WORDS;
  const float* scales = rounded.scales.data() + row * num_units;
  const float* sums = rounded.sums.data() + row * num_units;
  Lanes scaled[NUM_ROWS] = {}, shifted[NUM_ROWS] = {};
  for (int64_t unit = 0; unit < num_units; ++unit) {
    typename Format::Sum whole[NUM_ROWS];
    Format::template add<NUM_ROWS>(values + unit * Format::VECTORS * LANES,
                                   bytes + unit * UNIT_WORDS * NUM_ROWS, whole);
    const auto* pair = Format::scales_of(linear, panel, unit);
    const Lanes scale = load_wide(pair), offset = load_wide(pair + LANES);
#pragma GCC unroll 4
    for (int r = 0; r < NUM_ROWS; ++r) {
      const Lanes numbers = __builtin_convertvector(whole[r].words(), Lanes);
      scaled[r] = fused(numbers, scale * all(scales[unit * NUM_ROWS + r]), scaled[r]);
      shifted[r] = fused(offset, all(sums[unit * NUM_ROWS + r]), shifted[r]);
    }
  }
  for (int r = 0; r < NUM_ROWS; ++r) {
    Lanes result = scaled[r] + shifted[r];
    if (linear.bias) result += load(linear.bias + panel * LANES);
    product.put_panel(row + r, panel * LANES, result);
  }
}

template <class Format, int NUM_ROWS>
void rounded_tiles(const Linear& linear, int64_t begin, int64_t end, int64_t row,
                   const RoundedRows& rounded, const Product& product) {
  for (int64_t panel = begin; panel < end; ++panel)
    rounded_tile<Format, NUM_ROWS>(linear, panel, row, rounded, product);
}

// Panels `begin` to `end` of all rows.
template <class Format>
void multiply_rounded(const Linear& linear, int64_t begin, int64_t end, const Product& product) {
  const RoundedRows& rounded = rounded_rows(product.x.plain, product.rows, linear.in_features);
  constexpr int64_t NEAR = BLOCK / LANES;  // panels that stay near while the rows pass
  for (int64_t from = begin; from < end; from += NEAR) {
    const int64_t to = from + NEAR < end ? from + NEAR : end;
    for (int64_t row = 0; row < product.rows; row += ROUNDED_TILE)
      switch (product.rows - row) {
        case 1: rounded_tiles<Format, 1>(linear, from, to, row, rounded, product); break;
        case 2: rounded_tiles<Format, 2>(linear, from, to, row, rounded, product); break;
        case 3: rounded_tiles<Format, 3>(linear, from, to, row, rounded, product); break;
        default: rounded_tiles<Format, 4>(linear, from, to, row, rounded, product);
      }
  }
}

}  // namespace
