// Products of a linear layer with rows.
//
// One accumulator a row and output, filled in the order of the columns, gives a row the same bits in
// every tile. Tiles keep their accumulators in registers.

#pragma once

#include "amx.h"
#include "rows.h"

namespace {

enum class Epilogue { STORE, ADD };

#if defined(HAS_512_BITS)
constexpr int TILE_ROWS = 8, PACKED_PANELS = 1;
#elif defined(__AVX2__)  // a word of a row, once it is read, meets two panels
constexpr int TILE_ROWS = 4, PACKED_PANELS = 2;
#else
constexpr int TILE_ROWS = 4, PACKED_PANELS = 1;
#endif
constexpr int64_t MANY = 64;        // rows that pass while weights are near
constexpr int64_t COLUMNS = 1024;   // of a block of weights that stays near

// The rows of a product and where its results go.
struct Product {
  int64_t rows;
  Input x;
  float* y;  // [rows, y_stride]
  int64_t y_stride;
  Epilogue epilogue = Epilogue::STORE;
  float scale = 1.0f;  // of what is added
};

// A panel's results for a row; of which the lanes `from` to `to` are wanted.
inline void put_panel(const Product& product, const float* bias, int64_t row, int64_t output,
                      int64_t from, int64_t to, Wide result) {
  float* y = product.y + row * product.y_stride + output;
  const bool adds = product.epilogue == Epilogue::ADD;
  if (from == 0 && to == PANEL) {
    if (bias) result += load_panel(bias + output);
    store_panel(y, adds ? fused(result, wide(product.scale), load_panel(y)) : result);
    return;
  }
  float results[PANEL];
  store_panel(results, result);
  for (int64_t lane = from; lane < to; ++lane) {
    const float one = results[lane] + (bias ? bias[output + lane] : 0.0f);
    y[lane] = adds ? std::fma(one, product.scale, y[lane]) : one;
  }
}

// Rows taken together when so many are left: all of them at once, or in parts of about one size.
inline int tile_rows(int64_t left) {
  constexpr int SIZES[] = {1, 2, 3, 4, 6, 8};
  const int64_t tiles = (left + TILE_ROWS - 1) / TILE_ROWS, wanted = (left + tiles - 1) / tiles;
  for (int size : SIZES)
    if (size >= wanted) return size <= left ? size : size / 2;
  return TILE_ROWS;
}

// Columns of weights that some rows meet. Of as many passes over them as there are tiles of rows, each
// fetches a part of the weights that come next.
struct Columns {
  int64_t begin, end;
  int num_turns;
  int steps_left;  // of a pass, before it fetches again
  bool fetches() {
    if (steps_left-- > 0) return false;
    steps_left = num_turns - 1;
    return true;
  }
  // Bytes from weights to those to be fetched: not far for a single pass, else those of all columns.
  int64_t ahead(int64_t bytes) const { return num_turns == 1 ? AHEAD : bytes; }
};

// All rows, as many at a time as registers hold the sums of.
template <int NUM_PANELS, class Tile>
void add_rows(const Tile& tile, int64_t first, int64_t count, int64_t begin, int64_t end,
              Wide (*totals)[Tile::PANELS]) {
  Columns columns{begin, end, (int)((count + TILE_ROWS - 1) / TILE_ROWS), 0};
  for (int64_t row = 0; row < count; ++columns.steps_left) {
    const int taken = tile_rows(count - row);
    switch (taken) {
      case 1: tile.template add<NUM_PANELS, 1>(first + row, columns, totals + row); break;
      case 2: tile.template add<NUM_PANELS, 2>(first + row, columns, totals + row); break;
      case 3: tile.template add<NUM_PANELS, 3>(first + row, columns, totals + row); break;
      case 4: tile.template add<NUM_PANELS, 4>(first + row, columns, totals + row); break;
#if defined(HAS_512_BITS)
      case 6: tile.template add<NUM_PANELS, 6>(first + row, columns, totals + row); break;
      case 8: tile.template add<NUM_PANELS, 8>(first + row, columns, totals + row); break;
#endif
    }
    row += taken;
  }
}

// Floating weights with float32 rows.
template <class Format>
struct DenseTile {
  static constexpr int PANELS = 2;
  const char* values;  // of the first panel and column
  int64_t panel_bytes;
  const Input& x;
  int64_t width;

