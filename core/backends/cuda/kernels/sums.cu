// Adds up what several GPUs have made of a product, and leaves the same sums with every one of them.
//
// A thread sends its numbers to the inboxes of the others and waits until theirs are in its own. A word of
// an inbox has the number of the turn beside each four bytes: what has arrived is known by it, so that
// neither fence nor barrier lies between. All add in the order of the GPUs, and so have the same bits.
//
// Inboxes have two halves, for turns in turn. A GPU that writes into the half of the turn before the last
// knows that it was read: it has what others sent in the last turn, which they began behind it.
//
// Given by the compiler's options:
//   DTYPE    of parts and sums: 0 bfloat16, 1 float16, 2 float32
//   PARTS    GPUs

constexpr int THREADS = 256;
constexpr int WORD = 8;  // bytes of numbers; as much again for the turns
constexpr int NUMBERS = WORD / sizeof(Number);

struct Inboxes {
  u8* of[PARTS];  // [2][PARTS][capacity] words
};

__device__ __forceinline__ void send(u8* to, uint2 word, u32 turn) {
  asm volatile("st.relaxed.sys.global.v4.u32 [%0], {%1, %2, %3, %2};" ::"l"(to), "r"(word.x), "r"(turn),
               "r"(word.y)
               : "memory");
}

__device__ __forceinline__ uint2 received(const u8* from, u32 turn) {
  uint2 word;
  u32 first, second;
  do {
    asm volatile("ld.relaxed.sys.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(word.x), "=r"(first), "=r"(word.y), "=r"(second)
                 : "l"(from)
                 : "memory");
  } while (first != turn || second != turn);
  return word;
}

union Numbers {
  uint2 word;
  Number at[NUMBERS];
};

// `turns` has a number for each block of threads, which no other kernel writes.
extern "C" __global__ void __launch_bounds__(THREADS)
    add_parts(const u8* part, const u8* residual, float scale, u8* out, int num_words, i64 capacity,
              Inboxes inboxes, int own, u32* turns) {
  let_next_kernel_start();
  await_last_kernel();
  const u32 turn = turns[blockIdx.x] + 1;
  const i64 word = i64(blockIdx.x) * THREADS + threadIdx.x;
  if (word < num_words) {
    const i64 half = i64(turn & 1) * PARTS;
    Numbers mine, result;
    mine.word = *reinterpret_cast<const uint2*>(part + word * WORD);
    if (residual != nullptr) result.word = *reinterpret_cast<const uint2*>(residual + word * WORD);
#pragma unroll
    for (int other = 0; other < PARTS; ++other)
      if (other != own) send(inboxes.of[other] + ((half + own) * capacity + word) * 2 * WORD, mine.word, turn);
    float sum[NUMBERS] = {};
#pragma unroll
    for (int other = 0; other < PARTS; ++other) {
      Numbers theirs = mine;
      if (other != own)
        theirs.word = received(inboxes.of[own] + ((half + other) * capacity + word) * 2 * WORD, turn);
#pragma unroll
      for (int index = 0; index < NUMBERS; ++index) sum[index] += to_float(theirs.at[index]);
    }
#pragma unroll
    for (int index = 0; index < NUMBERS; ++index) {
      if (residual != nullptr) sum[index] = fmaf(sum[index], scale, to_float(result.at[index]));
      result.at[index] = to_number(sum[index]);
    }
    *reinterpret_cast<uint2*>(out + word * WORD) = result.word;
  }
  __syncthreads();
  if (threadIdx.x == 0) turns[blockIdx.x] = turn;
}
