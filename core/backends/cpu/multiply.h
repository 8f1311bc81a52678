// A linear layer's product with some rows, by its format.

#pragma once

#include "rounded.h"

namespace {

template <class Format>
void multiply_dense(const Linear& linear, int64_t begin, int64_t end, const Product& product) {
  for (int64_t from = begin; from < end; from += BLOCK) {
    const int64_t to = from + BLOCK < end ? from + BLOCK : end;
    for (int64_t row = 0; row < product.rows; row += LARGEST_TILE)
      tiles_of<Format>(tile_rows(product.rows - row), linear, from, to, row, product);
  }
}

// Outputs begin to end, multiples of LANES, of all rows.
void multiply(const Linear& linear, int64_t begin, int64_t end, const Product& product) {
  with_format(linear.format, [&](auto format) {
    using Format = decltype(format);
    if constexpr (Format::IS_PACKED)
      multiply_rounded<Format>(linear, begin / LANES, end / LANES, product);
    else
      multiply_dense<Format>(linear, begin, end, product);
  });
}

}  // namespace
