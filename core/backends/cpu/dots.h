// Sums of products of bytes: a word adds up four at a time.

#pragma once

#include "lanes.h"

#if defined(HAS_512_BITS) || defined(__AVXVNNI__)
#define HAS_BYTE_DOTS 1
#endif

namespace {

// Adds to each word four products of weights without signs and rows with them.
inline WideWords add_products(WideWords sums, WideWords weights, WideWords x) {
#if defined(HAS_512_BITS)
  return (WideWords)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)weights, (__m512i)x);
#elif defined(__AVXVNNI__)
  return (WideWords)_mm256_dpbusd_avx_epi32((__m256i)sums, (__m256i)weights, (__m256i)x);
#elif defined(__ARM_FEATURE_MATMUL_INT8)
  for (int half = 0; half < 2; ++half) {
    int32x4_t some;
    uint8x16_t w;
    int8x16_t row;
    std::memcpy(&some, (const char*)&sums + 16 * half, 16);
    std::memcpy(&w, (const char*)&weights + 16 * half, 16);
    std::memcpy(&row, (const char*)&x + 16 * half, 16);
    some = vusdotq_s32(some, w, row);
    std::memcpy((char*)&sums + 16 * half, &some, 16);
  }
  return sums;
#else
  for (int i = 0; i < 4; ++i)
    sums += ((weights >> (8 * i)) & 255) * ((x << (24 - 8 * i)) >> 24);
  return sums;
#endif
}

// The products of some words of weights below 2 ** BITS with -127 to 127.
template <int BITS>
class ByteSum {
 public:
  void start(WideWords first) { sums = first; }
#if defined(HAS_BYTE_DOTS) || !defined(__AVX2__)
  void add(int, WideWords weights, WideWords x) { sums = add_products(sums, weights, x); }
  WideWords words() const { return sums; }

 private:
  WideWords sums = {};
#else
  // Pairs of products are added up in 16 bits, which hold those of so many words. Numbers of more
  // than six bits go as their halves.
  static constexpr bool IS_HALVED = BITS > 6;
  static constexpr int MOST = IS_HALVED || BITS <= 4 ? 8 : BITS == 5 ? 4 : 2;

  void add(int index, WideWords weights, WideWords x) {
    if constexpr (IS_HALVED) {
      add_pairs(low, index, weights & 0x0f0f0f0f, x);
      add_pairs(high, index, (weights >> 4) & 0x0f0f0f0f, x);
    } else {
      add_pairs(low, index, weights, x);
      if (index % MOST == MOST - 1 && MOST < 8) flush();
    }
  }
  WideWords words() {
    if constexpr (MOST == 8) flush();
    return sums;
  }

 private:
  static void add_pairs(WideWords& pairs, int index, WideWords weights, WideWords x) {
    const __m256i products = _mm256_maddubs_epi16((__m256i)weights, (__m256i)x);
    pairs = (WideWords)(index % MOST == 0 ? products : _mm256_add_epi16((__m256i)pairs, products));
    asm("" : "+x"(pairs));  // else all products come first, and do not fit into the registers
  }
  void flush() {
    sums += (WideWords)_mm256_madd_epi16((__m256i)low, _mm256_set1_epi16(1));
    if constexpr (IS_HALVED)
      sums += (WideWords)_mm256_madd_epi16((__m256i)high, _mm256_set1_epi16(16));
  }

  WideWords sums = {}, low = {}, high = {};
#endif
};

}  // namespace