  // Adds columns of NUM_ROWS rows.
  template <int NUM_PANELS, int NUM_ROWS>
  void add(int64_t row, Columns columns, Wide (*totals)[PANELS]) const {
    Wide sums[NUM_ROWS][NUM_PANELS];
    for (int r = 0; r < NUM_ROWS; ++r)
      for (int p = 0; p < NUM_PANELS; ++p) sums[r][p] = totals[r][p];
    const float* rows = x.plain + row * width;
    const int64_t ahead = columns.ahead((columns.end - columns.begin) * PANEL * Format::BYTES);
    for (int64_t column = columns.begin; column < columns.end; column += 2) {
      const bool fetches = columns.fetches();
#pragma GCC unroll 2
      for (int i = 0; i < 2; i += Format::COLUMNS) {
        Wide w[NUM_PANELS][Format::COLUMNS];
#pragma GCC unroll 2
        for (int p = 0; p < NUM_PANELS; ++p) {
          const char* from = values + p * panel_bytes + (column + i) * PANEL * Format::BYTES;
          if (fetches) fetch(from + ahead);
          Format::read(from, w[p]);
        }
#pragma GCC unroll 8
        for (int r = 0; r < NUM_ROWS; ++r)
#pragma GCC unroll 2
          for (int j = 0; j < Format::COLUMNS; ++j) {
            const Wide number = wide(rows[r * width + column + i + j]);
#pragma GCC unroll 2
            for (int p = 0; p < NUM_PANELS; ++p) sums[r][p] = fused(w[p][j], number, sums[r][p]);
          }
      }
    }
    for (int r = 0; r < NUM_ROWS; ++r)
      for (int p = 0; p < NUM_PANELS; ++p) totals[r][p] = sums[r][p];
  }
};

#if defined(HAS_HALF_DOTS)
// bfloat16 weights with rows rounded to bfloat16: a word's two products are added at once.
struct HalvesTile {
  static constexpr int PANELS = 2;
  const char* values;
  int64_t panel_bytes;
  const Input& x;
  int64_t width;

  template <int NUM_PANELS, int NUM_ROWS>
  void add(int64_t row, Columns columns, Wide (*totals)[PANELS]) const {
    Wide sums[NUM_ROWS][NUM_PANELS];
    for (int r = 0; r < NUM_ROWS; ++r)
      for (int p = 0; p < NUM_PANELS; ++p) sums[r][p] = totals[r][p];
    const int32_t* rows = x.halves + row * width / 2;
    const int64_t ahead = columns.ahead((columns.end - columns.begin) * PANEL * 2);
    for (int64_t pair = columns.begin / 2; pair < columns.end / 2; ++pair) {
      const bool fetches = columns.fetches();
      __m512bh w[NUM_PANELS];
#pragma GCC unroll 2
      for (int p = 0; p < NUM_PANELS; ++p) {
        const char* from = values + p * panel_bytes + pair * PANEL * 4;
        if (fetches) fetch(from + ahead);
        w[p] = (__m512bh)load_words(reinterpret_cast<const int32_t*>(from));
      }
#pragma GCC unroll 8
      for (int r = 0; r < NUM_ROWS; ++r) {
        const __m512bh number = (__m512bh)wide_words(rows[r * (width / 2) + pair]);
#pragma GCC unroll 2
        for (int p = 0; p < NUM_PANELS; ++p)
          sums[r][p] = (Wide)_mm512_dpbf16_ps((__m512)sums[r][p], w[p], number);
      }
    }
    for (int r = 0; r < NUM_ROWS; ++r)
      for (int p = 0; p < NUM_PANELS; ++p) totals[r][p] = sums[r][p];
  }
};
#endif

#if defined(HAS_TILES)
// The same by tiles of rows.
struct HalvesTiles {
  static constexpr int PANELS = 4;
  const char* values;
  int64_t panel_bytes;
  const Input& x;
  int64_t width;

