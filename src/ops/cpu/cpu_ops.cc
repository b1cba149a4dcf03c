#include "ops/cpu/cpu_ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "base/check.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/one_thread.h"
#include "ops/cpu/packed_linear.h"
#include "ops/cpu/thread_pool.h"
#include "ops/host_memory.h"

namespace quern {
namespace {

const PackedLinear& packed(const LinearWeight& weight) { return static_cast<const PackedLinear&>(weight); }

char* row_at(const Matrix& m, int64_t row) { return static_cast<char*>(m.data) + row * m.stride_bytes(); }
char* at(const Matrix& m, int64_t row, int64_t col) {
  return row_at(m, row) + col * static_cast<int64_t>(dtype_bytes(m.dtype));
}

Error beyond(const char* what, int64_t allowed, int64_t found) {
  return invalid_argument(std::string(what) + ": expected at most " + std::to_string(allowed) + " on the CPU, found " +
                          std::to_string(found));
}

class CpuOps : public Ops {
 public:
  CpuOps(const Kernels& kernels, int threads) : kernels_(kernels), pool_(threads, run_onednn_on_this_thread_only) {
    scratch_.resize(threads);
  }

  std::string_view name() const override { return kernels_.name; }

  /// bf16 only where products of it are native.
  Precision preferred(DType stored) const override {
    // f16 weights lose three bits in bf16: rounding them is for who asks for it. f32 holds them as they are.
    return Precision::all(stored == DType::kBf16 && engine_.has_native_bf16() ? DType::kBf16 : DType::kF32);
  }

  Result<void> prepare(const ModelShape& shape, const Precision& precision) override {
    const DType dtype = precision.activations;
    if (precision.weights == DType::kE4m3 || dtype == DType::kF16)
      return invalid_argument(
          std::string(dtype_name(precision.weights)) + " is computed on a GPU alone; on a CPU: auto, f32, bf16",
          "--dtype");
    if (precision.weights != dtype || precision.kv != dtype)
      return invalid_argument("the CPU computes with one format for activations, weights and K/V", "--dtype");
    if (dtype != DType::kF32 && (dtype != DType::kBf16 || !engine_.has_bf16()))
      return invalid_argument(
          "dtype " + std::string(dtype_name(dtype)) + " is not implemented on this machine; use f32", "--dtype");
    if (shape.head_dim > kHeadDimMax) return beyond("head_dim", kHeadDimMax, shape.head_dim);
    if (shape.head_dim % 2 != 0) return invalid_argument("head_dim: expected an even number");
    const int64_t group = shape.heads / std::max<int64_t>(shape.kv_heads, 1);
    if (group > kAttentionRows) return beyond("query heads for one K/V head", kAttentionRows, group);
    return {};
  }

  std::unique_ptr<Memory> allocate(size_t bytes) override { return std::make_unique<HostMemory>(bytes); }
  void upload(const void* from, size_t bytes, Memory& to) override { upload_to_host(from, bytes, to); }
  std::unique_ptr<LinearWeight> pack(std::span<const ConstMatrix> parts, DType weights) override {
    run_onednn_on_this_thread_only();
    return engine_.pack(parts, weights);
  }
  size_t kv_block_bytes(const KvPages& shape) const override {
    return static_cast<size_t>(kv_block_elements(shape)) * dtype_bytes(shape.dtype);
  }

  void run(const Step&, bool, const std::function<void()>& body) override { body(); }
  std::unique_ptr<Readback> start_read(Matrix x) override { return std::make_unique<HostReadback>(x); }
  void read(Readback& started, std::span<float> out) override { static_cast<HostReadback&>(started).copy_to(out); }

  void embed(const Step& step, const Table& table, Matrix out) override {
    const int64_t row_bytes = table.cols * static_cast<int64_t>(dtype_bytes(table.dtype));
    const char* rows = static_cast<const char*>(table.memory->data);
    each_row(out.rows, [&](int64_t t) {
      kernels_.load_row(rows + step.token_ids[t] * row_bytes, table.dtype, table.cols, out.f32() + t * out.stride);
    });
  }

  void rms_norm(Matrix x, const Vector& weight, float eps, Matrix out) override {
    each_row(x.rows, [&](int64_t t) {
      kernels_.rms_norm(x.f32() + t * x.stride, weight.data(), eps, x.cols, row_at(out, t), out.dtype);
    });
  }

  void linear(Matrix x, const WeightColumns& columns, Matrix out) override {
    each_tile(x, columns, [&](const Tile& tile, int thread) {
      const float* sums = tile_product(x, packed(*columns.weight), *tile.slice, tile, 0, thread);
      for (int64_t r = 0; r < tile.rows; ++r)
        kernels_.store_row(sums + r * tile.stride, tile.cols, at(out, tile.row + r, tile.col), out.dtype);
    });
  }

