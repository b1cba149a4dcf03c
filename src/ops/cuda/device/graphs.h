// Graphs: captured steps, by their sizes.
//
// Owns the graphs, at most `kept` of them. One thread, one stream.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

namespace quern::cuda {

class Graphs {
 public:
  using Sizes = std::pair<int64_t, int64_t>;  // T, B

  explicit Graphs(size_t kept) : kept_(kept) {}
  ~Graphs() { clear(); }
  Graphs(const Graphs&) = delete;
  Graphs& operator=(const Graphs&) = delete;

  /// Enqueues what `body` enqueues on `stream`: by calling it the first time, when kernels are loaded and algorithms
  /// chosen, and by a captured graph from then on.
  void run(const Sizes& sizes, cudaStream_t stream, const std::function<void()>& body);
  void clear();

 private:
  struct Entry {
    cudaGraphExec_t graph = nullptr;  // none yet: seen once
    uint64_t used = 0;
  };
  static cudaGraphExec_t capture(cudaStream_t stream, const std::function<void()>& body);
  void drop_oldest();

  size_t kept_;
  uint64_t clock_ = 0;
  std::map<Sizes, Entry> entries_;
};

}  // namespace quern::cuda
