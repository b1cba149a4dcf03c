// PackedLinear and ProductEngine: matrix products by oneDNN, one slice of columns and one tile of rows at a time.
//
// Why not one oneDNN call for the whole product: its threads would split the work by their number. Here a product is
// cut into slices of kSliceCols columns, packed apart, and tiles of rows from a fixed set of sizes; each piece runs
// oneDNN on one thread. Measured (oneDNN 2.6.3, brgemm, AVX512-BF16 and AVX512 f32, K 54..4096, rows 2..256): a row's
// bits do not depend on the number of rows in the call, and a tile of 64 rows runs at the speed of any larger one. So
// rows are independent of the batch by construction, and the primitives are bounded: at most 19 row counts for each
// slice shape. The exceptions, also measured, are in padded_rows() and padded_cols().
#pragma once

#include <algorithm>
#include <array>
#include <dnnl.hpp>
#include <map>
#include <memory>
#include <span>
#include <tuple>
#include <vector>

#include "ops/ops.h"

namespace quern {

constexpr int64_t kSliceCols = 128;  // of a weight: one slice of any model here stays in a core's L2
constexpr int64_t kColsMultiple = 32;
constexpr int64_t kTileRows = 64;
constexpr int64_t kTaskRows = 256;  // rows that one task takes past its slice

class PackedLinear : public LinearWeight {
 public:
  size_t bytes() const override;
  int64_t slices() const { return static_cast<int64_t>(slices_.size()); }
  int64_t slice_cols(int64_t slice) const { return std::min(kSliceCols, out_cols - slice * kSliceCols); }
  /// What a slice is packed and multiplied as, its last columns 0: with AMX, oneDNN gives 16 rows of 16 columns to
  /// AVX-512, which sums in another order than AMX does for 17 (measured; no row count of 32 columns or more differs).
  int64_t padded_cols(int64_t slice) const {
    return (slice_cols(slice) + kColsMultiple - 1) / kColsMultiple * kColsMultiple;
  }

 private:
  friend class ProductEngine;
  DType dtype_ = DType::kF32;
  std::vector<dnnl::memory> slices_;
};

/// What one thread needs to run primitives.
struct ThreadState {
  std::vector<char> scratchpad;
};

class ProductEngine {
 public:
  ProductEngine();
  bool has_bf16() const;
  /// bf16 products by AVX512-BF16 or AMX, not emulated.
  bool has_native_bf16() const;

  std::unique_ptr<LinearWeight> pack(std::span<const ConstMatrix> parts, DType compute);
  /// The next tile of `rows_left` rows: by brgemm 64, 48, 32, 16, or what is below 16; by other kernels up to 60.
  int64_t tile_rows(int64_t rows_left) const;
  /// The rows that a tile of `rows` must be padded to, so that every row is summed in one order (measured): brgemm may
  /// sum a lone f32 row in another, and with AMX leaves up to 4 bf16 rows to AVX-512; the older kernels work on 6 rows
  /// at a time and sum the 1 to 3 last ones in another.
  int64_t padded_rows(int64_t rows, DType dtype) const;
  /// Makes the primitives that a product of `rows` rows needs. Not at the same time as multiply().
  void prepare(const PackedLinear& weight, int64_t rows);
  /// out f32 [rows, padded_cols], dense = x E [rows, C] times one slice. Dense, because oneDNN 2.6 falls back to its
  /// reference loops, a hundred times slower, when the output has a stride. Any thread, after prepare().
  void multiply(const PackedLinear& weight, int64_t slice, int64_t rows, const void* x, float* out,
                ThreadState& state) const;

 private:
  using Key = std::tuple<int64_t, int64_t, DType>;  // C, padded columns
  dnnl::matmul make(int64_t rows, const Key& key, const dnnl::memory::desc& weights) const;

  bool brgemm_ = false;  // AVX512 and later
  bool amx_ = false;
  dnnl::engine engine_;
  dnnl::stream stream_;
  std::map<Key, std::array<dnnl::matmul, kTileRows + 1>> primitives_;
};

}  // namespace quern
