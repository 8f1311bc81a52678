// A linear layer's product with some rows, by its format.

#pragma once

#include "rounded.h"

namespace {

template <class Format>
void multiply_tiles(const Linear& linear, int64_t begin, int64_t end, const Product& product) {
  for (int64_t from = begin; from < end; from += BLOCK) {
    const int64_t to = from + BLOCK < end ? from + BLOCK : end;
    for (int64_t row = 0; row < product.rows; row += LARGEST_TILE)
      tiles_of<Format>(tile_rows(product.rows - row), linear, from, to, row, product);
  }
}

template <class Scale>
void multiply_rounded(const Linear& linear, int64_t begin, int64_t end, const Product& product) {
  const int64_t num_blocks = linear.in_features / ROUNDED_BLOCK;
  const RoundedBlock* blocks = rounded_rows(product.x.plain, product.rows, linear.in_features);
  for (int64_t from = begin; from < end; from += BLOCK) {
    const int64_t to = from + BLOCK < end ? from + BLOCK : end;
    for (int64_t row = 0; row < product.rows; row += ROUNDED_TILE)
      rounded_tiles_of<Scale>(rounded_tile_rows(product.rows - row), linear, from, to, row,
                              blocks + row * num_blocks, product);
  }
}

// Outputs begin to end of all rows.
void multiply(const Linear& linear, int64_t begin, int64_t end, const Product& product) {
  with_format(linear.format, [&](auto format) {
    using Format = decltype(format);
    if constexpr (Format::IS_ROUNDED)
      multiply_rounded<typename Format::ScaleType>(linear, begin, end, product);
    else
      multiply_tiles<Format>(linear, begin, end, product);
  });
}

}  // namespace
