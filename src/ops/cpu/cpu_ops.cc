#include "ops/cpu/cpu_ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/one_thread.h"
#include "ops/cpu/packed_linear.h"
#include "ops/cpu/thread_pool.h"

namespace quern {
namespace {

const PackedLinear& packed(const LinearWeight& weight) { return static_cast<const PackedLinear&>(weight); }
char* row_at(const Matrix& m, int64_t row) {
  return static_cast<char*>(m.data) + row * m.cols * static_cast<int64_t>(dtype_bytes(m.dtype));
}

void* at(const Matrix& m, int64_t row, int64_t col) {
  return row_at(m, row) + col * static_cast<int64_t>(dtype_bytes(m.dtype));
}

class CpuOps : public Ops {
 public:
  explicit CpuOps(int threads) : kernels_(select_kernels()), pool_(threads, run_onednn_on_this_thread_only) {
    scratch_.resize(threads);
  }

  std::string_view name() const override { return kernels_.name; }
  bool supports(DType compute) const override {
    return compute == DType::kF32 || (compute == DType::kBf16 && engine_.has_bf16());
  }
  DType preferred_dtype() const override { return engine_.has_native_bf16() ? DType::kBf16 : DType::kF32; }
  int threads() const override { return pool_.threads(); }

  std::unique_ptr<LinearWeight> pack(std::span<const ConstMatrix> parts, DType compute) override {
    run_onednn_on_this_thread_only();
    return engine_.pack(parts, compute);
  }

  void embed(std::span<const int32_t> ids, const ConstMatrix& table, Matrix out) override {
    const int64_t row_bytes = table.cols * static_cast<int64_t>(dtype_bytes(table.dtype));
    each_row(out.rows, [&](int64_t t) {
      kernels_.load_row(static_cast<const char*>(table.data) + ids[t] * row_bytes, table.dtype, table.cols,
                        out.f32() + t * out.cols);
    });
  }

  void rms_norm(Matrix x, const float* weight, float eps, Matrix out) override {
    each_row(x.rows, [&](int64_t t) {
      kernels_.rms_norm(x.f32() + t * x.cols, weight, eps, x.cols, row_at(out, t), out.dtype);
    });
  }

  void linear(Matrix x, const LinearWeight& weight, Matrix out) override {
    each_tile(x, packed(weight), [&](const Tile& tile, int thread) {
      const float* sums = tile_product(x, packed(weight), tile, 0, thread);
      for (int64_t r = 0; r < tile.rows; ++r)
        kernels_.store_row(sums + r * tile.stride, tile.cols, at(out, tile.row + r, tile.col), out.dtype);
    });
  }

  void linear_add(Matrix x, const LinearWeight& weight, Matrix residual) override {
    each_tile(x, packed(weight), [&](const Tile& tile, int thread) {
      const float* sums = tile_product(x, packed(weight), tile, 0, thread);
      for (int64_t r = 0; r < tile.rows; ++r)
        kernels_.add_row(sums + r * tile.stride, tile.cols, residual.f32() + (tile.row + r) * residual.cols + tile.col);
    });
  }

  void linear_swiglu(Matrix x, const LinearWeight& gate, const LinearWeight& up, Matrix out) override {
    each_tile(x, packed(gate), [&](const Tile& tile, int thread) {
      const float* gates = tile_product(x, packed(gate), tile, 0, thread);
      const float* ups = tile_product(x, packed(up), tile, 1, thread);
      for (int64_t r = 0; r < tile.rows; ++r)
        kernels_.swiglu(gates + r * tile.stride, ups + r * tile.stride, tile.cols, at(out, tile.row + r, tile.col),
                        out.dtype);
    });
  }

  void norm_rope_q(Matrix q, std::span<const SequenceRows> rows, const HeadNormRope& rope) override {
    positions_of(rows, q.rows);
    const int64_t d = rope.head_dim;
    each_row(q.rows, [&](int64_t t) {
      char* row = row_at(q, t);
      for (int64_t h = 0; h < q.cols / d; ++h) {
        void* head = row + h * d * static_cast<int64_t>(dtype_bytes(q.dtype));
        kernels_.norm_rope(head, rope, positions_[t], d, head, 1, q.dtype);
      }
    });
  }

  void norm_rope_store_kv(Matrix kv, std::span<const SequenceRows> rows, const HeadNormRope& rope,
                          const KvPages& pages) override {
    positions_of(rows, kv.rows);
    const int64_t d = pages.head_dim;
    const int64_t S = pages.block_tokens;
    const int64_t bytes = static_cast<int64_t>(dtype_bytes(kv.dtype));
    each_row(kv.rows, [&](int64_t t) {
      const int64_t position = positions_[t];
      char* block = static_cast<char*>(pages.data) + tables_[t][position / S] * pages.block_elements() * bytes;
      const char* row = row_at(kv, t);
      for (int64_t k = 0; k < pages.heads; ++k) {
        char* key = block + (k * d * S + position % S) * bytes;
        char* value = block + (pages.heads * d * S + (k * S + position % S) * d) * bytes;
        kernels_.norm_rope(row + k * d * bytes, rope, position, d, key, S, kv.dtype);
        std::memcpy(value, row + (pages.heads + k) * d * bytes, d * bytes);
      }
    });
  }