  void linear_add(Matrix x, const WeightColumns& columns, Matrix residual) override {
    each_tile(x, columns, [&](const Tile& tile, int thread) {
      const float* sums = tile_product(x, packed(*columns.weight), *tile.slice, tile, 0, thread);
      for (int64_t r = 0; r < tile.rows; ++r)
        kernels_.add_row(sums + r * tile.stride, tile.cols,
                         residual.f32() + (tile.row + r) * residual.stride + tile.col);
    });
  }

  void linear_swiglu(Matrix x, const LinearWeight& gate_up, Matrix out) override {
    const PackedLinear& weight = packed(gate_up);
    const auto gates = weight.slices(gate_up.parts(0, 1));
    const auto ups = weight.slices(gate_up.parts(1, 1));
    each_tile(x, gate_up.parts(0, 1), [&](const Tile& tile, int thread) {
      const PackedLinear::Slice& up_slice = ups[tile.slice - gates.data()];  // both parts are cut alike
      const float* gate = tile_product(x, weight, *tile.slice, tile, 0, thread);
      const float* up = tile_product(x, weight, up_slice, tile, 1, thread);
      for (int64_t r = 0; r < tile.rows; ++r)
        kernels_.swiglu(gate + r * tile.stride, up + r * tile.stride, tile.cols, at(out, tile.row + r, tile.col),
                        out.dtype);
    });
  }

  void norm_rope_store(Matrix q, Matrix kv, const Step& step, const Rows& rows, const HeadNormRope& how,
                       const KvPages& pages) override {
    const int64_t d = how.rope->head_dim;
    each_row(rows.count(), [&](int64_t t) {
      const float* cos_sin = how.rope->data() + rows.positions[t] * d;
      const HeadTurn turn{how.q_norm->data(), how.eps, cos_sin, d};
      for (int64_t h = 0; h < q.cols / d; ++h) {
        void* head = at(q, t, h * d);
        kernels_.norm_rope(head, turn, head, 1, q.dtype);
      }
      if (kv.cols > 0) store_kv(kv, t, step.table(rows.sequence_of[t]), rows.positions[t], how, cos_sin, pages);
    });
  }

  void attention(Matrix q, const Step& step, const Rows& rows, const KvPages& pages, Matrix out) override {
    const int64_t d = pages.head_dim;
    const int32_t group = static_cast<int32_t>(q.cols / (pages.heads * d));
    QUERN_CHECK(group <= kAttentionRows, "more query heads for one K/V head than a tile holds");
    const int64_t tile_tokens = kAttentionRows / group;
    tiles_.clear();
    for (const SequenceRows& sequence : rows.sequences) {
      for (int64_t row = 0; row < sequence.row_count; row += tile_tokens) {
        const int64_t first = sequence.row_begin + row;
        const int32_t count = static_cast<int32_t>(std::min(tile_tokens, sequence.row_count - row));
        for (int32_t k = 0; k < pages.heads; ++k) {
          tiles_.push_back({at(q, first, k * group * d), at(out, first, k * group * d), q.stride, out.stride, count,
                            group, sequence.position_begin + row, k, step.table(sequence.sequence)});
        }
      }
    }
    pool_.run(static_cast<int64_t>(tiles_.size()), [&](int64_t index, int thread) {
      // The longest first, so that no thread is left with one at the end.
      const AttentionTile& tile = tiles_[tiles_.size() - 1 - index];
      kernels_.attention(tile, pages, scratch(thread, attention_scratch_floats(d)));
    });
  }

  void gather_last(Matrix x, const Step& step, Matrix out) override {
    const size_t bytes = x.cols * dtype_bytes(x.dtype);
    for (int64_t b = 0; b < out.rows; ++b) std::memcpy(row_at(out, b), row_at(x, step.last_indices[b]), bytes);
  }

  void l2_normalize(Matrix x) override {
    each_row(x.rows, [&](int64_t b) {
      float* row = x.f32() + b * x.stride;
      double total = 0;
      for (int64_t i = 0; i < x.cols; ++i) total += double{row[i]} * row[i];
      if (!(total > 0) || !std::isfinite(total)) return;
      const float scale = static_cast<float>(1.0 / std::sqrt(total));
      for (int64_t i = 0; i < x.cols; ++i) row[i] *= scale;
    });
  }

 private:
  struct alignas(64) PerThread {
    std::vector<float> floats;
    ProductThread products;
  };

