// Files of the C++ runner: float32 in and out, and what can't be read or written.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace myqasr {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline std::vector<float> read_floats(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw Failure("can't read " + path + ": " + std::strerror(errno));
  const auto bytes = static_cast<size_t>(file.tellg());
  if (bytes == 0 || bytes % sizeof(float) != 0) {
    throw Failure(path + " has " + std::to_string(bytes) + " bytes, not a number of float32");
  }
  std::vector<float> values(bytes / sizeof(float));
  file.seekg(0);
  file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(bytes));
  if (!file) throw Failure("can't read " + path);
  return values;
}

inline void write_bytes(const std::string& path, const void* data, size_t bytes) {
  errno = 0;
  std::ofstream file(path, std::ios::binary);
  file.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
  file.close();
  if (!file) throw Failure("can't write " + path + ": " + std::strerror(errno));
}

// Rows of logits, written as they come: those of a long text would be tens of megabytes in memory.
class Logits {
 public:
  explicit Logits(const std::string& path) : path_(path) {
    errno = 0;
    if (path != "-") file_.open(path, std::ios::binary);
    check();
  }

  // values [count of rows, columns]
  void add(const float* values, size_t count, size_t width) {
    if (file_.is_open()) {
      file_.write(reinterpret_cast<const char*>(values), static_cast<std::streamsize>(count * width * sizeof(float)));
    }
    rows += count;
    columns = width;
  }

  void close() {
    if (file_.is_open()) file_.close();
    check();
  }

  size_t rows = 0, columns = 0;

 private:
  void check() {
    if (!file_) throw Failure("can't write " + path_ + ": " + std::strerror(errno));
  }

  std::string path_;
  std::ofstream file_;
};

}  // namespace myqasr