  template <int NUM_PANELS>
  void add_all(int64_t first, int64_t count, int64_t begin, int64_t end,
               Wide (*totals)[PANELS]) const {
    constexpr int STEP = 32;  // columns of a tile
    for (int64_t row = 0; row < count; row += MOST_TILE_ROWS) {
      const int64_t left = count - row;
      shape_tiles(left < MOST_TILE_ROWS ? (int)left : MOST_TILE_ROWS);
      Wide* results = totals[row];
      constexpr int64_t BETWEEN = PANELS * sizeof(Wide);
      _tile_loadd(0, results, BETWEEN);
      if constexpr (NUM_PANELS == PANELS) {
        _tile_loadd(1, results + 1, BETWEEN);
        _tile_loadd(2, results + 2, BETWEEN);
        _tile_loadd(3, results + 3, BETWEEN);
      }
      for (int64_t column = begin; column < end; column += STEP) {
        const char* weights = values + column * PANEL * 2;
        _tile_loadd(4, x.halves + ((first + row) * width + column) / 2, width * 2);
        for (int p = 0; p < NUM_PANELS && row == 0; ++p)
          for (int line = 0; line < STEP / 2; ++line)
            fetch(weights + p * panel_bytes + line * 64 + AHEAD);
        _tile_loadd(5, weights, 64);
        _tile_dpbf16ps(0, 4, 5);
        if constexpr (NUM_PANELS == PANELS) {
          _tile_loadd(6, weights + panel_bytes, 64);
          _tile_dpbf16ps(1, 4, 6);
          _tile_loadd(7, weights + 2 * panel_bytes, 64);
          _tile_dpbf16ps(2, 4, 7);
          _tile_loadd(5, weights + 3 * panel_bytes, 64);
          _tile_dpbf16ps(3, 4, 5);
        }
      }
      _tile_stored(0, results, BETWEEN);
      if constexpr (NUM_PANELS == PANELS) {
        _tile_stored(1, results + 1, BETWEEN);
        _tile_stored(2, results + 2, BETWEEN);
        _tile_stored(3, results + 3, BETWEEN);
      }
    }
    _tile_release();
  }
};

template <int NUM_PANELS>
void add_rows(const HalvesTiles& tiles, int64_t first, int64_t count, int64_t begin, int64_t end,
              Wide (*totals)[HalvesTiles::PANELS]) {
  tiles.template add_all<NUM_PANELS>(first, count, begin, end, totals);
}
#endif

// Whole numbers with rows rounded to 8 bits.
template <class Format>
struct PackedTile {
  // Numbers of more than six bits, and those whose units have two scales, need the registers of a
  // second panel themselves.
  static constexpr int PANELS = Format::BITS <= 6 && Format::Scales::GROUPS == 1 ? PACKED_PANELS : 1;
  const Segment& segment;
  int64_t panel;
  const Input& x;
  int64_t num_units;