  float* scratch(int thread, int64_t floats) {
    std::vector<float>& buffer = scratch_[thread].floats;
    if (static_cast<int64_t>(buffer.size()) < floats) buffer.resize(floats);
    return buffer.data();
  }

  template <typename F>
  void each_row(int64_t rows, const F& work) {
    constexpr int64_t kRows = 16;
    pool_.run((rows + kRows - 1) / kRows, [&](int64_t index, int) {
      for (int64_t t = index * kRows; t < std::min(rows, (index + 1) * kRows); ++t) work(t);
    });
  }

  /// Row t of kv into its place, the keys normed and turned.
  void store_kv(const Matrix& kv, int64_t t, const int32_t* table, int64_t position, const HeadNormRope& how,
                const float* cos_sin, const KvPages& pages) {
    const int64_t d = pages.head_dim;
    const int64_t S = pages.block_tokens;
    const int64_t bytes = static_cast<int64_t>(dtype_bytes(kv.dtype));
    char* block = static_cast<char*>(pages.data) + table[position / S] * kv_block_elements(pages) * bytes;
    const HeadTurn turn{how.k_norm->data(), how.eps, cos_sin, d};
    for (int64_t k = 0; k < pages.heads; ++k) {
      char* key = block + (k * d * S + position % S) * bytes;
      char* value = block + (pages.heads * d * S + (k * S + position % S) * d) * bytes;
      kernels_.norm_rope(at(kv, t, k * d), turn, key, S, kv.dtype);
      std::memcpy(value, at(kv, t, (pages.heads + k) * d), d * bytes);
    }
  }

  /// The rows and columns of a product that one call of oneDNN makes, and from one row of its sums to the next.
  struct Tile {
    const PackedLinear::Slice* slice;
    int64_t row, rows, col, cols, stride;
  };

  /// Calls work(tile, thread) for all tiles of x W^T; a slice's tiles follow each other, so that it stays in L2.
  template <typename F>
  void each_tile(Matrix x, const WeightColumns& columns, const F& work) {
    run_onednn_on_this_thread_only();
    const PackedLinear& weight = packed(*columns.weight);
    const auto slices = weight.slices(columns);
    engine_.prepare(weight, x.rows);
    const int64_t blocks = (x.rows + kTaskRows - 1) / kTaskRows;
    pool_.run(static_cast<int64_t>(slices.size()) * blocks, [&](int64_t index, int thread) {
      const PackedLinear::Slice& slice = slices[index / blocks];
      const int64_t end = std::min(x.rows, (index % blocks + 1) * kTaskRows);
      for (int64_t row = index % blocks * kTaskRows; row < end;) {
        const int64_t rows = engine_.tile_rows(end - row);
        work(Tile{&slice, row, rows, slice.begin - columns.begin, slice.cols, padded_cols(slice.cols)}, thread);
        row += rows;
      }
    });
  }

  /// f32 [rows, cols] in the thread's scratch; `which` keeps two products apart.
  const float* tile_product(Matrix x, const PackedLinear& weight, const PackedLinear::Slice& slice, const Tile& tile,
                            int which, int thread) {
    constexpr int64_t kTile = kTileRows * kSliceCols;
    const int64_t rows = engine_.padded_rows(tile.rows, x.dtype);
    const bool copied = rows != tile.rows || x.stride != x.cols;
    float* floats = scratch(thread, 2 * kTile + (copied ? rows * x.cols : 0));
    float* sums = floats + which * kTile;
    const char* from = row_at(x, tile.row);
    if (copied) {
      char* padded = reinterpret_cast<char*>(floats + 2 * kTile);
      const int64_t row_bytes = x.cols * static_cast<int64_t>(dtype_bytes(x.dtype));
      for (int64_t r = 0; r < tile.rows; ++r) std::memcpy(padded + r * row_bytes, row_at(x, tile.row + r), row_bytes);
      std::memset(padded + tile.rows * row_bytes, 0, (rows - tile.rows) * row_bytes);
      from = padded;
    }
    engine_.multiply(weight, slice, rows, from, sums, scratch_[thread].products);
    return sums;
  }

  const Kernels& kernels_;
  ProductEngine engine_;
  std::vector<PerThread> scratch_;
  std::vector<AttentionTile> tiles_;  // of the current call
  ThreadPool pool_;
};

}  // namespace

Result<std::unique_ptr<Ops>> make_cpu_ops(int threads) {
  auto kernels = select_kernels();
  if (!kernels) return kernels.error();
  return std::unique_ptr<Ops>(std::make_unique<CpuOps>(**kernels, threads));
}

}  // namespace quern
