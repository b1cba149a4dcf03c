#include "ops/cpu/packed_linear.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace quern {
namespace {

using dnnl::memory;

memory::data_type onednn_type(DType dtype) {
  return dtype == DType::kF32 ? memory::data_type::f32 : memory::data_type::bf16;
}

/// One row, as the compute dtype.
void copy_row(const ConstMatrix& m, int64_t row, DType dtype, char* out) {
  const size_t bytes = dtype_bytes(dtype);
  if (m.dtype == dtype) {
    std::memcpy(out, static_cast<const char*>(m.data) + row * m.cols * bytes, m.cols * bytes);
    return;
  }
  for (int64_t i = 0; i < m.cols; ++i) {
    const float value = stored_value(m, row * m.cols + i);
    if (dtype == DType::kF32) {
      reinterpret_cast<float*>(out)[i] = value;
    } else {
      reinterpret_cast<bf16*>(out)[i] = f32_to_bf16(value);
    }
  }
}

}  // namespace

size_t PackedLinear::bytes() const {
  size_t total = 0;
  for (const Slice& slice : slices_) total += slice.values.get_desc().get_size();
  return total;
}

std::span<const PackedLinear::Slice> PackedLinear::slices(const WeightColumns& columns) const {
  const auto at = [&](int64_t begin) {
    return std::partition_point(slices_.begin(), slices_.end(), [&](const Slice& s) { return s.begin < begin; });
  };
  return {at(columns.begin), at(columns.begin + columns.count)};
}

ProductEngine::ProductEngine()
    : brgemm_(has_bf16()),
      amx_(brgemm_ && dnnl::get_effective_cpu_isa() >= dnnl::cpu_isa::avx512_core_amx),
      engine_(dnnl::engine::kind::cpu, 0),
      stream_(engine_) {
  // An allocation that fails inside the library leaves its cache of primitives with a key into freed memory. Nothing is
  // lost without it: what is used again is kept here.
  dnnl::set_primitive_cache_capacity(0);
}

bool ProductEngine::has_bf16() const {
  // Compared through what each level includes: AVX512_CORE emulates bf16, everything above has it.
  const auto isa = dnnl::get_effective_cpu_isa();
  return isa >= dnnl::cpu_isa::avx512_core && isa != dnnl::cpu_isa::avx2_vnni;
}
bool ProductEngine::has_native_bf16() const {
  const auto isa = dnnl::get_effective_cpu_isa();
  return isa >= dnnl::cpu_isa::avx512_core_bf16 && isa != dnnl::cpu_isa::avx2_vnni;
}

std::unique_ptr<LinearWeight> ProductEngine::pack(std::span<const ConstMatrix> parts, DType weights) {
  auto packed = std::make_unique<PackedLinear>();
  packed->dtype_ = weights;
  packed->in_cols = parts[0].cols;
  packed->part_begins = {0};
  const auto type = onednn_type(weights);
  const int64_t row_bytes = packed->in_cols * static_cast<int64_t>(dtype_bytes(weights));
  std::vector<char> rows(kSliceCols * row_bytes);
  dnnl::reorder reorder;  // all slices but the last ones of the parts are alike
  int64_t reorder_cols = 0;
  for (const ConstMatrix& part : parts) {
    const int64_t part_begin = packed->part_begins.back();
    for (int64_t row = 0; row < part.rows; row += kSliceCols) {
      const int64_t filled = std::min(kSliceCols, part.rows - row);
      const int64_t cols = padded_cols(filled);
      for (int64_t i = 0; i < filled; ++i) copy_row(part, row + i, weights, rows.data() + i * row_bytes);
      std::memset(rows.data() + filled * row_bytes, 0, (cols - filled) * row_bytes);
      memory plain({{packed->in_cols, cols}, type, memory::format_tag::ba}, engine_, rows.data());
      // The layout that a full tile likes; it serves every row count.
      const memory::desc x({kTileRows, packed->in_cols}, type, memory::format_tag::ab);
      const memory::desc any({packed->in_cols, cols}, type, memory::format_tag::any);
      const memory::desc y({kTileRows, cols}, memory::data_type::f32, memory::format_tag::ab);
      const dnnl::matmul::primitive_desc wanted(dnnl::matmul::desc(x, any, y), engine_);
      memory values(wanted.weights_desc(), engine_);
      if (std::exchange(reorder_cols, cols) != cols) reorder = dnnl::reorder(plain, values);
      reorder.execute(stream_, plain, values);
      stream_.wait();
      packed->slices_.push_back({part_begin + row, filled, std::move(values)});
    }
    packed->part_begins.push_back(part_begin + part.rows);
  }
  return packed;
}

