// What the runner says of the machine that it runs on, from /proc, and text for JSON.
#pragma once

#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <thread>

namespace myqasr {

// A JSON string; control characters become spaces.
inline std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (unsigned char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c < 0x20 ? ' ' : static_cast<char>(c);
  }
  return out + '"';
}

// Bytes of a line like "VmHWM:   1234 kB" of /proc/self/status; 0 where there is none.
inline long long status_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(key + ":", 0) == 0) {
      return std::stoll(line.substr(key.size() + 1)) * 1024;
    }
  }
  return 0;
}

// What /proc/cpuinfo says of all cores: each key's different values, and which instructions the kernels look for.
inline std::string cpu_json() {
  static const std::set<std::string> keys = {"model name", "CPU implementer", "CPU part", "Hardware"};
  static const std::set<std::string> wanted = {
      "asimd", "asimdhp", "asimddp", "i8mm", "sve", "sve2", "bf16", "sme",
      "sse4_1", "avx", "avx2", "f16c", "fma", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8"};
  std::map<std::string, std::set<std::string>> found;
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::string key = line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1);
    std::istringstream value(line.substr(colon + 1));
    if (keys.count(key)) {
      std::string text;
      std::getline(value >> std::ws, text);
      found[key].insert(text);
    } else if (key == "flags" || key == "Features") {
      for (std::string word; value >> word;) {
        if (wanted.count(word)) found["features"].insert(word);
      }
    }
  }
  std::ostringstream out;
  out << "{\"cores\": " << std::thread::hardware_concurrency();
  for (const auto& [key, values] : found) {
    out << ", " << quoted(key) << ": [";
    for (const auto& value : values) out << (&value == &*values.begin() ? "" : ", ") << quoted(value);
    out << "]";
  }
  out << "}";
  return out.str();
}

}  // namespace myqasr
