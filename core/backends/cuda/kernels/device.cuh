// What the kernel of `rows.cu` is made of: number formats, copies, barriers and matrix units.

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned char u8;
typedef long long i64;

#if DTYPE == 2
typedef float Number;
#else
typedef u16 Number;
#endif

constexpr int LANES = 32;
constexpr int PIECE = 16;  // bytes of one copy

__device__ __forceinline__ u32 shared_address(const void* pointer) {
  return static_cast<u32>(__cvta_generic_to_shared(pointer));
}

// Copies past the registers, in groups that are awaited in their order.
__device__ __forceinline__ void copy_piece(u32 to, const u8* from) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}

__device__ __forceinline__ void copy_piece_or_zeros(u32 to, const u8* from, bool is_there) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(is_there ? PIECE : 0)
               : "memory");
}

__device__ __forceinline__ void end_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int NUM_PENDING>
__device__ __forceinline__ void await_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(NUM_PENDING) : "memory");
}

// Has memory come nearer that is read later.
__device__ __forceinline__ void fetch_ahead(const u8* from, int num_bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(num_bytes) : "memory");
#endif
}

// Kernels that overlap (programmatic dependent launch); older devices run them one after the other.
__device__ __forceinline__ void let_next_kernel_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

__device__ __forceinline__ void await_last_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// A barrier that one thread arrives at and others wait for, turn by turn.
__device__ __forceinline__ void make_barrier(u32 barrier) {
  asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(barrier) : "memory");
}

__device__ __forceinline__ void arrive_at(u32 barrier) {
  asm volatile("{ .reg .b64 state; mbarrier.arrive.shared.b64 state, [%0]; }" ::"r"(barrier) : "memory");
}

__device__ __forceinline__ void wait_for(u32 barrier, u32 parity) {
  u32 is_done = 0;
  while (!is_done)
    asm volatile(
        "{ .reg .pred done; mbarrier.test_wait.parity.shared.b64 done, [%1], %2; "
        "selp.u32 %0, 1, 0, done; }"
        : "=r"(is_done)
        : "r"(barrier), "r"(parity)
        : "memory");
}

__device__ __forceinline__ float bfloat16_to_float(u16 bits) { return __uint_as_float(u32(bits) << 16); }

__device__ __forceinline__ u16 float_to_bfloat16(float number) {
  u16 bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(number));
  return bits;
}

__device__ __forceinline__ float half_to_float(u16 bits) {
  float number;
  asm("cvt.f32.f16 %0, %1;" : "=f"(number) : "h"(bits));
  return number;
}

__device__ __forceinline__ u16 float_to_half(float number) {
  u16 bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(number));
  return bits;
}

#if DTYPE == 0
__device__ __forceinline__ float to_float(Number number) { return bfloat16_to_float(number); }
__device__ __forceinline__ Number to_number(float number) { return float_to_bfloat16(number); }
#elif DTYPE == 1
__device__ __forceinline__ float to_float(Number number) { return half_to_float(number); }
__device__ __forceinline__ Number to_number(float number) { return float_to_half(number); }
#else
__device__ __forceinline__ float to_float(Number number) { return number; }
__device__ __forceinline__ Number to_number(float number) { return number; }
#endif

// Consecutive numbers, read in as few instructions as there are.
template <typename T, int COUNT>
struct alignas(sizeof(T) * COUNT % 16 ? sizeof(T) * COUNT & -int(sizeof(T) * COUNT) : 16) Several {
  T at[COUNT];
};

template <typename T, int COUNT>
__device__ __forceinline__ Several<T, COUNT> read(const void* pointer) {
  return *static_cast<const Several<T, COUNT>*>(pointer);
}

// Four times sixteen bytes of shared memory, for some lanes; the others keep what they have.
template <int STRIDE>
__device__ __forceinline__ void read_four_for(Several<u32, 4>* four, bool is_wanted, u32 address) {
  asm volatile(
      "{ .reg .pred wanted; setp.ne.u32 wanted, %16, 0;\n"
      "@wanted ld.shared.v4.u32 {%0, %1, %2, %3}, [%17];\n"
      "@wanted ld.shared.v4.u32 {%4, %5, %6, %7}, [%17 + %18];\n"
      "@wanted ld.shared.v4.u32 {%8, %9, %10, %11}, [%17 + %19];\n"
      "@wanted ld.shared.v4.u32 {%12, %13, %14, %15}, [%17 + %20]; }"
      : "+r"(four[0].at[0]), "+r"(four[0].at[1]), "+r"(four[0].at[2]), "+r"(four[0].at[3]),
        "+r"(four[1].at[0]), "+r"(four[1].at[1]), "+r"(four[1].at[2]), "+r"(four[1].at[3]),
        "+r"(four[2].at[0]), "+r"(four[2].at[1]), "+r"(four[2].at[2]), "+r"(four[2].at[3]),
        "+r"(four[3].at[0]), "+r"(four[3].at[1]), "+r"(four[3].at[2]), "+r"(four[3].at[3])
      : "r"(u32(is_wanted)), "r"(address), "n"(STRIDE), "n"(2 * STRIDE), "n"(3 * STRIDE));
}

// Adds sixteen outputs by eight columns over sixteen inputs, to `sum` or, as the first, to zero. A lane
// holds outputs g and g + 8 of the inputs that it holds of column g, and of the sums columns 2t and
// 2t + 1, for g = lane / 4, t = lane % 4.
template <bool IS_FIRST>
__device__ __forceinline__ void multiply(float (&sum)[4], u32 low0, u32 high0, u32 low1, u32 high1,
                                         u32 column0, u32 column1) {
#if BITS == 16 && DTYPE == 1
#define MULTIPLY "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"
#else
#define MULTIPLY "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"
#endif
  if (IS_FIRST) {
    asm(MULTIPLY " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %10, %10, %10};"
        : "=f"(sum[0]), "=f"(sum[1]), "=f"(sum[2]), "=f"(sum[3])
        : "r"(low0), "r"(high0), "r"(low1), "r"(high1), "r"(column0), "r"(column1), "f"(0.0f));
  } else {
    asm(MULTIPLY " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(low0), "r"(high0), "r"(low1), "r"(high1), "r"(column0), "r"(column1));
  }
}
