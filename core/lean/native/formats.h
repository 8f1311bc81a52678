// Weights as they are stored, written out to float32 in registers.

#pragma once

#include "lanes.h"
#include "model.h"

namespace {

// Formats give UNIT weights of an output row. Words are laid out so that lane i of a vector comes
// from word i: no shuffles, only shifts.

struct Unrounded {
  static constexpr bool IS_ROUNDED = false;  // whether rows are rounded for their products
};

struct Float32 : Unrounded {
  static void weights(const Linear& linear, int64_t row, int unit, Lanes* w) {
    const float* from = reinterpret_cast<const float*>(linear.values) + row * linear.in_features;
    fetch(from + unit * UNIT);
    fetch(from + unit * UNIT + UNIT / 2);
    for (int i = 0; i < 4; ++i) w[i] = load(from + unit * UNIT + i * LANES);
  }
};

struct BFloat16 : Unrounded {
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

// Scale and offset of a weight's group, from a pair of halves or floats.
inline Lanes pair_of(const _Float16* pair) {
  FourHalves halves = {};
  std::memcpy(&halves, pair, 2 * sizeof(*pair));
  const FourFloats both = __builtin_convertvector(halves, FourFloats);
  return Lanes{both[0], both[1]};
}
inline Lanes pair_of(const float* pair) { return Lanes{pair[0], pair[1]}; }

template <class Scale>
inline void scale_and_offset(const Linear& linear, int64_t row, int unit, Lanes* w) {
  const int64_t num_groups = (linear.in_features / UNIT) >> linear.group_shift;
  const Scale* scales = static_cast<const Scale*>(linear.scales);
  const Lanes pair = pair_of(scales + 2 * (row * num_groups + (unit >> linear.group_shift)));
  const Lanes scale = all(pair[0]), offset = all(pair[1]);
  for (int i = 0; i < 4; ++i) w[i] = w[i] * scale + offset;
}

template <class Scale>
struct Int4 : Unrounded {  // 0 to 15
  static void weights(const Linear& linear, int64_t row, int unit, Lanes* w) {
    const int32_t* from = linear.values + row * (linear.in_features / 8) + (unit / 2) * LANES;
    fetch(from);
    const Words words = load_words(from) >> (unit % 2 * 16);
    for (int i = 0; i < 4; ++i) w[i] = __builtin_convertvector((words >> (4 * i)) & 15, Lanes);
    scale_and_offset<Scale>(linear, row, unit, w);
  }
};

template <class Scale>
struct Int8 : Unrounded {  // -128 to 127
  static void weights(const Linear& linear, int64_t row, int unit, Lanes* w) {
    const int32_t* from = linear.values + row * (linear.in_features / 4) + unit * LANES;
    fetch(from);
    const Words words = load_words(from);
    for (int i = 0; i < 4; ++i)
      w[i] = __builtin_convertvector((words << (24 - 8 * i)) >> 24, Lanes);
    scale_and_offset<Scale>(linear, row, unit, w);
  }
};

template <class Scale>
struct RoundedInt4 : Int4<Scale> {  // the same weights; see rounded.h
  static constexpr bool IS_ROUNDED = true;
  using ScaleType = Scale;
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
    case 6: call(RoundedInt4<_Float16>{}); break;
    case 7: call(RoundedInt4<float>{}); break;
  }
}

void write_out(const Linear& linear, int64_t row, float* to) {
  with_format(linear.format, [&](auto format) {
    for (int unit = 0; unit < linear.in_features / UNIT; ++unit) {
      Lanes w[4];
      decltype(format)::weights(linear, row, unit, w);
      for (int i = 0; i < 4; ++i) store(to + unit * UNIT + i * LANES, w[i]);
    }
  });
}

}  // namespace
