// Products by tiles of up to sixteen rows, on processors that have them (Intel's AMX): of bfloat16
// alone. Whole numbers must be put together in memory first and their products be scaled from there,
// which took longer than registers do.

#pragma once

#include "lanes.h"

#if defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(HAS_HALF_DOTS) && defined(__linux__)
#define HAS_TILES 1
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

#if defined(HAS_TILES)

constexpr int MOST_TILE_ROWS = 16;
// Tiles 0 to 3 hold results, 4 rows, 5 to 7 weights: the instructions take literal numbers.
constexpr int WEIGHTS = 5;

// Whether the system lets the process use tiles; it is asked once.
inline bool may_use_tiles() {
  constexpr long ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18;
  static const bool may = syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
  return may;
}

struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Lays tiles out for so many rows; weights have sixteen pairs of columns. Other libraries do the same on
// this thread, so that it holds for one product alone.
inline void shape_tiles(int rows) {
  TileShapes shapes;
  for (int tile = 0; tile < 8; ++tile) {
    shapes.row_bytes[tile] = 64;
    shapes.rows[tile] = tile >= WEIGHTS ? 16 : rows;
  }
  _tile_loadconfig(&shapes);
}

#endif

}  // namespace
