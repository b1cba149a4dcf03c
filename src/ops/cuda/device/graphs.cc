#include "ops/cuda/device/graphs.h"

#include <algorithm>

#include "ops/cuda/device/cuda_error.h"

namespace quern::cuda {

void Graphs::run(const Sizes& sizes, cudaStream_t stream, const std::function<void()>& body) {
  const auto found = entries_.find(sizes);
  if (found == entries_.end()) {
    body();
    if (entries_.size() >= kept_) drop_oldest();
    entries_[sizes].used = ++clock_;
    return;
  }
  Entry& entry = found->second;
  entry.used = ++clock_;
  if (entry.graph == nullptr) entry.graph = capture(stream, body);
  check(cudaGraphLaunch(entry.graph, stream), "starting a captured step");
}

cudaGraphExec_t Graphs::capture(cudaStream_t stream, const std::function<void()>& body) {
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing a step");
  cudaGraph_t graph = nullptr;
  try {
    body();
  } catch (...) {
    cudaStreamEndCapture(stream, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    (void)cudaGetLastError();
    throw;
  }
  check(cudaStreamEndCapture(stream, &graph), "capturing a step");
  cudaGraphExec_t result = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&result, graph, 0);
  cudaGraphDestroy(graph);
  check(status, "preparing a captured step");
  return result;
}

void Graphs::drop_oldest() {
  const auto oldest = std::min_element(entries_.begin(), entries_.end(),
                                       [](const auto& a, const auto& b) { return a.second.used < b.second.used; });
  if (oldest == entries_.end()) return;
  if (oldest->second.graph != nullptr) cudaGraphExecDestroy(oldest->second.graph);
  entries_.erase(oldest);
}

void Graphs::clear() {
  for (auto& [sizes, entry] : entries_)
    if (entry.graph != nullptr) cudaGraphExecDestroy(entry.graph);
  entries_.clear();
}

}  // namespace quern::cuda
