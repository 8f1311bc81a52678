// Vectors of the compiler's own, so that one source serves every processor.

#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace {

#if defined(__aarch64__)
typedef __fp16 Half;  // older compilers know no other name there
#else
typedef _Float16 Half;
#endif
typedef float Lanes __attribute__((vector_size(32)));
typedef int32_t Words __attribute__((vector_size(32)));
typedef float FourFloats __attribute__((vector_size(16)));
typedef float LooseLanes __attribute__((vector_size(32), aligned(4), may_alias));

constexpr int LANES = 8;

// The outputs of a panel of weights, a lane each, as wide as the processor adds up. Without products of
// bytes 512 bits wide (VNNI) the narrower ones of AVX2 serve.
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && \
    defined(__AVX512DQ__) && defined(__AVX512VNNI__)
#define HAS_512_BITS 1
constexpr int PANEL = 16;
#if defined(__AVX512BF16__)
#define HAS_HALF_DOTS 1
#endif
#else
constexpr int PANEL = 8;
#endif
typedef float Wide __attribute__((vector_size(4 * PANEL)));
typedef int32_t WideWords __attribute__((vector_size(4 * PANEL)));
typedef Half WideHalves __attribute__((vector_size(2 * PANEL)));
typedef int8_t WideBytes __attribute__((vector_size(PANEL)));
typedef float LooseWide __attribute__((vector_size(4 * PANEL), aligned(4), may_alias));
typedef int32_t LooseWideWords __attribute__((vector_size(4 * PANEL), aligned(4), may_alias));

constexpr int UNIT = 32;     // columns whose rows are rounded together
constexpr int AHEAD = 4096;  // bytes between a weight and the one to be fetched meanwhile

inline Lanes load(const float* from) { return *reinterpret_cast<const LooseLanes*>(from); }
inline void store(float* to, Lanes value) { *reinterpret_cast<LooseLanes*>(to) = value; }
inline Wide load_panel(const float* from) { return *reinterpret_cast<const LooseWide*>(from); }
inline void store_panel(float* to, Wide value) { *reinterpret_cast<LooseWide*>(to) = value; }
inline WideWords load_words(const int32_t* from) {
  return *reinterpret_cast<const LooseWideWords*>(from);
}
inline void fetch(const void* from) { __builtin_prefetch(from); }
inline Lanes all(float value) { return value - Lanes{}; }
// In a register: compilers read again what they could keep.
inline Lanes held(Lanes value) {
#if defined(__AVX512VL__)
  asm("" : "+v"(value));
#elif defined(__AVX__)
  asm("" : "+x"(value));
#endif
  return value;
}
inline Wide wide(float value) { return value - Wide{}; }
inline WideWords wide_words(int32_t value) { return value - WideWords{}; }
inline Wide as_floats(WideWords words) { return __builtin_convertvector(words, Wide); }

// a * b + c. Compilers fuse that in one tile and not in another, and then a row's bits would hang on
// the rows beside it.
inline Lanes fused(Lanes a, Lanes b, Lanes c) {
#if defined(__FMA__)
  return (Lanes)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
  for (size_t half = 0; half < sizeof(c); half += 16) {
    float32x4_t parts[3];
    std::memcpy(&parts[0], (const char*)&a + half, 16);
    std::memcpy(&parts[1], (const char*)&b + half, 16);
    std::memcpy(&parts[2], (const char*)&c + half, 16);
    parts[2] = vfmaq_f32(parts[2], parts[0], parts[1]);
    std::memcpy((char*)&c + half, &parts[2], 16);
  }
  return c;
#else
  return a * b + c;
#endif
}
#if defined(HAS_512_BITS)
inline Wide fused(Wide a, Wide b, Wide c) {
  return (Wide)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
#endif

// A panel's numbers, written out to float32.
inline Wide load_panel(const Half* from) {
#if defined(HAS_512_BITS)
  return (Wide)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#elif defined(__F16C__)
  return (Wide)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#else
  WideHalves halves;
  std::memcpy(&halves, from, sizeof(halves));
  return __builtin_convertvector(halves, Wide);
#endif
}
inline Wide load_panel(const int8_t* from) {
  WideBytes bytes;
  std::memcpy(&bytes, from, sizeof(bytes));
  return as_floats(__builtin_convertvector(bytes, WideWords));
}

// The sums of four vectors' lanes, each in the same order: lanes two apart, then the pairs, then the
// halves.
inline FourFloats sums_of(Lanes a, Lanes b, Lanes c, Lanes d) {
  const Lanes ab = __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13) +
                   __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
  const Lanes cd = __builtin_shufflevector(c, d, 0, 8, 1, 9, 4, 12, 5, 13) +
                   __builtin_shufflevector(c, d, 2, 10, 3, 11, 6, 14, 7, 15);
  const Lanes all = __builtin_shufflevector(ab, cd, 0, 1, 8, 9, 4, 5, 12, 13) +
                    __builtin_shufflevector(ab, cd, 2, 3, 10, 11, 6, 7, 14, 15);
  return __builtin_shufflevector(all, all, 0, 1, 2, 3) +
         __builtin_shufflevector(all, all, 4, 5, 6, 7);
}
inline float sum_of(Lanes v) { return sums_of(v, v, v, v)[0]; }

template <class Vector>
inline Vector larger(Vector a, Vector b) { return a > b ? a : b; }

// The largest lane.
template <class Vector>
inline auto highest_of(Vector v) {
  v = larger(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3));
  v = larger(v, __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5));
  return larger(v, __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6))[0];
}

// exp to about two units in the last place (the reduction and polynomial of Cephes).
inline Lanes exp_of(Lanes x) {
  x = x < all(-87.0f) ? all(-87.0f) : x;
  x = x > all(88.0f) ? all(88.0f) : x;
  const Words power = __builtin_convertvector(x * 1.44269504f + all(128.5f), Words) - 128;
  const Lanes whole = __builtin_convertvector(power, Lanes);
  const Lanes rest = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  Lanes y = all(1.9875691500e-4f);
  y = y * rest + 1.3981999507e-3f;
  y = y * rest + 8.3334519073e-3f;
  y = y * rest + 4.1665795894e-2f;
  y = y * rest + 1.6666665459e-1f;
  y = y * rest + 5.0000001201e-1f;
  y = y * (rest * rest) + rest + 1.0f;
  return y * (Lanes)((power + 127) << 23);
}

}  // namespace
