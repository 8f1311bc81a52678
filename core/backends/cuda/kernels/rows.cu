// Up to eight rows times a weight that is read once, as fast as memory gives it.
//
// A block of threads takes tiles of sixteen outputs: two octets. Its warps share out a tile's inputs,
// a chunk at a time, and copy what they need into stages of their own ahead of the use. Matrix units
// multiply whole numbers, made bfloat16 by setting the bits of an exponent above them, with rows split
// into parts that bfloat16 holds exactly; float32 sums of a group are scaled and added up. One warp,
// another for each tile, adds the shares of all. So a row's sums have one order, which no other row has
// a part in.
//
// Between two kernels memory would rest: so a kernel may start as soon as blocks of the one before it end,
// and copies weights, which nobody writes, before it waits for what that one made; and at its own end it
// has the next one's first weights brought into the L2 cache.
//
// Given by the compiler's options:
//   BITS     2, 3, 4 or 8 of whole numbers; 16 for weights of the rows' own dtype
//   GROUP    weights that share a scale: 32, 64 or 128
//   DTYPE    of rows and results: 0 bfloat16, 1 float16, 2 float32
//   ROWS     1, 2, 4 or 8: the most that there are
//   NORM     of the rows before the product (RMS): 0 none, 1 with weights of their dtype, 2 of float32
//   ADDED    to the rows, before that: 0 nothing, else rows that are normed for themselves, with weights as
//            of NORM; the first block of threads writes the totals down
//   ENDING   what becomes of the outputs: 0 nothing, 1 they are heads of queries, keys and values, which
//            are rotated and put into the cache; gate(first half) * second half, where the gate is 2 silu,
//            3 gelu, 4 its form with tanh, 5 relu
//   WARPS, STAGES

constexpr bool NORMED = NORM > 0, ROTATED = ENDING == 1, GATED = ENDING > 1;

// Weights of norms.
template <int KIND>
struct Factors {
  typedef Number Type;
  static __device__ __forceinline__ float number(Type factor) { return to_float(factor); }
};
template <>
struct Factors<2> {
  typedef float Type;
  static __device__ __forceinline__ float number(Type factor) { return factor; }
};
typedef Factors<NORM>::Type Factor;
typedef Factors<ADDED>::Type AddendFactor;
constexpr int THREADS = WARPS * LANES;
// bfloat16 holds 8 binary digits, float16 11 and float32 24.
constexpr int PARTS = WHOLE ? DTYPE + 1 : 1;
constexpr int STAGE_BYTES = 2 * OCTET_BYTES;
constexpr int COPIES = (STAGE_BYTES / PIECE + LANES - 1) / LANES;  // of a lane
// Numbers of a row that a thread reads at once, and how often before it goes on.
constexpr int EIGHT = 8, BATCH = 48 / (WARPS * ROWS) > 1 ? 48 / (WARPS * ROWS) : 1;
// A lane holds the sums of two rows.
constexpr int PAIRS = (ROWS + 1) / 2, COLUMNS = ROWS == 1 ? 1 : 2;

// Parts of rows are float16 only beside weights of that dtype.
__device__ __forceinline__ u16 to_part(float number) {
  return !WHOLE && DTYPE == 1 ? float_to_half(number) : float_to_bfloat16(number);
}

__device__ __forceinline__ float part_to_float(u16 bits) {
  return !WHOLE && DTYPE == 1 ? half_to_float(bits) : bfloat16_to_float(bits);
}

