#include "ops/cpu/packed_linear.h"

#include <cstring>

#include "base/check.h"

namespace quern {
namespace {

using dnnl::memory;

memory::data_type onednn_type(DType dtype) {
  return dtype == DType::kF32 ? memory::data_type::f32 : memory::data_type::bf16;
}
float stored_value(const ConstMatrix& m, int64_t index) {
  if (m.dtype == DType::kF32) return static_cast<const float*>(m.data)[index];
  const uint16_t bits = static_cast<const uint16_t*>(m.data)[index];
  return m.dtype == DType::kBf16 ? bf16_to_f32(bits) : f16_to_f32(bits);
}

/// Row `row` of the stacked parts, as the compute dtype.
void copy_row(std::span<const ConstMatrix> parts, int64_t row, DType compute, char* out) {
  size_t part = 0;
  while (row >= parts[part].rows) row -= parts[part++].rows;
  const ConstMatrix& m = parts[part];
  const size_t bytes = dtype_bytes(compute);
  if (m.dtype == compute) {
    std::memcpy(out, static_cast<const char*>(m.data) + row * m.cols * bytes, m.cols * bytes);
    return;
  }
  for (int64_t i = 0; i < m.cols; ++i) {
    const float value = stored_value(m, row * m.cols + i);
    if (compute == DType::kF32) {
      reinterpret_cast<float*>(out)[i] = value;
    } else {
      reinterpret_cast<bf16*>(out)[i] = f32_to_bf16(value);
    }
  }
}

}  // namespace

size_t PackedLinear::bytes() const {
  size_t total = 0;
  for (const memory& slice : slices_) total += slice.get_desc().get_size();
  return total;
}

ProductEngine::ProductEngine()
    : brgemm_(has_bf16()),
      amx_(brgemm_ && dnnl::get_effective_cpu_isa() >= dnnl::cpu_isa::avx512_core_amx),
      engine_(dnnl::engine::kind::cpu, 0),
      stream_(engine_) {}

bool ProductEngine::has_bf16() const {
  // Compared through what each level includes: AVX512_CORE emulates bf16, everything above has it.
  const auto isa = dnnl::get_effective_cpu_isa();
  return isa >= dnnl::cpu_isa::avx512_core && isa != dnnl::cpu_isa::avx2_vnni;
}
bool ProductEngine::has_native_bf16() const {
  const auto isa = dnnl::get_effective_cpu_isa();
  return isa >= dnnl::cpu_isa::avx512_core_bf16 && isa != dnnl::cpu_isa::avx2_vnni;
}

std::unique_ptr<LinearWeight> ProductEngine::pack(std::span<const ConstMatrix> parts, DType compute) {
  auto packed = std::make_unique<PackedLinear>();
  packed->dtype_ = compute;
  packed->in_cols = parts[0].cols;
  for (const ConstMatrix& part : parts) packed->out_cols += part.rows;
  const int64_t slices = (packed->out_cols + kSliceCols - 1) / kSliceCols;
  const int64_t row_bytes = packed->in_cols * static_cast<int64_t>(dtype_bytes(compute));
  std::vector<char> rows(kSliceCols * row_bytes);
  for (int64_t s = 0; s < slices; ++s) {
    const int64_t cols = packed->padded_cols(s);
    const int64_t filled = packed->slice_cols(s);
    for (int64_t i = 0; i < filled; ++i) copy_row(parts, s * kSliceCols + i, compute, rows.data() + i * row_bytes);
    std::memset(rows.data() + filled * row_bytes, 0, (cols - filled) * row_bytes);
    const auto type = onednn_type(compute);
    const memory plain({{packed->in_cols, cols}, type, memory::format_tag::ba}, engine_, rows.data());
    // The layout that a full tile likes; it serves every row count.
    const memory::desc x({kTileRows, packed->in_cols}, type, memory::format_tag::ab);
    const memory::desc any({packed->in_cols, cols}, type, memory::format_tag::any);
    const memory::desc y({kTileRows, cols}, memory::data_type::f32, memory::format_tag::ab);
    const dnnl::matmul::primitive_desc wanted(dnnl::matmul::desc(x, any, y), engine_);
    memory slice(wanted.weights_desc(), engine_);
    dnnl::reorder(plain, slice).execute(stream_, const_cast<memory&>(plain), slice);
    stream_.wait();
    packed->slices_.push_back(std::move(slice));
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
  for (const int64_t slice : {int64_t{0}, weight.slices() - 1}) {
    const Key key{weight.in_cols, weight.padded_cols(slice), weight.dtype_};
    auto& by_rows = primitives_[key];
    const auto need = [&](int64_t m) {
      if (!by_rows[m]) by_rows[m] = make(m, key, weight.slices_[slice].get_desc());
    };
    for (const int64_t task : {std::min(rows, kTaskRows), rows % kTaskRows}) {
      for (int64_t left = task; left > 0; left -= tile_rows(left)) need(padded_rows(tile_rows(left), weight.dtype_));
    }
  }
}

dnnl::matmul ProductEngine::make(int64_t rows, const Key& key, const memory::desc& weights) const {
  const auto& [in_cols, cols, dtype] = key;
  dnnl::primitive_attr attributes;
  // The caller's scratchpad: the library's own would be shared by the threads that run this primitive.
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const memory::desc x({rows, in_cols}, onednn_type(dtype), memory::format_tag::ab);
  const memory::desc y({rows, cols}, memory::data_type::f32, memory::format_tag::ab);
  return dnnl::matmul(dnnl::matmul::primitive_desc(dnnl::matmul::desc(x, weights, y), attributes, engine_));
}

void ProductEngine::multiply(const PackedLinear& weight, int64_t slice, int64_t rows, const void* x, float* out,
                             ThreadState& state) const {
  const auto found = primitives_.find({weight.in_cols, weight.padded_cols(slice), weight.dtype_});
  QUERN_CHECK(found != primitives_.end() && found->second[rows], "a product that was not prepared");
  const dnnl::matmul& primitive = found->second[rows];
  const auto shape = [&](int query) {
    return memory::desc(*dnnl_primitive_desc_query_md(primitive.get_primitive_desc(), dnnl_query_exec_arg_md, query));
  };
  const memory::desc scratchpad = shape(DNNL_ARG_SCRATCHPAD);
  if (state.scratchpad.size() < scratchpad.get_size() + 64) state.scratchpad.resize(scratchpad.get_size() + 64);
  char* aligned = state.scratchpad.data() + (64 - reinterpret_cast<uintptr_t>(state.scratchpad.data()) % 64) % 64;
  dnnl::stream stream = stream_;
  primitive.execute(stream, {{DNNL_ARG_SRC, memory(shape(DNNL_ARG_SRC), engine_, const_cast<void*>(x))},
                             {DNNL_ARG_WEIGHTS, weight.slices_[slice]},
                             {DNNL_ARG_DST, memory(shape(DNNL_ARG_DST), engine_, out)},
                             {DNNL_ARG_SCRATCHPAD, memory(scratchpad, engine_, aligned)}});
}

}  // namespace quern
