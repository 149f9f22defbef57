// Runs a .pte file as an app would, with no Python: loads it once, then obeys one command a line on stdin
// and answers each with one JSON object a line on stdout.
//
//   runner MODEL THREADS METHODS [profile]      METHODS: forward, or encode,decode
//
// On start it answers with how loading went and what it runs on. Commands:
//   greedy END MAX  N id... (four times)        how to write token by token: prompt, suppressed, suppressed first,
//                                               more ends
//   run FEATURES LOGITS REPEATS                 raw float32 in and out; LOGITS may be -
//   memory                                      resident memory, now and at most
//   etdump FILE                                 events of all runs so far; needs "profile"
// {"error": ...} answers what failed. Exit code: 0 when all went well, 1 after any error, 2 for a bad call.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iostream>
#include <limits>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <executorch/devtools/etdump/etdump_flatcc.h>
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>

#include "floats.h"
#include "machine.h"
#include "writing.h"

// The wheel has these functions, but not the header that declares them.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  size_t get_thread_count() const;
  bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

using executorch::aten::ScalarType;
using executorch::aten::Tensor;
using executorch::etdump::ETDumpGen;
using executorch::extension::from_blob;
using executorch::extension::Module;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::Program;
using myqasr::cpu_json;
using myqasr::Failure;
using myqasr::Greedy;
using myqasr::Logits;
using myqasr::quoted;
using myqasr::read_floats;
using myqasr::repeats;
using myqasr::status_bytes;
using myqasr::write_bytes;

namespace {

double milliseconds() {
  using namespace std::chrono;
  return duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
}

void answer(const std::string& json) {
  std::cout << json << std::endl;  // flushed: the other side waits for it
}

void check(Error error, const std::string& what) {
  if (error != Error::Ok) {
    throw Failure(what + ": " + executorch::runtime::to_string(error));
  }
}

// ---- the model ---------------------------------------------------------------------------------------

// Keys and values of the tokens so far: one tensor [heads, places, size] for each that `encode` gave.
struct Cache {
  Cache(const std::vector<EValue>& heard, size_t max_tokens) : places(max_tokens) {
    if (heard.empty() || heard.back().toTensor().dim() != 3) {
      throw Failure("what the encoder gives isn't [heads, positions, size]; export the file again");
    }
    const Tensor last = heard.back().toTensor();
    heads = last.size(0);
    size = last.size(2);
    for (size_t i = 0; i < heard.size(); ++i) values.emplace_back(heads * places * size);
    for (auto& each : values) {
      const std::vector<int> shape = {static_cast<int>(heads), static_cast<int>(places), static_cast<int>(size)};
      tensors.push_back(from_blob(each.data(), shape, ScalarType::Float));
    }
  }

  // Write the rows [heads, 1, size] that come after the logits to their place.
  void keep(const std::vector<EValue>& outputs, size_t place) {
    if (outputs.size() != values.size() + 1) throw Failure("decode gives no rows to keep; export the file again");
    for (size_t i = 0; i < values.size(); ++i) {
      const Tensor row = outputs[i + 1].toTensor();
      if (static_cast<size_t>(row.numel()) != heads * size) throw Failure("decode gives rows of another size");
      for (size_t head = 0; head < heads; ++head) {
        const float* from = row.const_data_ptr<float>() + head * size;
        std::copy(from, from + size, values[i].begin() + (head * places + place) * size);
      }
    }
  }

  size_t heads = 0, places = 0, size = 0;
  std::vector<std::vector<float>> values;
  std::vector<executorch::extension::TensorPtr> tensors;
};

class Model {
 public:
  Model(const std::string& path, const std::vector<std::string>& methods, bool profile) {
    auto tracer = profile ? std::make_unique<ETDumpGen>() : nullptr;
    tracer_ = tracer.get();
    module_ = std::make_unique<Module>(path, Module::LoadMode::Mmap, std::move(tracer));
    check(module_->load(Program::Verification::InternalConsistency), "can't load " + path);
    for (const auto& method : methods) {
      check(module_->load_method(method), "can't load method " + method + " of " + path);
    }
    writes_tokens_ = methods.size() == 2;
  }

