// The threads of a forward: who does what, and how they wait for each other.

#pragma once

#include <atomic>
#include <cstdint>

#include <sched.h>

namespace {

// The share of a thread, in multiples of `step`.
struct Share {
  int64_t begin, end;
  Share(int64_t total, int64_t step, int thread, int num_threads) {
    const int64_t steps = (total + step - 1) / step;
    begin = steps * thread / num_threads * step;
    end = steps * (thread + 1) / num_threads * step;
    if (end > total) end = total;
    if (begin > total) begin = total;
  }
};

// A forward waits some hundred times, a fraction of a microsecond each where every thread has a core
// of its own; where it has not, the others get the core.
class Barrier {
 public:
  explicit Barrier(int num_threads) : num_threads(num_threads) {}
  void wait() {
    const int phase = passed.load(std::memory_order_acquire);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) == num_threads - 1) {
      arrived.store(0, std::memory_order_relaxed);
      passed.store(phase + 1, std::memory_order_release);
      return;
    }
    for (int turns = 0; passed.load(std::memory_order_acquire) == phase; ++turns) {
      if (turns < MOST_TURNS) rest();
      else sched_yield();
    }
  }

 private:
  static constexpr int MOST_TURNS = 2000;
  static void rest() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }
  const int num_threads;
  alignas(64) std::atomic<int> arrived{0};
  alignas(64) std::atomic<int> passed{0};
};

}  // namespace
