// Products of 4-bit weights with rows rounded to 8 bits: what drafts, where nearly right is enough.
//
// Whole numbers multiply 32 at a time. A row is rounded block by block, alone, so that its result
// depends on no other row; offsets of the weights meet the unrounded sum of a block.

#pragma once

#include <vector>

#include "product.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace {

constexpr int ROUNDED_BLOCK = 64;  // columns whose bytes fill two vectors, low and high halves
constexpr int ROUNDED_TILE = 4;    // rows

// Sums of four products each of bytes, 0 to 15 with -127 to 127, of both halves of a block.
inline Words dot_of(Words low, Words high, Words x_low, Words x_high) {
#if defined(__AVXVNNI__) || (defined(__AVX512VNNI__) && defined(__AVX512VL__))
  const __m256i sums = _mm256_dpbusd_epi32(_mm256_setzero_si256(), (__m256i)low, (__m256i)x_low);
  return (Words)_mm256_dpbusd_epi32(sums, (__m256i)high, (__m256i)x_high);
#elif defined(__AVX2__)
  const __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16((__m256i)low, (__m256i)x_low),
                                         _mm256_maddubs_epi16((__m256i)high, (__m256i)x_high));
  return (Words)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#else
  Words sums = {};
  for (int i = 0; i < 4; ++i)
    sums += ((low >> (8 * i)) & 15) * ((x_low << (24 - 8 * i)) >> 24) +
            ((high >> (8 * i)) & 15) * ((x_high << (24 - 8 * i)) >> 24);
  return sums;
#endif
}

// A row's block as `dot_of` reads it: value = scale * byte, and the sum of the unrounded values.
struct RoundedBlock {
  Words low, high;
  float scale, sum;
};

// `x` is the first vector of a block, `stride` the floats between its vectors.
inline RoundedBlock rounded(const float* x, int64_t stride) {
  Lanes v[8], largest = {}, sum = {};
  for (int k = 0; k < 8; ++k) {
    v[k] = load(x + k * stride);
    const Lanes size = v[k] < Lanes{} ? -v[k] : v[k];
    largest = size > largest ? size : largest;
    sum += v[k];
  }
  float most = 0.0f;
  for (int i = 0; i < LANES; ++i) most = largest[i] > most ? largest[i] : most;
  const float inverse = most > 0.0f ? 127.0f / most : 0.0f;
  RoundedBlock block = {{}, {}, most / 127.0f, sum_of(sum)};
  for (int k = 0; k < 8; ++k) {
    const Lanes scaled = v[k] * all(inverse);
    const Lanes half = scaled < Lanes{} ? all(-0.5f) : all(0.5f);
    const Words bytes = __builtin_convertvector(scaled + half, Words) & 255;
    (k % 2 ? block.high : block.low) |= bytes << (8 * (k / 2));
  }
  return block;
}

int64_t rounded_tile_rows(int64_t left) { return left < ROUNDED_TILE ? left : ROUNDED_TILE; }

// All rows rounded, tile after tile: block after block, the rows of a tile side by side. The room is
// the thread's own, and its next product takes it again.
inline const RoundedBlock* rounded_rows(const float* x, int64_t rows, int64_t width) {
  static thread_local std::vector<RoundedBlock> room;
  const int64_t num_blocks = width / ROUNDED_BLOCK;
  if ((int64_t)room.size() < rows * num_blocks) room.resize(rows * num_blocks);
  for (int64_t first = 0; first < rows; first += ROUNDED_TILE) {
    const int64_t count = rounded_tile_rows(rows - first);
    for (int64_t block = 0; block < num_blocks; ++block)
      for (int64_t row = 0; row < count; ++row)
        room[first * num_blocks + block * count + row] =
            rounded(x + (first + row) * width + block * ROUNDED_BLOCK, LANES);
  }
  return room.data();
}

template <class Scale, int NUM_ROWS, int NUM_OUT>
void rounded_tile(const Linear& linear, int64_t out, int64_t row, const RoundedBlock* blocks,
                  const Product& product) {
  Lanes sums[NUM_OUT][NUM_ROWS] = {};
  float offsets[NUM_OUT][NUM_ROWS] = {};
  const int64_t num_blocks = linear.in_features / ROUNDED_BLOCK;
  const int64_t num_groups = (linear.in_features / UNIT) >> linear.group_shift;
  const Scale* scales = static_cast<const Scale*>(linear.scales);
  for (int64_t block = 0; block < num_blocks; ++block) {
#pragma GCC unroll 4
    for (int o = 0; o < NUM_OUT; ++o) {
      const int64_t at = out + o;
      const int32_t* from = linear.values + at * (linear.in_features / 8) + block * LANES;
      fetch(from);
      const Words words = load_words(from);
      const Words low = words & 0x0f0f0f0f, high = (words >> 4) & 0x0f0f0f0f;
      const int64_t group = (block * (ROUNDED_BLOCK / UNIT)) >> linear.group_shift;
      const Lanes pair = pair_of(scales + 2 * (at * num_groups + group));
#pragma GCC unroll 4
      for (int r = 0; r < NUM_ROWS; ++r) {
        const RoundedBlock& x = blocks[block * NUM_ROWS + r];
        const Words dot = dot_of(low, high, x.low, x.high);
        sums[o][r] += __builtin_convertvector(dot, Lanes) * all(pair[0] * x.scale);
        offsets[o][r] += pair[1] * x.sum;
      }
    }
  }
  for (int o = 0; o < NUM_OUT; ++o)
    for (int r = 0; r < NUM_ROWS; ++r) {
      const float bias = linear.bias ? linear.bias[out + o] : 0.0f;
      product.put(row + r, out + o, sum_of(sums[o][r]) + offsets[o][r] + bias);
    }
}

template <class Scale, int NUM_ROWS>
void rounded_tiles(const Linear& linear, int64_t begin, int64_t end, int64_t row,
                   const RoundedBlock* blocks, const Product& product) {
  int64_t out = begin;
  for (; out + 2 <= end; out += 2)
    rounded_tile<Scale, NUM_ROWS, 2>(linear, out, row, blocks, product);
  for (; out < end; ++out) rounded_tile<Scale, NUM_ROWS, 1>(linear, out, row, blocks, product);
}

template <class Scale>
void rounded_tiles_of(int64_t count, const Linear& linear, int64_t begin, int64_t end, int64_t row,
                      const RoundedBlock* blocks, const Product& product) {
  switch (count) {
    case 1: return rounded_tiles<Scale, 1>(linear, begin, end, row, blocks, product);
    case 2: return rounded_tiles<Scale, 2>(linear, begin, end, row, blocks, product);
    case 3: return rounded_tiles<Scale, 3>(linear, begin, end, row, blocks, product);
    default: return rounded_tiles<Scale, 4>(linear, begin, end, row, blocks, product);
  }
}

}  // namespace