  void set_greedy(const Greedy& greedy) { greedy_ = greedy; }

  void run(std::vector<float>& features, Logits& logits) {
    auto input = from_blob(features.data(), {1, static_cast<int>(features.size())}, ScalarType::Float);
    if (writes_tokens_) {
      write_tokens(execute("encode", {EValue(input)}, features.size()), logits);
      return;
    }
    const auto outputs = execute("forward", {EValue(input)}, features.size());
    const Tensor all = outputs.at(0).toTensor();  // [1, frames, vocab]
    const size_t columns = all.size(all.dim() - 1);
    logits.add(floats(all), all.numel() / columns, columns);
  }

  void write_etdump(const std::string& path) {
    if (tracer_ == nullptr) throw Failure("started without \"profile\"");
    const auto result = tracer_->get_etdump_data();
    if (result.buf == nullptr || result.size == 0) throw Failure("no events: this runtime doesn't trace");
    write_bytes(path, result.buf, result.size);
    free(result.buf);
  }

 private:
  std::vector<EValue> execute(const char* method, const std::vector<EValue>& inputs, size_t length) {
    auto outputs = module_->execute(method, inputs);
    if (!outputs.ok()) {
      throw Failure(std::string(method) + " of " + std::to_string(length) +
                    " inputs: " + executorch::runtime::to_string(outputs.error()));
    }
    return *outputs;
  }

  static const float* floats(const Tensor& tensor) {
    if (tensor.scalar_type() != ScalarType::Float) throw Failure("the model's output isn't float32");
    return tensor.const_data_ptr<float>();
  }

  // The same greedy loop as myqasr.speech.decoding.greedy_logits.
  void write_tokens(const std::vector<EValue>& heard, Logits& logits) {
    if (greedy_.prompt.empty()) throw Failure("\"greedy\" must come before \"run\" for this model");
    Cache cache(heard, greedy_.max_tokens);
    std::vector<int64_t> ids = greedy_.prompt;
    size_t position = 0;
    for (; position + 1 < greedy_.prompt.size(); ++position) step(ids[position], position, cache, heard);
    for (; position + 1 < greedy_.max_tokens; ++position) {
      const auto outputs = step(ids.back(), position, cache, heard);
      const Tensor given = outputs.at(0).toTensor();  // [1, vocab]; the last row counts
      const size_t columns = given.size(given.dim() - 1);
      const float* row = floats(given) + given.numel() - columns;
      const bool first = logits.rows == 0;
      logits.add(row, 1, columns);
      ids.push_back(best_of(row, columns, first));
      if (ends(ids.back()) || repeats(ids.data() + greedy_.prompt.size(), ids.data() + ids.size())) break;
    }
  }

  // What myqasr.speech.caching.token_steps does.
  std::vector<EValue> step(int64_t token, size_t position, Cache& cache, const std::vector<EValue>& heard) {
    auto place = static_cast<int64_t>(position);
    auto token_tensor = from_blob(&token, {1, 1}, ScalarType::Long);
    auto place_tensor = from_blob(&place, {1}, ScalarType::Long);
    std::vector<EValue> inputs = {EValue(token_tensor), EValue(place_tensor)};
    for (const auto& tensor : cache.tensors) inputs.emplace_back(tensor);
    inputs.insert(inputs.end(), heard.begin(), heard.end());
    auto outputs = execute("decode", inputs, position + 1);
    cache.keep(outputs, position);
    return outputs;
  }

  bool ends(int64_t id) const {
    const auto& more = greedy_.more_ends;
    return id == greedy_.end || std::find(more.begin(), more.end(), id) != more.end();
  }

  int64_t best_of(const float* row, size_t columns, bool first) const {
    std::vector<float> allowed(row, row + columns);
    const float never = -std::numeric_limits<float>::infinity();
    for (int64_t id : greedy_.suppressed) allowed.at(id) = never;
    if (first) {
      for (int64_t id : greedy_.suppressed_first) allowed.at(id) = never;
    }
    return std::max_element(allowed.begin(), allowed.end()) - allowed.begin();
  }

