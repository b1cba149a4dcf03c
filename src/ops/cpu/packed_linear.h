// PackedLinear and ProductEngine: matrix products by oneDNN, one slice of columns and one tile of rows at a time.
//
// Why not one oneDNN call for the whole product: its threads would split the work by their number. Here a product is
// cut into slices of kSliceCols columns, packed apart, and tiles of rows from a fixed set of sizes; each piece runs
// oneDNN on one thread. Measured (oneDNN 2.6.3, brgemm, AVX512-BF16 and AVX512 f32, K 54..4096, rows 2..256): a row's
// bits do not depend on the number of rows in the call, and a tile of 64 rows runs at the speed of any larger one. So
// rows are independent of the batch by construction, and the primitives are bounded: at most 19 row counts for each
// slice shape. The exceptions, also measured, are in padded_rows() and padded_cols().
#pragma once

#include <array>
#include <dnnl.hpp>
#include <map>
#include <memory>
#include <span>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "ops/ops.h"

namespace quern {

constexpr int64_t kSliceCols = 128;  // of a weight: one slice of any model here stays in a core's L2
constexpr int64_t kColsMultiple = 32;
constexpr int64_t kTileRows = 64;
constexpr int64_t kTaskRows = 256;  // rows that one task takes past its slice

/// What a slice is packed and multiplied as, its last columns 0: with AMX, oneDNN gives 16 rows of 16 columns to
/// AVX-512, which sums in another order than AMX does for 17 (measured; no row count of 32 columns or more differs).
constexpr int64_t padded_cols(int64_t cols) { return (cols + kColsMultiple - 1) / kColsMultiple * kColsMultiple; }

class PackedLinear : public LinearWeight {
 public:
  /// Columns [begin, begin + cols) of the weight; no slice crosses a part's border.
  struct Slice {
    int64_t begin = 0;
    int64_t cols = 0;
    dnnl::memory values;  // [C, padded_cols(cols)]
  };

  size_t bytes() const override;
  std::span<const Slice> slices() const { return slices_; }
  /// The slices of some parts.
  std::span<const Slice> slices(const WeightColumns& columns) const;
  DType dtype() const { return dtype_; }

 private:
  friend class ProductEngine;
  DType dtype_ = DType::kF32;
  std::vector<Slice> slices_;
};

/// One primitive, and the shapes of what it is called with.
struct Product {
  dnnl::matmul primitive;
  dnnl::memory::desc x, sums, scratchpad;
};

/// What one thread needs to run products: the arguments of each, made once and pointed elsewhere for each call.
class ProductThread {
 private:
  friend class ProductEngine;
  std::unordered_map<const Product*, std::unordered_map<int, dnnl::memory>> arguments_;
  std::vector<char> scratchpad_;
};

class ProductEngine {
 public:
  ProductEngine();
  bool has_bf16() const;
  /// bf16 products by AVX512-BF16 or AMX, not emulated.
  bool has_native_bf16() const;

  std::unique_ptr<LinearWeight> pack(std::span<const ConstMatrix> parts, DType weights);
  /// The next tile of `rows_left` rows: by brgemm 64, 48, 32, 16, or what is below 16; by other kernels up to 60.
  int64_t tile_rows(int64_t rows_left) const;
  /// The rows that a tile of `rows` must be padded to, so that every row is summed in one order (measured): brgemm may
  /// sum a lone f32 row in another, and with AMX leaves up to 4 bf16 rows to AVX-512; the older kernels work on 6 rows
  /// at a time and sum the 1 to 3 last ones in another.
  int64_t padded_rows(int64_t rows, DType dtype) const;
  /// Makes the primitives that a product of `rows` rows needs. Not at the same time as multiply().
  void prepare(const PackedLinear& weight, int64_t rows);
  /// sums f32 [rows, padded_cols], dense = x E [rows, C], dense, times one slice. Dense, because oneDNN 2.6 falls back
  /// to its reference loops, a hundred times slower, when the output has a stride. Any thread, each with a
  /// ProductThread of its own, after prepare().
  void multiply(const PackedLinear& weight, const PackedLinear::Slice& slice, int64_t rows, const void* x, float* sums,
                ProductThread& thread) const;

 private:
  using Key = std::tuple<int64_t, int64_t, DType>;  // C, padded columns
  std::unique_ptr<Product> make(int64_t rows, const Key& key, const dnnl::memory::desc& weights) const;

  bool brgemm_ = false;  // AVX512 and later
  bool amx_ = false;
  dnnl::engine engine_;
  dnnl::stream stream_;
  std::map<Key, std::array<std::unique_ptr<Product>, kTileRows + 1>> products_;
};

}  // namespace quern
