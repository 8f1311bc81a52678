// Products of a linear layer with a few rows.
//
// One accumulator a product, filled in the order of the columns, makes a row's sums the same for
// every tile. Tiles keep all their accumulators in registers.

#pragma once

#include "formats.h"

namespace {

enum class Epilogue { STORE, ADD };

constexpr int64_t LARGEST_TILE = 8;  // rows
constexpr int64_t BLOCK = 32;        // outputs whose weights stay near while the rows pass

// Rows as they stand and as tiles read them.  [rows, in_features] both
struct Input {
  const float *plain, *tiled;
};

// The rows of a product and where its results go.
struct Product {
  int64_t rows;
  Input x;
  float* y;  // [rows, y_stride]
  int64_t y_stride;
  Epilogue epilogue = Epilogue::STORE;
  float scale = 1.0f;  // of what is added

  void put(int64_t row, int64_t out, float result) const {
    float* to = y + row * y_stride + out;
    *to = epilogue == Epilogue::ADD ? *to + result * scale : result;
  }
  void put_panel(int64_t row, int64_t out, Lanes result) const {
    float* to = y + row * y_stride + out;
    store(to, epilogue == Epilogue::ADD ? load(to) + result * scale : result);
  }
};

// Rows taken together when so many are left.
int64_t tile_rows(int64_t left) { return left < LARGEST_TILE ? left : LARGEST_TILE; }

// Lays the rows of each tile side by side, a vector of each in turn, where the layer reads them so; a
// single row is so as it is.
Input interleaved(const Linear& linear, const float* x, int64_t rows, int64_t width, float* to) {
  if (rows == 1 || is_packed(linear)) return {x, x};
  for (int64_t row = 0; row < rows;) {
    const int64_t count = tile_rows(rows - row);
    for (int64_t i = 0; i < width; i += LANES)
      for (int64_t r = 0; r < count; ++r)
        store(to + row * width + i * count + r * LANES, load(x + (row + r) * width + i));
    row += count;
  }
  return {x, to};
}

template <class Format, int NUM_ROWS, int NUM_OUT>
void tile(const Linear& linear, int64_t out, int64_t row, const Product& product) {
  Lanes sums[NUM_OUT][NUM_ROWS] = {};
  const float* x = product.x.tiled + row * linear.in_features;
  const int num_units = linear.in_features / UNIT;
  for (int unit = 0; unit < num_units; ++unit) {
#pragma GCC unroll 8
    for (int o = 0; o < NUM_OUT; ++o) {
      Lanes w[4];
      Format::weights(linear, out + o, unit, w);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i)
#pragma GCC unroll 8
        for (int r = 0; r < NUM_ROWS; ++r)
          sums[o][r] = fused(w[i], load(x + ((unit * 4 + i) * NUM_ROWS + r) * LANES), sums[o][r]);
    }
  }
  for (int o = 0; o < NUM_OUT; ++o)
    for (int r = 0; r < NUM_ROWS; ++r) {
      const float bias = linear.bias ? linear.bias[out + o] : 0.0f;
      product.put(row + r, out + o, sum_of(sums[o][r]) + bias);
    }
}

template <class Format, int NUM_ROWS, int NUM_OUT>
void tiles(const Linear& linear, int64_t begin, int64_t end, int64_t row, const Product& product) {
  int64_t out = begin;
  for (; out + NUM_OUT <= end; out += NUM_OUT)
    tile<Format, NUM_ROWS, NUM_OUT>(linear, out, row, product);
  for (; out < end; ++out) tile<Format, NUM_ROWS, 1>(linear, out, row, product);
}

template <class Format>
void tiles_of(int64_t count, const Linear& linear, int64_t begin, int64_t end, int64_t row,
              const Product& product) {
  switch (count) {
    case 1: return tiles<Format, 1, 4>(linear, begin, end, row, product);
    case 2: return tiles<Format, 2, 4>(linear, begin, end, row, product);
    case 3: return tiles<Format, 3, 2>(linear, begin, end, row, product);
    case 4: return tiles<Format, 4, 2>(linear, begin, end, row, product);
    case 5: return tiles<Format, 5, 1>(linear, begin, end, row, product);
    case 6: return tiles<Format, 6, 1>(linear, begin, end, row, product);
    case 7: return tiles<Format, 7, 1>(linear, begin, end, row, product);
    default: return tiles<Format, 8, 1>(linear, begin, end, row, product);
  }
}

}  // namespace
