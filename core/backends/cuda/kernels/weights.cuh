// Weights as a lane of `rows.cu` reads them; see core/backends/cuda/kernels/packing.py.

constexpr bool WHOLE = BITS < 16;
constexpr int OCTET = 8;    // outputs that lie together
constexpr int CHUNK = 128;  // inputs that lie together
constexpr int BLOCK = 32;
constexpr int GROUPS = WHOLE ? CHUNK / GROUP : 1;
constexpr int VALUE_BYTES = LANES * BITS * 4;  // of an octet's chunk
constexpr int OCTET_BYTES = VALUE_BYTES + (WHOLE ? GROUPS * OCTET * 4 : 0);

#if BITS < 16
// Whole numbers from 0 to 15 below these bits are bfloat16 numbers from 128 on, and those times 16.
constexpr u32 ONES = 0x43004300, SIXTEENS = 0x45004500;
constexpr float ORIGIN = BITS == 8 ? 128.0f + 2048.0f : 128.0f;
constexpr int PLANES = BITS == 8 ? 2 : 1;

// What a lane holds of one output.
typedef Several<u32, BITS> Words;

__device__ __forceinline__ Words read_words(const u8* octet, int lane) {
#if BITS == 3
  Words words;
#pragma unroll
  for (int index = 0; index < 3; ++index)
    words.at[index] = read<u32, 1>(octet + (index * LANES + lane) * 4).at[0];
  return words;
#elif BITS == 8
  Words words;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const auto four = read<u32, 4>(octet + (half * LANES + lane) * 16);
#pragma unroll
    for (int index = 0; index < 4; ++index) words.at[4 * half + index] = four.at[index];
  }
  return words;
#else
  return read<u32, BITS>(octet + lane * BITS * 4);
#endif
}

// Some bits of a word below those of an exponent, in one instruction.
template <u32 MASK>
__device__ __forceinline__ u32 numbers_of(u32 word, u32 exponent) {
  u32 numbers;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(numbers) : "r"(word), "n"(MASK), "r"(exponent));
  return numbers;
}

// Two neighbouring weights as bfloat16: pair 0 to 3 of block 0 to 3 and, of eight bits, the lower or the
// upper four.
__device__ __forceinline__ u32 pair_of(const Words& words, int block, int pair, int plane) {
#if BITS == 2
  return numbers_of<0x00030003>(words.at[block / 2] >> (8 * (block % 2) + 2 * pair), ONES);
#elif BITS == 3
  const int index = 4 * block + pair;
  if (index < 15) return numbers_of<0x00070007>(words.at[index / 5] >> (3 * (index % 5)), ONES);
  u32 last = numbers_of<0x00010001>(words.at[0] >> 15, ONES);
  last = numbers_of<0x00020002>(words.at[1] >> 14, last);
  return numbers_of<0x00040004>(words.at[2] >> 13, last);
#elif BITS == 4
  return numbers_of<0x000f000f>(words.at[block] >> (4 * pair), ONES);
#else
  return numbers_of<0x000f000f>(words.at[2 * block + plane] >> (4 * pair), plane ? SIXTEENS : ONES);
#endif
}
#endif