  void attention(Matrix q, std::span<const SequenceRows> rows, const KvPages& pages, Matrix out) override {
    const int32_t group = static_cast<int32_t>(q.cols / (int64_t{pages.heads} * pages.head_dim));
    QUERN_CHECK(group <= kAttentionRows, "more query heads for one K/V head than a tile holds");
    const int64_t tile_tokens = kAttentionRows / group;
    tiles_.clear();
    for (const SequenceRows& sequence : rows) {
      for (int64_t row = 0; row < sequence.row_count; row += tile_tokens) {
        for (int32_t k = 0; k < pages.heads; ++k) {
          const int64_t offset = int64_t{k} * group * pages.head_dim * static_cast<int64_t>(dtype_bytes(q.dtype));
          tiles_.push_back({row_at(q, sequence.row_begin + row) + offset,
                            row_at(out, sequence.row_begin + row) + offset, q.cols,
                            static_cast<int32_t>(std::min(tile_tokens, sequence.row_count - row)), group,
                            sequence.position_begin + row, k, sequence.blocks});
        }
      }
    }
    pool_.run(static_cast<int64_t>(tiles_.size()), [&](int64_t index, int thread) {
      // The longest first, so that no thread is left with one at the end.
      const AttentionTile& tile = tiles_[tiles_.size() - 1 - index];
      kernels_.attention(tile, pages, scratch(thread, attention_scratch_floats(pages.head_dim)));
    });
  }

  void gather_rows(Matrix x, std::span<const int64_t> indices, Matrix out) override {
    const size_t bytes = x.cols * dtype_bytes(x.dtype);
    for (int64_t b = 0; b < out.rows; ++b) std::memcpy(row_at(out, b), row_at(x, indices[b]), bytes);
  }

  void l2_normalize(Matrix x) override {
    each_row(x.rows, [&](int64_t b) {
      float* row = x.f32() + b * x.cols;
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
    ThreadState onednn;
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

  /// The rows and columns of a product that one call of oneDNN makes, and from one row of its sums to the next.
  struct Tile {
    int64_t slice, row, rows, col, cols, stride;
  };

  /// Calls work(tile, thread) for all tiles of x W^T; a slice's tiles follow each other, so that it stays in L2.
  template <typename F>
  void each_tile(Matrix x, const PackedLinear& weight, const F& work) {
    run_onednn_on_this_thread_only();
    engine_.prepare(weight, x.rows);
    const int64_t blocks = (x.rows + kTaskRows - 1) / kTaskRows;
    pool_.run(weight.slices() * blocks, [&](int64_t index, int thread) {
      const int64_t slice = index / blocks;
      const int64_t end = std::min(x.rows, (index % blocks + 1) * kTaskRows);
      for (int64_t row = index % blocks * kTaskRows; row < end;) {
        const int64_t rows = engine_.tile_rows(end - row);
        work(Tile{slice, row, rows, slice * kSliceCols, weight.slice_cols(slice), weight.padded_cols(slice)}, thread);
        row += rows;
      }
    });
  }

  /// f32 [rows, cols] in the thread's scratch; `which` keeps two products apart.
  const float* tile_product(Matrix x, const PackedLinear& weight, const Tile& tile, int which, int thread) {
    constexpr int64_t kTile = kTileRows * kSliceCols;
    const int64_t rows = engine_.padded_rows(tile.rows, x.dtype);
    float* floats = scratch(thread, 2 * kTile + (rows == tile.rows ? 0 : rows * x.cols));
    float* sums = floats + which * kTile;
    const char* from = row_at(x, tile.row);
    if (rows != tile.rows) {
      char* padded = reinterpret_cast<char*>(floats + 2 * kTile);
      const int64_t row_bytes = x.cols * static_cast<int64_t>(dtype_bytes(x.dtype));
      std::memcpy(padded, from, tile.rows * row_bytes);
      std::memset(padded + tile.rows * row_bytes, 0, (rows - tile.rows) * row_bytes);
      from = padded;
    }
    engine_.multiply(weight, tile.slice, rows, from, sums, scratch_[thread].onednn);
    return sums;
  }

  void positions_of(std::span<const SequenceRows> sequences, int64_t rows) {
    positions_.resize(rows);
    tables_.resize(rows);
    for (const SequenceRows& sequence : sequences) {
      for (int64_t i = 0; i < sequence.row_count; ++i) {
        positions_[sequence.row_begin + i] = sequence.position_begin + i;
        tables_[sequence.row_begin + i] = sequence.blocks;
      }
    }
  }

  const Kernels& kernels_;
  ProductEngine engine_;
  std::vector<PerThread> scratch_;
  std::vector<int64_t> positions_;      // of each row of the current op
  std::vector<const int32_t*> tables_;  // page table of each row
  std::vector<AttentionTile> tiles_;
  ThreadPool pool_;
};

}  // namespace

std::unique_ptr<Ops> make_cpu_ops(int threads) { return std::make_unique<CpuOps>(threads); }

}  // namespace quern