  std::unique_ptr<Module> module_;
  ETDumpGen* tracer_ = nullptr;  // the module owns it
  bool writes_tokens_ = false;
  Greedy greedy_;
};

// ---- the commands ------------------------------------------------------------------------------------

std::vector<int64_t> read_ids(std::istream& words) {
  size_t count = 0;
  if (!(words >> count)) throw Failure("greedy: a list of ids is missing");
  std::vector<int64_t> ids(count);
  for (auto& id : ids) words >> id;
  if (!words) throw Failure("greedy: an id is missing");
  return ids;
}

std::string run_command(Model& model, std::istream& words) {
  std::string features_file, logits_file;
  int repeats = 0;
  if (!(words >> features_file >> logits_file >> repeats) || repeats < 1) {
    throw Failure("run needs FEATURES LOGITS REPEATS");
  }
  std::vector<float> features = read_floats(features_file);
  std::ostringstream times;
  times.precision(12);
  size_t rows = 0, columns = 0;
  for (int i = 0; i < repeats; ++i) {
    Logits logits(i + 1 < repeats ? "-" : logits_file);
    const double start = milliseconds();
    model.run(features, logits);
    times << (i ? ", " : "") << milliseconds() - start;
    logits.close();
    rows = logits.rows;
    columns = logits.columns;
  }
  return "{\"ms\": [" + times.str() + "], \"rows\": " + std::to_string(rows) +
         ", \"columns\": " + std::to_string(columns) + "}";
}

std::string obey(Model& model, const std::string& line) {
  std::istringstream words(line);
  std::string command;
  words >> command;
  if (command == "run") return run_command(model, words);
  if (command == "memory") {
    return "{\"rss_bytes\": " + std::to_string(status_bytes("VmRSS")) +
           ", \"peak_rss_bytes\": " + std::to_string(status_bytes("VmHWM")) + "}";
  }
  if (command == "greedy") {
    Greedy greedy;
    if (!(words >> greedy.end >> greedy.max_tokens)) throw Failure("greedy needs END and MAX");
    greedy.prompt = read_ids(words);
    greedy.suppressed = read_ids(words);
    greedy.suppressed_first = read_ids(words);
    greedy.more_ends = read_ids(words);
    model.set_greedy(greedy);
    return "{}";
  }
  if (command == "etdump") {
    std::string path;
    words >> path;
    model.write_etdump(path);
    return "{}";
  }
  throw Failure("unknown command: " + line);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    answer("{\"error\": \"usage: runner MODEL THREADS METHODS [profile]\"}");
    return 2;
  }
  std::vector<std::string> methods;
  std::istringstream names(argv[3]);
  for (std::string name; std::getline(names, name, ',');) methods.push_back(name);
  std::unique_ptr<Model> model;
  try {
    auto* pool = executorch::extension::threadpool::get_threadpool();
    pool->_unsafe_reset_threadpool(static_cast<uint32_t>(std::stoul(argv[2])));
    const long long before = status_bytes("VmRSS");
    const double start = milliseconds();
    model = std::make_unique<Model>(argv[1], methods, argc > 4);
    const double load_ms = milliseconds() - start;
    answer("{\"load_ms\": " + std::to_string(load_ms) + ", \"baseline_rss_bytes\": " + std::to_string(before) +
           ", \"threads\": " + std::to_string(pool->get_thread_count()) +
           ", \"version\": " + quoted(MYQASR_RUNTIME) + ", \"cpu\": " + cpu_json() + "}");
  } catch (const std::exception& error) {
    answer("{\"error\": " + quoted(error.what()) + "}");
    return 1;
  }
  int code = 0;
  for (std::string line; std::getline(std::cin, line);) {
    try {
      answer(obey(*model, line));
    } catch (const std::exception& error) {
      code = 1;
      answer("{\"error\": " + quoted(error.what()) + "}");
    }
  }
  return code;
}
