// What is told of rows of logits: the largest, and sums over all of their exponentials.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "lanes.h"
#include "model.h"
#include "team.h"

namespace {

// Of a part of a row: the `k` largest, best first and of equal ones the lower place, and the sums of
// exp(x - highest) and of (x - highest) exp(x - highest). No number counts as the largest.
class Facts {
 public:
  Facts(int64_t* ids, float* values, int32_t k) : ids(ids), values(values), k(k) {
    for (int32_t i = 0; i < k; ++i) ids[i] = 0, values[i] = -INFINITY;
  }

  // Without sums it only looks for the largest.
  template <bool HAS_SUMS = true>
  void add(const float* row, int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; at += PIECE) {
      const int64_t left = end - at < PIECE ? end - at : PIECE;
      float padded[PIECE];
      const float* from = row + at;
      if (left < PIECE) {
        for (int64_t i = 0; i < PIECE; ++i) padded[i] = i < left ? from[i] : -INFINITY;
        from = padded;
      }
      Lanes x[PIECE / LANES], most = load(from);
      Words is_none = {};
      for (int i = 0; i < PIECE / LANES; ++i) {
        x[i] = load(from + i * LANES);
        most = larger(most, x[i]);
        is_none |= x[i] != x[i];
      }
      if (any(is_none)) {
        int64_t first = 0;
        while (from[first] == from[first]) ++first;
        return note_none(at + first, from[first]);
      }
      if (count < k || any(most > all(values[k - 1])))
        for (int64_t i = 0; i < left; ++i) {
          if (count == k && i % LANES == 0 && !any(x[i / LANES] > all(values[k - 1]))) i += LANES - 1;
          else insert(at + i, from[i]);
        }
      if (!HAS_SUMS || values[0] == -INFINITY) continue;
      if (values[0] > highest) {
        lower(highest - values[0], total, weighted);
        highest = values[0];
      }
      Lanes weights[PIECE / LANES];
      for (int i = 0; i < PIECE / LANES; ++i) {
        // What is excluded adds a number that vanishes beside the largest one's 1.
        x[i] = larger(x[i] - highest, all(-87.0f));
        weights[i] = exp_of(x[i]);
      }
      Lanes more = weights[0], more_weighted = weights[0] * x[0];
      for (int i = 1; i < PIECE / LANES; ++i) {
        more += weights[i];
        more_weighted = fused(weights[i], x[i], more_weighted);
      }
      total += more;
      weighted += more_weighted;
    }
    total_sum = sum_of(total);
    weighted_sum = sum_of(weighted);
  }

  // What another part of the row has, which stands behind this one.
  void add(const Facts& other) {
    if (values[0] != values[0]) return;
    if (other.values[0] != other.values[0]) return note_none(other.ids[0], other.values[0]);
    for (int32_t i = 0; i < other.count; ++i) insert(other.ids[i], other.values[i]);
    if (other.highest > highest) {
      lower(highest - other.highest, total_sum, weighted_sum);
      highest = other.highest;
      total_sum += other.total_sum;
      weighted_sum += other.weighted_sum;
    } else if (other.total_sum > 0.0f) {
      float more = other.total_sum, more_weighted = other.weighted_sum;
      lower(other.highest - highest, more, more_weighted);
      total_sum += more;
      weighted_sum += more_weighted;
    }
  }

  float log_total() const { return highest + std::log(total_sum); }
  float entropy() const { return std::log(total_sum) - weighted_sum / total_sum; }

 private:
  static constexpr int PIECE = 64;
  int64_t* ids;
  float* values;
  int32_t k, count = 0;
  float highest = -INFINITY;
  Lanes total = {}, weighted = {};
  float total_sum = 0.0f, weighted_sum = 0.0f;

  static bool any(Words mask) {
    int64_t words[sizeof(Words) / sizeof(int64_t)];
    std::memcpy(words, &mask, sizeof(words));
    return (words[0] | words[1] | words[2] | words[3]) != 0;
  }

  void insert(int64_t id, float value) {
    if (count == k && !(value > values[k - 1])) return;
    int32_t place = count < k ? count++ : k - 1;
    for (; place > 0 && value > values[place - 1]; --place) {
      values[place] = values[place - 1];
      ids[place] = ids[place - 1];
    }
    values[place] = value;
    ids[place] = id;
  }

  void note_none(int64_t id, float value) {
    ids[0] = id;
    values[0] = value;
    total_sum = weighted_sum = NAN;
  }

  // Sums relative to a largest number, now to one that it is `by` (below zero) under. Where there was
  // none there are no sums.
  template <class Number>
  static void lower(float by, Number& total, Number& weighted) {
    if (by == -INFINITY) return;
    const float factor = std::exp(by);
    weighted = (weighted + by * total) * factor;
    total = total * factor;
  }
};

// Where the parts of rows are found.
struct FactsWork {
  Facts* parts;  // [threads, rows]
  int64_t* ids;  // [threads, rows, k]
  float* values;
};

// A fresh part.
inline Facts& part_of(const FactsWork& work, int64_t part, int32_t k) {
  return *new (work.parts + part) Facts(work.ids + part * k, work.values + part * k, k);
}

// The facts of all rows by a team of threads; `wait` lets them meet. A thread reads the share of the
// vocabulary that it computed.
template <class Wait>
void find_facts(const LogitFacts& facts, const FactsWork& work, const float* logits, int64_t rows,
                int64_t vocab, int thread, int team, const Wait& wait) {
  const Share own(vocab, PANEL, thread, team);
  for (int64_t row = 0; row < rows; ++row)
    part_of(work, thread * rows + row, facts.k).add(logits + row * vocab, own.begin, own.end);
  wait();
  const Share own_rows(rows, 1, thread, team);
  for (int64_t row = own_rows.begin; row < own_rows.end; ++row) {
    const int32_t k = facts.k;
    float* numbers = facts.numbers + row * (2 * k + 2);
    Facts whole(facts.top_ids + row * k, numbers, k);
    for (int other = 0; other < team; ++other) whole.add(work.parts[other * rows + row]);
    const float log_total = numbers[2 * k] = whole.log_total();
    numbers[2 * k + 1] = whole.entropy();
    for (int32_t i = 0; i < k; ++i) numbers[k + i] = std::exp(numbers[i] - log_total);
  }
}

}  // namespace
