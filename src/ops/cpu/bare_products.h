// BareProducts: a model's matrix products and nothing else, through oneDNN alone: the ceiling that a benchmark compares
// with.
//
// Owns random packed weights for every layer, so that they come from memory as a model's do, and one slice of each for
// every thread. Used from one thread; run_seconds() starts its own.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "tensor/dtype.h"

namespace quern {

/// y [rows, out_cols] = x [rows, in_cols] W^T.
struct ProductShape {
  int64_t rows = 0;
  int64_t in_cols = 0;
  int64_t out_cols = 0;

  double flops() const {
    return 2.0 * static_cast<double>(rows) * static_cast<double>(in_cols) * static_cast<double>(out_cols);
  }
};

class BareProducts {
 public:
  /// `layers[l]` are layer l's products. Each product's columns are split evenly over `threads`; threads never wait for
  /// each other.
  BareProducts(const std::vector<std::vector<ProductShape>>& layers, DType dtype, int threads);
  ~BareProducts();

  /// Wall-clock seconds of one pass over all layers on all threads, each pinned to a core.
  double run_seconds();
  double flops() const { return flops_; }

 private:
  struct Slice;
  std::vector<std::unique_ptr<Slice>> slices_;  // one for each thread
  double flops_ = 0;
};

/// Bytes per second that `threads` threads read from memory together (a buffer larger than any cache). Takes about a
/// second.
double read_bytes_per_second(int threads);

}  // namespace quern