__device__ __forceinline__ float gate_of(float number) {
  if (ENDING == 3) return 0.5f * number * (1.0f + erff(number * 0.70710678f));
  if (ENDING == 4)
    return 0.5f * number * (1.0f + tanhf(0.79788456f * (number + 0.044715f * number * number * number)));
  if (ENDING == 5) return fmaxf(number, 0.0f);
  return number / (1.0f + expf(-number));
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    multiply_rows(const Number* __restrict__ x, i64 x_stride, const u8* __restrict__ weight,
                  const Number* __restrict__ addend, const AddendFactor* __restrict__ addend_norm,
                  float addend_scale, Number* __restrict__ totals, const Factor* __restrict__ norm,
                  float norm_eps, const Number* __restrict__ bias,
                  const Number* __restrict__ residual, float residual_scale, Number* __restrict__ out,
                  int num_rows, int num_inputs, int num_outputs, const Number* __restrict__ cos,
                  const Number* __restrict__ sin, const i64* __restrict__ slots, Number* cache,
                  i64 capacity, int num_heads, int num_kv_heads, int head_dim,
                  const u8* following, i64 following_distance, int following_bytes) {
  extern __shared__ __align__(128) u8 memory[];
  const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
  const int quad = lane / 4, place = lane % 4;
  const int num_chunks = (num_inputs + CHUNK - 1) / CHUNK;
  const int num_tiles = (num_outputs + 2 * OCTET - 1) / (2 * OCTET);

  // A row's memory ends half a turn of the banks behind the last one's.
  const int row_bytes = num_chunks * CHUNK * 2 + 64;
  u8* const rows = memory + WARPS * STAGES * STAGE_BYTES;
  float* const sums = reinterpret_cast<float*>(rows + PARTS * ROWS * row_bytes);
  float* const shares = sums + (num_chunks * GROUPS * ROWS + 3) / 4 * 4;
  float* const squares = shares + 2 * WARPS * LANES * 4;
  float* const factors = squares + ROWS * WARPS;

  // Octets between the two of a tile.
  const int distance = GATED ? num_tiles : ROTATED ? head_dim / (2 * OCTET) : 1;
  auto first_octet = [&](int tile) {
    return GATED ? tile : ROTATED ? tile / distance * 2 * distance + tile % distance : 2 * tile;
  };

  // What a lane copies of a stage, from where the stage starts in the first octet.
  const u32 stages = shared_address(memory) + warp * STAGES * STAGE_BYTES + lane * PIECE;
  const i64 octet_stride = WHOLE ? i64(num_chunks) * OCTET_BYTES : i64(OCTET) * num_inputs * 2;
  constexpr int CHUNK_STRIDE = WHOLE ? OCTET_BYTES : CHUNK * 2;
  i64 places[WHOLE ? COPIES : 2];
#pragma unroll
  for (int index = 0; index < (WHOLE ? COPIES : 2); ++index) {
    if (WHOLE) {
      const int start = (index * LANES + lane) * PIECE;
      places[index] = start + (start < OCTET_BYTES ? 0 : distance * octet_stride - OCTET_BYTES);
    } else {
      places[index] = i64(quad) * num_inputs * 2 + place * PIECE + index * distance * octet_stride;
    }
  }
  int tile_ahead = blockIdx.x, chunk_ahead = warp;
  const u8* from = weight + first_octet(tile_ahead) * octet_stride + warp * CHUNK_STRIDE;
  auto copy = [&](int stage) {
    while (chunk_ahead >= num_chunks) {
      chunk_ahead -= num_chunks;
      tile_ahead += gridDim.x;
      from = weight + first_octet(tile_ahead) * octet_stride + chunk_ahead * CHUNK_STRIDE;
    }
    if (tile_ahead < num_tiles) {
      const u32 to = stages + stage * STAGE_BYTES;
#pragma unroll
      for (int index = 0; index < COPIES; ++index) {
        if (!WHOLE)  // a lane copies what it reads
          copy_piece_or_zeros(to + index * LANES * PIECE, from + places[index / 4] + index % 4 * 64,
                              chunk_ahead * CHUNK + index % 4 * 32 + place * 8 < num_inputs);
        else if ((index * LANES + lane) * PIECE < STAGE_BYTES)
          copy_piece(to + index * LANES * PIECE, from + places[index]);
      }
    }
    chunk_ahead += WARPS;
    from += WARPS * CHUNK_STRIDE;
    end_copies();
  };

  let_next_kernel_start();
#pragma unroll
  for (int stage = 0; stage < STAGES - 1; ++stage) copy(stage);
  await_last_kernel();

  auto find_factors = [&](float* squared) {
#pragma unroll
    for (int row = 0; row < ROWS; ++row) {
#pragma unroll
      for (int step = 1; step < LANES; step *= 2)
        squared[row] += __shfl_xor_sync(0xffffffff, squared[row], step);
      if (lane == 0) squares[row * WARPS + warp] = squared[row];
    }
    __syncthreads();
    if (threadIdx.x < ROWS) {
      float square = 0.0f;
      for (int index = 0; index < WARPS; ++index) square += squares[threadIdx.x * WARPS + index];
      factors[threadIdx.x] = rsqrtf(square / num_inputs + norm_eps);
    }
  };

  float addend_factors[ROWS] = {};
  if (ADDED) {
    for (int input = threadIdx.x * EIGHT; input < num_inputs; input += THREADS * EIGHT) {
#pragma unroll
      for (int row = 0; row < ROWS; ++row) {
        if (row >= num_rows) break;
        const auto numbers = read<Number, EIGHT>(addend + i64(row) * num_inputs + input);
#pragma unroll
        for (int each = 0; each < EIGHT; ++each)
          addend_factors[row] += to_float(numbers.at[each]) * to_float(numbers.at[each]);
      }
    }
    find_factors(addend_factors);
    __syncthreads();
#pragma unroll
    for (int row = 0; row < ROWS; ++row) addend_factors[row] = addend_scale * factors[row];
  }
  auto with_addend = [&](Several<Number, EIGHT> numbers, int row, int input) {
    const auto given = read<Number, EIGHT>(addend + i64(row) * num_inputs + input);
    const auto norms = read<AddendFactor, EIGHT>(addend_norm + input);
#pragma unroll
    for (int each = 0; each < EIGHT; ++each) {
      const float normed = to_float(given.at[each]) * Factors<ADDED>::number(norms.at[each]);
      numbers.at[each] = to_number(fmaf(normed, addend_factors[row], to_float(numbers.at[each])));
    }
    if (blockIdx.x == 0)
      *reinterpret_cast<Several<Number, EIGHT>*>(totals + i64(row) * num_inputs + input) = numbers;
    return numbers;
  };

  // The rows into shared memory, with the sums of their groups.
  const int num_eights = num_chunks * (CHUNK / EIGHT);
  float squared[ROWS] = {};
  for (int base = 0; base < num_eights; base += BATCH * THREADS) {
    Several<Number, EIGHT> given[BATCH * ROWS];
    Several<Factor, EIGHT> norms[BATCH];
#pragma unroll
    for (int index = 0; index < BATCH * ROWS; ++index) {
      const int input = (base + index / ROWS * THREADS + threadIdx.x) * EIGHT, row = index % ROWS;
      const bool is_there = input < num_inputs;
      given[index] = {};
      norms[index / ROWS] = {};
      if (is_there && row < num_rows) {
        given[index] = read<Number, EIGHT>(x + row * x_stride + input);
        if (ADDED) given[index] = with_addend(given[index], row, input);
      }
      if (NORMED && is_there) norms[index / ROWS] = read<Factor, EIGHT>(norm + input);
    }
#pragma unroll
    for (int index = 0; index < BATCH * ROWS; ++index) {
      const int first = base + index / ROWS * THREADS, eight = first + threadIdx.x, row = index % ROWS;
      if (first >= num_eights) break;
      float numbers[EIGHT], total = 0.0f;
#pragma unroll
      for (int each = 0; each < EIGHT; ++each) {
        numbers[each] = to_float(given[index].at[each]);
        if (NORMED) {
          squared[row] += numbers[each] * numbers[each];
          numbers[each] *= Factors<NORM>::number(norms[index / ROWS].at[each]);
        }
      }
#pragma unroll
      for (int part = 0; part < PARTS; ++part) {
        Several<u16, EIGHT> held;
#pragma unroll
        for (int each = 0; each < EIGHT; ++each) {
          held.at[each] = to_part(numbers[each]);
          total += part_to_float(held.at[each]);
          numbers[each] -= part_to_float(held.at[each]);
        }
        if (eight < num_eights)
          *reinterpret_cast<Several<u16, EIGHT>*>(rows + (part * ROWS + row) * row_bytes + eight * 16) =
              held;
      }
      if (WHOLE) {
#pragma unroll
        for (int step = 1; step < GROUP / EIGHT; step *= 2)
          total += __shfl_xor_sync(0xffffffff, total, step);
        const int group = eight / (GROUP / EIGHT);
        if (eight % (GROUP / EIGHT) == 0 && eight < num_eights)
          sums[(row / 2 * num_chunks * GROUPS + group) * COLUMNS + row % 2] = total;
      }
    }
  }
  if (NORMED)
    find_factors(squared);
  else
    __syncthreads();

  const u32 rows_here = shared_address(rows) + (quad < ROWS ? quad : 0) * row_bytes + place * 16;
  const float* const sums_here = sums + (place < PAIRS ? place : 0) * num_chunks * GROUPS * COLUMNS;
  Several<u32, 4> row[4] = {};
  int stage = 0, chunk = warp, turn = 0;
  for (int tile = blockIdx.x; tile < num_tiles; tile += gridDim.x, chunk -= num_chunks, ++turn) {
    float found[4] = {};
    for (; chunk < num_chunks; chunk += WARPS) {
      await_copies<STAGES - 2>();
      __syncwarp();
      copy(stage == 0 ? STAGES - 1 : stage - 1);
      const u8* const here = memory + (warp * STAGES + stage) * STAGE_BYTES;
      read_four_for<64>(row, quad < ROWS, rows_here + chunk * CHUNK * 2);
#if BITS == 16
#pragma unroll
      for (int block = 0; block < 4; ++block) {
        const auto low = read<u32, 4>(here + (block * LANES + lane) * PIECE);
        const auto high = read<u32, 4>(here + OCTET_BYTES + (block * LANES + lane) * PIECE);
        multiply<false>(found, low.at[0], high.at[0], low.at[1], high.at[1], row[block].at[0],
                        row[block].at[1]);
        multiply<false>(found, low.at[2], high.at[2], low.at[3], high.at[3], row[block].at[2],
                        row[block].at[3]);
      }
#else
      const Words low = read_words(here, lane), high = read_words(here + OCTET_BYTES, lane);
      const u8* const scales = here + VALUE_BYTES + quad * GROUPS * 4;
      const auto low_scales = read<u32, GROUPS>(scales);
      const auto high_scales = read<u32, GROUPS>(scales + OCTET_BYTES);
      const auto sum = read<float, GROUPS * COLUMNS>(sums_here + chunk * GROUPS * COLUMNS);
      float product[GROUPS][4];
#pragma unroll
      for (int part = 0; part < PARTS; ++part) {
        if (part > 0)
          read_four_for<64>(row, quad < ROWS, rows_here + part * ROWS * row_bytes + chunk * CHUNK * 2);
#pragma unroll
        for (int block = 0; block < 4; ++block) {
          auto& products = product[block / (GROUP / BLOCK)];
#pragma unroll
          for (int plane = 0; plane < PLANES; ++plane) {
#define PAIR(words, pair) pair_of(words, block, pair, plane)
            if (part == 0 && plane == 0 && block % (GROUP / BLOCK) == 0)
              multiply<true>(products, PAIR(low, 0), PAIR(high, 0), PAIR(low, 1), PAIR(high, 1),
                             row[block].at[0], row[block].at[1]);
            else
              multiply<false>(products, PAIR(low, 0), PAIR(high, 0), PAIR(low, 1), PAIR(high, 1),
                              row[block].at[0], row[block].at[1]);
            multiply<false>(products, PAIR(low, 2), PAIR(high, 2), PAIR(low, 3), PAIR(high, 3),
                            row[block].at[2], row[block].at[3]);
          }
        }
      }
#pragma unroll
      for (int group = 0; group < GROUPS; ++group) {
#pragma unroll
        for (int octet = 0; octet < 2; ++octet) {
          const u32 scaling = octet ? high_scales.at[group] : low_scales.at[group];
          const float scale = half_to_float(u16(scaling));
          const float offset = fmaf(-ORIGIN, scale, half_to_float(u16(scaling >> 16)));
#pragma unroll
          for (int column = 0; column < COLUMNS; ++column) {
            float& one = found[2 * octet + column];
            one = fmaf(offset, sum.at[group * COLUMNS + column], one);
            one = fmaf(scale, product[group][2 * octet + column], one);
          }
        }
      }
#endif
      stage = stage == STAGES - 1 ? 0 : stage + 1;
    }
    if (tile + int(gridDim.x) >= num_tiles && following_bytes && lane < 2)
      fetch_ahead(following + (lane ? following_distance : 0) +
                      (i64(blockIdx.x) * WARPS + warp) * following_bytes,
                  following_bytes);

    float4* const shares_here = reinterpret_cast<float4*>(shares) + turn % 2 * WARPS * LANES;
    shares_here[warp * LANES + lane] = make_float4(found[0], found[1], found[2], found[3]);
    __syncthreads();
    if (warp != turn % WARPS) continue;
    float4 sum = shares_here[lane];
#pragma unroll
    for (int index = 1; index < WARPS; ++index) {
      const float4 share = shares_here[index * LANES + lane];
      sum.x += share.x, sum.y += share.y, sum.z += share.z, sum.w += share.w;
    }
    const int low_output = first_octet(tile) * OCTET + quad;
    const int high_output = low_output + distance * OCTET;
#pragma unroll
    for (int column = 0; column < COLUMNS; ++column) {
      const int row = 2 * place + column;
      if (row >= num_rows) break;
      const float factor = NORMED ? factors[row] : 1.0f;
      float low = factor * (column ? sum.y : sum.x), high = factor * (column ? sum.w : sum.z);
      if (bias != nullptr) {
        low += to_float(bias[low_output]);
        if (high_output < num_outputs) high += to_float(bias[high_output]);
      }
      if (GATED) {
        out[i64(row) * (num_outputs / 2) + low_output] = to_number(gate_of(low) * high);
      } else if (ROTATED) {
        const int head = low_output / head_dim, dim = low_output % head_dim;
        const int kv_head = head - num_heads, opposite = dim + head_dim / 2;
        if (kv_head < num_kv_heads) {
          const Number *const cosines = cos + row * head_dim, *const sines = sin + row * head_dim;
          const float rotated = low * to_float(cosines[dim]) + high * to_float(sines[dim]);
          high = high * to_float(cosines[opposite]) + low * to_float(sines[opposite]);
          low = rotated;
        }
        Number* to = out + (i64(row) * num_heads + head) * head_dim;
        if (kv_head >= 0) to = cache + (kv_head * capacity + slots[row]) * head_dim;
        to[dim] = to_number(low);
        to[opposite] = to_number(high);
      } else {
        const i64 to = i64(row) * num_outputs;
        if (residual != nullptr) {
          low = fmaf(low, residual_scale, to_float(residual[to + low_output]));
          if (high_output < num_outputs)
            high = fmaf(high, residual_scale, to_float(residual[to + high_output]));
        }
        out[to + low_output] = to_number(low);
        if (high_output < num_outputs) out[to + high_output] = to_number(high);
      }
    }
  }
}
