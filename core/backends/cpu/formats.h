// Weights as they are stored: in panels of PANEL outputs, a lane each, the columns one after the
// other. A panel's lanes behind the last output are zero.

#pragma once

#include <cmath>

#include "dots.h"
#include "model.h"

namespace {

constexpr int SUPER_UNITS = 8;  // units that share the outer scales of K-quants

// Floating numbers. A step is what one load gives: COLUMNS columns of a panel.
struct Float32 {
  static constexpr bool IS_PACKED = false;
  static constexpr int COLUMNS = 1, BYTES = 4;
  static void read(const char* from, Wide* w) { w[0] = load_panel(reinterpret_cast<const float*>(from)); }
};

struct Float16 {
  static constexpr bool IS_PACKED = false;
  static constexpr int COLUMNS = 1, BYTES = 2;
  static void read(const char* from, Wide* w) {
    w[0] = load_panel(reinterpret_cast<const Half*>(from));
  }
};

struct BFloat16 {  // a lane's word holds two columns
  static constexpr bool IS_PACKED = false;
  static constexpr int COLUMNS = 2, BYTES = 2;
  static void read(const char* from, Wide* w) {
    const WideWords pairs = load_words(reinterpret_cast<const int32_t*>(from));
    w[0] = (Wide)(pairs << 16);
    w[1] = (Wide)(pairs & (int32_t)0xffff0000);
  }
};

// Field `index` of BITS bits of each byte in planes that hold 8 / BITS fields a byte.
template <int BITS>
inline WideWords field(const int32_t* plane, int index) {
  constexpr int PER_BYTE = 8 / BITS;
  constexpr int32_t MASK = (int32_t)(((1u << BITS) - 1) * 0x01010101u);
  const WideWords words = load_words(plane + index / PER_BYTE * PANEL);
  return (words >> (BITS * (index % PER_BYTE))) & MASK;
}

// Whole numbers from 0 to 2 ** BITS - 1. A unit has BITS words a lane: planes of the lower bits (all
// eight, four or two), then of those above. Byte b of word w holds column 4 * w + b.
template <int BITS>
struct Numbers {
  static constexpr int LOW = BITS == 8 ? 8 : BITS >= 4 ? 4 : 2, HIGH = BITS - LOW;
  static WideWords word(const int32_t* unit, int index) {
    WideWords numbers = field<LOW>(unit, index);
    if constexpr (HIGH > 0) numbers |= field<HIGH>(unit + LOW * PANEL, index) << LOW;
    return numbers;
  }
  static void put(int32_t* unit, int lane, int column, uint32_t number) {
    put_field<LOW>(unit, lane, column, number & ((1u << LOW) - 1));
    if constexpr (HIGH > 0) put_field<HIGH>(unit + LOW * PANEL, lane, column, number >> LOW);
  }