  template <int NUM_PANELS, int NUM_ROWS>
  void add(int64_t row, Columns columns, Wide (*totals)[PANELS]) const {
    using Scales = typename Format::Scales;
    using Sum = ByteSum<Format::BITS>;
    constexpr int GROUPS = Scales::GROUPS, WORDS = UNIT / 4;
    Wide sums[NUM_ROWS][NUM_PANELS];
    for (int r = 0; r < NUM_ROWS; ++r)
      for (int p = 0; p < NUM_PANELS; ++p) sums[r][p] = totals[r][p];
    const int64_t panel_words = num_units * Format::BITS * PANEL;
    const int32_t* values = static_cast<const int32_t*>(segment.values) + panel * panel_words;
    const int64_t ahead = columns.ahead((columns.end - columns.begin) * Format::BITS / 8 * PANEL);
    for (int64_t unit = columns.begin / UNIT; unit < columns.end / UNIT; ++unit) {
      const int32_t* numbers = values + unit * Format::BITS * PANEL;
      const RoundedUnit* units = x.rounded + row * num_units + unit;
      if (columns.fetches())
#pragma GCC unroll 2
        for (int p = 0; p < NUM_PANELS; ++p)
#pragma GCC unroll 8
          for (int word = 0; word < Format::BITS; ++word)
            fetch(reinterpret_cast<const char*>(numbers + p * panel_words + word * PANEL) + ahead);
      Factors<GROUPS> factors[NUM_PANELS];
#pragma GCC unroll 2
      for (int p = 0; p < NUM_PANELS; ++p)
        factors[p] = Scales::read(segment, num_units, panel + p, unit);
      Wide made[NUM_ROWS][NUM_PANELS];
#pragma GCC unroll 2
      for (int group = 0; group < GROUPS; ++group) {
        constexpr int OWN = WORDS / GROUPS;
        Sum whole[NUM_ROWS][NUM_PANELS];
#pragma GCC unroll 8
        for (int r = 0; r < NUM_ROWS; ++r)
#pragma GCC unroll 2
          for (int p = 0; p < NUM_PANELS; ++p)
            if constexpr (Format::CENTER_SHIFT >= 0)
              whole[r][p].start(wide_words(units[r * num_units].negated[GROUPS == 1 ? 2 : group])
                                << Format::CENTER_SHIFT);
#pragma GCC unroll 8
        for (int word = 0; word < OWN; ++word) {
          WideWords weights[NUM_PANELS];
#pragma GCC unroll 2
          for (int p = 0; p < NUM_PANELS; ++p)
            weights[p] =
                Numbers<Format::BITS>::word(numbers + p * panel_words, group * OWN + word);
#pragma GCC unroll 8
          for (int r = 0; r < NUM_ROWS; ++r) {
            const WideWords own = wide_words(units[r * num_units].words[group * OWN + word]);
#pragma GCC unroll 2
            for (int p = 0; p < NUM_PANELS; ++p) whole[r][p].add(word, weights[p], own);
          }
        }
#pragma GCC unroll 8
        for (int r = 0; r < NUM_ROWS; ++r)
#pragma GCC unroll 2
          for (int p = 0; p < NUM_PANELS; ++p) {
            const Wide number = as_floats(whole[r][p].words());
            made[r][p] = group == 0 ? number * factors[p].scales[0]
                                    : fused(number, factors[p].scales[group], made[r][p]);
            if constexpr (Scales::HAS_OFFSETS) {
              const float sum = units[r * num_units].sums[GROUPS == 1 ? 2 : group];
              made[r][p] = fused(factors[p].offsets[group], wide(sum), made[r][p]);
            }
          }
      }
#pragma GCC unroll 8
      for (int r = 0; r < NUM_ROWS; ++r)
#pragma GCC unroll 2
        for (int p = 0; p < NUM_PANELS; ++p)
          sums[r][p] = fused(made[r][p], wide(units[r * num_units].scale), sums[r][p]);
    }
    for (int r = 0; r < NUM_ROWS; ++r)
      for (int p = 0; p < NUM_PANELS; ++p) totals[r][p] = sums[r][p];
  }
};

// Panels `panel` and those behind it of some rows: block after block of columns, all rows of each.
template <int NUM_PANELS, class Tile>
void multiply_panels(const Linear& linear, const Segment& segment, const Tile& tile, int64_t panel,
                     int64_t begin, int64_t end, const Product& product) {
  for (int64_t first = 0; first < product.rows; first += MANY) {
    const int64_t count = product.rows - first < MANY ? product.rows - first : MANY;
    Wide totals[MANY][Tile::PANELS];
    for (int64_t row = 0; row < count; ++row)
      for (int p = 0; p < NUM_PANELS; ++p) totals[row][p] = Wide{};
    for (int64_t column = 0; column < linear.in_features; column += COLUMNS) {
      const int64_t last = column + COLUMNS < linear.in_features ? column + COLUMNS : linear.in_features;
      add_rows<NUM_PANELS>(tile, first, count, column, last, totals);
    }
    for (int64_t row = 0; row < count; ++row)
      for (int p = 0; p < NUM_PANELS; ++p) {
        const int64_t output = segment.first_output + (panel + p) * PANEL;
        const int64_t from = begin > output ? begin - output : 0;
        const int64_t to = end - output < PANEL ? end - output : PANEL;
        put_panel(product, linear.bias, first + row, output, from, to, totals[row][p]);
      }
  }
}

// Outputs `begin` to `end` of one segment.
template <class Format>
void multiply_segment(const Linear& linear, const Segment& segment, int64_t begin, int64_t end,
                      const Product& product) {
  const int64_t width = linear.in_features;
  int64_t panel = (begin - segment.first_output) / PANEL;
  const int64_t last = (end - segment.first_output + PANEL - 1) / PANEL;
  const auto pass = [&](auto tile_at) {
    constexpr int PANELS = decltype(tile_at())::PANELS;
    for (; panel + PANELS <= last; panel += PANELS)
      multiply_panels<PANELS>(linear, segment, tile_at(), panel, begin, end, product);
    for (; panel < last; ++panel)
      multiply_panels<1>(linear, segment, tile_at(), panel, begin, end, product);
  };
  if constexpr (Format::IS_PACKED) {
    pass([&] { return PackedTile<Format>{segment, panel, product.x, width / UNIT}; });
  } else {
    const int64_t panel_bytes = width * PANEL * Format::BYTES;
    const char* values = static_cast<const char*>(segment.values);
#if defined(HAS_HALF_DOTS)
    if constexpr (Format::COLUMNS == 2) {
#if defined(HAS_TILES)
      if (product.x.halves && may_use_tiles())
        return pass([&] {
          return HalvesTiles{values + panel * panel_bytes, panel_bytes, product.x, width};
        });
#endif
      if (product.x.halves)
        return pass([&] {
          return HalvesTile{values + panel * panel_bytes, panel_bytes, product.x, width};
        });
    }
#endif
    pass([&] {
      return DenseTile<Format>{values + panel * panel_bytes, panel_bytes, product.x, width};
    });
  }
}

// Outputs `begin` to `end` of all rows.
void multiply(const Linear& linear, int64_t begin, int64_t end, const Product& product) {
  for (int32_t i = 0; i < linear.num_segments; ++i) {
    const Segment& segment = linear.segments[i];
    const int64_t first = segment.first_output, behind = first + segment.num_outputs;
    const int64_t from = begin > first ? begin : first, to = end < behind ? end : behind;
    if (from < to)
      with_format(segment.format, [&](auto format) {
        multiply_segment<decltype(format)>(linear, segment, from, to, product);
      });
  }
}

// An output's weights.
void write_out(const Linear& linear, int64_t output, float* to) {
  for (int32_t i = 0; i < linear.num_segments; ++i) {
    const Segment& segment = linear.segments[i];
    const int64_t place = output - segment.first_output;
    if (place < 0 || place >= segment.num_outputs) continue;
    with_format(segment.format, [&](auto format) {
      each_column<decltype(format)>(segment, linear.in_features, place / PANEL,
                                    [&](int64_t column, Wide w) { to[column] = w[place % PANEL]; });
    });
  }
}

}  // namespace