int64_t ProductEngine::tile_rows(int64_t rows_left) const {
  if (!brgemm_) return std::min<int64_t>(rows_left, 60);
  return rows_left < 16 ? rows_left : std::min(rows_left / 16 * 16, kTileRows);
}

int64_t ProductEngine::padded_rows(int64_t rows, DType dtype) const {
  constexpr int64_t kAmxTileRows = 16;
  if (!brgemm_) return (rows + 5) / 6 * 6;
  return std::max<int64_t>(amx_ && dtype == DType::kBf16 ? kAmxTileRows : 2, rows);
}

void ProductEngine::prepare(const PackedLinear& weight, int64_t rows) {
  int64_t done_cols = 0;
  for (const PackedLinear::Slice& slice : weight.slices()) {
    if (padded_cols(slice.cols) == done_cols) continue;  // all but the last ones of the parts are alike
    done_cols = padded_cols(slice.cols);
    const Key key{weight.in_cols, done_cols, weight.dtype_};
    auto& by_rows = products_[key];
    const auto need = [&](int64_t m) {
      if (!by_rows[m]) by_rows[m] = make(m, key, slice.values.get_desc());
    };
    for (const int64_t task : {std::min(rows, kTaskRows), rows % kTaskRows}) {
      for (int64_t left = task; left > 0; left -= tile_rows(left)) need(padded_rows(tile_rows(left), weight.dtype_));
    }
  }
}

std::unique_ptr<Product> ProductEngine::make(int64_t rows, const Key& key, const memory::desc& weights) const {
  const auto& [in_cols, cols, dtype] = key;
  dnnl::primitive_attr attributes;
  // The caller's scratchpad: the library's own would be shared by the threads that run this primitive.
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const memory::desc x({rows, in_cols}, onednn_type(dtype), memory::format_tag::ab);
  const memory::desc y({rows, cols}, memory::data_type::f32, memory::format_tag::ab);
  const dnnl::matmul::primitive_desc wanted(dnnl::matmul::desc(x, weights, y), attributes, engine_);
  return std::make_unique<Product>(Product{dnnl::matmul(wanted), x, y, wanted.scratchpad_desc()});
}

void ProductEngine::multiply(const PackedLinear& weight, const PackedLinear::Slice& slice, int64_t rows, const void* x,
                             float* sums, ProductThread& thread) const {
  const auto found = products_.find({weight.in_cols, padded_cols(slice.cols), weight.dtype_});
  QUERN_CHECK(found != products_.end() && found->second[rows], "a product that was not prepared");
  const Product& product = *found->second[rows];
  auto known = thread.arguments_.find(&product);
  if (known == thread.arguments_.end()) {
    std::unordered_map<int, memory> made{{DNNL_ARG_SRC, memory(product.x, engine_, nullptr)},
                                         {DNNL_ARG_WEIGHTS, slice.values},
                                         {DNNL_ARG_DST, memory(product.sums, engine_, nullptr)},
                                         {DNNL_ARG_SCRATCHPAD, memory(product.scratchpad, engine_, nullptr)}};
    known = thread.arguments_.emplace(&product, std::move(made)).first;
  }
  const size_t scratchpad_bytes = product.scratchpad.get_size() + 64;
  if (thread.scratchpad_.size() < scratchpad_bytes) thread.scratchpad_.resize(scratchpad_bytes);
  char* scratchpad = thread.scratchpad_.data();
  scratchpad += (64 - reinterpret_cast<uintptr_t>(scratchpad) % 64) % 64;
  auto& arguments = known->second;
  arguments.at(DNNL_ARG_SRC).set_data_handle(const_cast<void*>(x));
  arguments.at(DNNL_ARG_WEIGHTS) = slice.values;
  arguments.at(DNNL_ARG_DST).set_data_handle(sums);
  arguments.at(DNNL_ARG_SCRATCHPAD).set_data_handle(scratchpad);
  dnnl::stream stream = stream_;
  product.primitive.execute(stream, arguments);
}

}  // namespace quern