 private:
  template <int WIDTH>
  static void put_field(int32_t* plane, int lane, int column, uint32_t number) {
    constexpr int PER_BYTE = 8 / WIDTH;
    const int word = column / 4;
    const int shift = column % 4 * 8 + word % PER_BYTE * WIDTH;
    plane[word / PER_BYTE * PANEL + lane] |= (int32_t)(number << shift);
  }
};

// What numbers are multiplied by, and what is added, in GROUPS parts of a unit.
template <int GROUPS>
struct Factors {
  Wide scales[GROUPS], offsets[GROUPS];
};

// A scale for each group of units; lane after lane.
template <class Scale>
struct Scales {
  static constexpr int GROUPS = 1;
  static constexpr bool HAS_OFFSETS = false;
  static Factors<1> read(const Segment& segment, int64_t num_units, int64_t panel, int64_t unit) {
    const int64_t at = panel * (num_units >> segment.group_shift) + (unit >> segment.group_shift);
    return {{load_panel(static_cast<const Scale*>(segment.scales) + at * PANEL)}, {}};
  }
};

// The scales of a group, then its offsets.
template <class Scale>
struct ScalesAndOffsets {
  static constexpr int GROUPS = 1;
  static constexpr bool HAS_OFFSETS = true;
  static Factors<1> read(const Segment& segment, int64_t num_units, int64_t panel, int64_t unit) {
    const int64_t at = panel * (num_units >> segment.group_shift) + (unit >> segment.group_shift);
    const Scale* pair = static_cast<const Scale*>(segment.scales) + at * 2 * PANEL;
    return {{load_panel(pair)}, {load_panel(pair + PANEL)}};
  }
};

// Of K-quants: SUPER_UNITS units share one or two numbers in half precision, which each part of a
// unit multiplies by whole numbers of its own.
template <int PARTS, bool OFFSETS>
struct SuperScales {
  static constexpr int GROUPS = PARTS;
  static constexpr bool HAS_OFFSETS = OFFSETS;
  static constexpr int HALVES = OFFSETS ? 2 : 1;  // numbers of a lane, outside and in each part
  static constexpr int64_t BYTES = PANEL * HALVES * (2 + SUPER_UNITS * PARTS);
  static Factors<PARTS> read(const Segment& segment, int64_t num_units, int64_t panel,
                             int64_t unit) {
    const int64_t at = panel * (num_units / SUPER_UNITS) + unit / SUPER_UNITS;
    const char* super = static_cast<const char*>(segment.scales) + at * BYTES;
    const Half* outer = reinterpret_cast<const Half*>(super);
    const int8_t* inner = reinterpret_cast<const int8_t*>(outer + HALVES * PANEL) +
                          unit % SUPER_UNITS * PARTS * HALVES * PANEL;
    const Wide scale = load_panel(outer);
    Factors<PARTS> factors{};
    for (int part = 0; part < PARTS; ++part) {
      factors.scales[part] = scale * load_panel(inner + part * HALVES * PANEL);
      if constexpr (OFFSETS)
        factors.offsets[part] =
            -load_panel(outer + PANEL) * load_panel(inner + (part * HALVES + 1) * PANEL);
    }
    return factors;
  }
};

// A weight is (number - 2 ** CENTER_SHIFT) * scale + offset; no center: -1.
template <int BITS_, class Scales_, int CENTER_SHIFT_ = -1>
struct Packed {
  static constexpr bool IS_PACKED = true;
  static constexpr int BITS = BITS_, CENTER_SHIFT = CENTER_SHIFT_;
  static constexpr int CENTER = CENTER_SHIFT < 0 ? 0 : 1 << (CENTER_SHIFT < 0 ? 0 : CENTER_SHIFT);
  using Scales = Scales_;
};

// As `linear.py` numbers them.
template <class Call>
void with_format(int32_t format, Call call) {
  switch (format) {
    case 0: call(Float32{}); break;
    case 1: call(BFloat16{}); break;
    case 2: call(Float16{}); break;
    case 3: call(Packed<2, ScalesAndOffsets<Half>>{}); break;
    case 4: call(Packed<3, ScalesAndOffsets<Half>>{}); break;
    case 5: call(Packed<4, ScalesAndOffsets<Half>>{}); break;
    case 6: call(Packed<5, ScalesAndOffsets<Half>>{}); break;
    case 7: call(Packed<8, ScalesAndOffsets<Half>>{}); break;
    case 8: call(Packed<2, ScalesAndOffsets<float>>{}); break;
    case 9: call(Packed<3, ScalesAndOffsets<float>>{}); break;
    case 10: call(Packed<4, ScalesAndOffsets<float>>{}); break;
    case 11: call(Packed<8, ScalesAndOffsets<float>>{}); break;
    case 12: call(Packed<4, Scales<Half>, 3>{}); break;           // Q4_0
    case 13: call(Packed<5, Scales<Half>, 4>{}); break;           // Q5_0
    case 14: call(Packed<8, Scales<Half>, 7>{}); break;           // Q8_0
    case 15: call(Packed<2, SuperScales<2, true>>{}); break;          // Q2_K
    case 16: call(Packed<3, SuperScales<2, false>, 2>{}); break;      // Q3_K
    case 17: call(Packed<4, SuperScales<1, true>>{}); break;          // Q4_K
    case 18: call(Packed<5, SuperScales<1, true>>{}); break;          // Q5_K
    case 19: call(Packed<6, SuperScales<2, false>, 5>{}); break;      // Q6_K
  }
}

bool is_packed(int32_t format) {
  bool found = false;
  with_format(format, [&](auto form) { found = decltype(form)::IS_PACKED; });
  return found;
}

// A panel's weights, a lane an output.
template <class Format, class Put>
void each_column(const Segment& segment, int64_t in_features, int64_t panel, Put put) {
  if constexpr (Format::IS_PACKED) {
    const int64_t num_units = in_features / UNIT;
    for (int64_t unit = 0; unit < num_units; ++unit) {
      const int32_t* numbers = static_cast<const int32_t*>(segment.values) +
                               (panel * num_units + unit) * Format::BITS * PANEL;
      const auto factors = Format::Scales::read(segment, num_units, panel, unit);
      for (int column = 0; column < UNIT; ++column) {
        const WideWords word = Numbers<Format::BITS>::word(numbers, column / 4);
        const Wide number = as_floats(((word >> (column % 4 * 8)) & 255) - Format::CENTER);
        const int group = column * Format::Scales::GROUPS / UNIT;
        put(unit * UNIT + column, fused(number, factors.scales[group], factors.offsets[group]));
      }
    }
  } else {
    const char* values = static_cast<const char*>(segment.values);
    for (int64_t column = 0; column < in_features; column += Format::COLUMNS) {
      Wide w[Format::COLUMNS];
      Format::read(values + (panel * in_features + column) * PANEL * Format::BYTES, w);
      for (int i = 0; i < Format::COLUMNS; ++i) put(column + i, w[i]);
    }
  }
}

}  // namespace
