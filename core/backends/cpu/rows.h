// Rows as products read them: float32, rounded to bfloat16, or rounded to 8 bits (as llama.cpp does
// with Q8_1). A row is rounded alone.

#pragma once

#include <cmath>

#include "formats.h"

namespace {

// So that what follows begins at a line of the cache.
inline int64_t padded(int64_t count) { return (count + 15) / 16 * 16; }

constexpr float TINIEST = 1e-36f;  // 127 over less is infinite

// UNIT columns of a row in 8 bits. Sums are those of the rounded numbers of the first half, of the
// second and of all.
struct alignas(64) RoundedUnit {
  int32_t words[UNIT / 4];
  float scale;
  float sums[3];
  int32_t negated[3];  // sums
};

// The rows of a product. What no layer asked for is null.
struct Input {
  const float* plain;          // [rows, in_features]
  const RoundedUnit* rounded;  // [rows, units]
  const int32_t* halves;       // [rows, in_features / 2], two columns of bfloat16 a word
};

// Of numbers that are not finite the scale is not, and with it every result. Their bits, without the
// sign, are larger than those of all others.
inline void round_unit(const float* x, RoundedUnit* to) {
  constexpr float MAGIC = 12582912.0f;  // its last bit counts ones
  Words largest = {};
  for (int k = 0; k < UNIT; k += LANES)
    largest = larger((Words)load(x + k) & 0x7fffffff, largest);
  const int32_t most_bits = highest_of(largest);
  float most;
  std::memcpy(&most, &most_bits, sizeof(most));
  if (!std::isfinite(most)) {
    *to = RoundedUnit{};
    to->scale = NAN;
    return;
  }
  const Lanes inverse = all(most > TINIEST ? 127.0f / most : 0.0f);
  typedef int8_t LaneBytes __attribute__((vector_size(LANES)));
  Words halves[2] = {};
  for (int k = 0; k < UNIT / LANES; ++k) {
    const Lanes shifted = fused(load(x + k * LANES), inverse, all(MAGIC));
    const Words whole = (Words)shifted - (Words)all(MAGIC);
    const LaneBytes bytes = __builtin_convertvector(whole, LaneBytes);
    std::memcpy(reinterpret_cast<char*>(to->words) + k * LANES, &bytes, sizeof(bytes));
    halves[k * LANES / (UNIT / 2)] += whole;
  }
  to->scale = most / 127.0f;
  const Lanes first = __builtin_convertvector(halves[0], Lanes);
  const Lanes second = __builtin_convertvector(halves[1], Lanes);
  // Whole numbers that float32 holds exactly.
  const FourFloats sums = sums_of(first, second, first + second, Lanes{});
  typedef int32_t FourWords __attribute__((vector_size(16)));
  const FourWords negated = __builtin_convertvector(-sums, FourWords);
  std::memcpy(to->sums, &sums, sizeof(to->sums));
  std::memcpy(to->negated, &negated, sizeof(to->negated));
}

inline uint32_t rounded_half(float x) {  // to the nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >> 16) | 64;  // none stays none
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

inline float widened(uint32_t half) {
  const uint32_t bits = half << 16;
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

// Two columns of bfloat16 a word.
inline void round_halves(const float* x, int64_t width, int32_t* to) {
#if defined(HAS_HALF_DOTS)
  for (; width >= PANEL; x += PANEL, to += PANEL / 2, width -= PANEL) {
    const __m256bh halves = _mm512_cvtneps_pbh((__m512)load_panel(x));
    std::memcpy(to, &halves, sizeof(halves));
  }
#endif
  for (int64_t i = 0; i < width; i += 2)
    to[i / 2] = (int32_t)(rounded_half(x[i]) | rounded_half(x[i + 1]) << 16);
}

// What a layer's formats read of the rows beside float32.
struct Needs {
  bool bytes = false, halves = false;
  Needs operator|(const Needs& other) const {
    return {bytes || other.bytes, halves || other.halves};
  }
};

inline Needs needs_of(const Linear& linear) {
  Needs needs{false, linear.rounds_rows != 0};
  for (int32_t i = 0; i < linear.num_segments; ++i)
    needs.bytes = needs.bytes || is_packed(linear.segments[i].format);
  return needs;
}

// Rows that products read, in memory that all threads share.
class Matrix {
 public:
  // Numbers of float32 that rows take.
  static int64_t floats(int64_t rows, int64_t width, Needs needs) {
    const int64_t plain = padded(rows * width), units = rows * (width / UNIT) * UNIT_FLOATS;
    return plain + (needs.bytes ? units : 0) + (needs.halves ? padded(rows * width / 2) : 0);
  }
  Matrix(float* room, int64_t rows, int64_t width, Needs needs) : plain(room), width(width) {
    room += padded(rows * width);
    if (needs.bytes) {
      rounded = reinterpret_cast<RoundedUnit*>(room);
      room += rows * (width / UNIT) * UNIT_FLOATS;
    }
    if (needs.halves) halves = reinterpret_cast<int32_t*>(room);
  }
  float* row(int64_t index) const { return plain + index * width; }
  // Rounds columns of a row, multiples of UNIT, for the layers that read them; what they read in
  // bfloat16 in place where the processor multiplies no such numbers.
  void finish(Needs needs, int64_t index, int64_t begin, int64_t end) const {
    float* x = row(index);
#if !defined(HAS_HALF_DOTS)
    if (needs.halves)
      for (int64_t i = begin; i < end; ++i) x[i] = widened(rounded_half(x[i]));
#endif
    if (needs.bytes)
      for (int64_t unit = begin / UNIT; unit < end / UNIT; ++unit)
        round_unit(x + unit * UNIT, rounded + index * (width / UNIT) + unit);
#if defined(HAS_HALF_DOTS)
    if (needs.halves)
      round_halves(x + begin, end - begin, halves + (index * width + begin) / 2);
#endif
  }
  Input input(Needs needs) const { return {plain, rounded, needs.halves ? halves : nullptr}; }

  float* const plain;  // [rows, width]
  const int64_t width;

 private:
  static constexpr int64_t UNIT_FLOATS = sizeof(RoundedUnit) / sizeof(float);
  RoundedUnit* rounded = nullptr;
  int32_t* halves = nullptr;
};

}  // namespace
