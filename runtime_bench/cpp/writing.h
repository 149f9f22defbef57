// How a model that writes token by token is started and stopped, as myqasr.speech.decoding has it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace myqasr {

constexpr std::ptrdiff_t kLeastRepeats = 4, kLeastRepeated = 24;

struct Greedy {
  int64_t end = 0;
  size_t max_tokens = 0;
  std::vector<int64_t> prompt, suppressed, suppressed_first, more_ends;
};

// The text ends with one group of tokens, again and again.
inline bool repeats(const int64_t* begin, const int64_t* end) {
  const std::ptrdiff_t length = end - begin;
  for (std::ptrdiff_t size = 1; size <= length / kLeastRepeats; ++size) {
    const std::ptrdiff_t count = std::max(kLeastRepeats * size, kLeastRepeated);
    if (count <= length && std::equal(end - count + size, end, end - count)) return true;
  }
  return false;
}

}  // namespace myqasr
