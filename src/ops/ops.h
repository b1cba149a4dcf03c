// Ops: the vocabulary that the model is written in. Each device has one implementation; ops/naive.h is the readable
// oracle, ops/cpu/cpu_ops.h the fast one.
//
// The contract:
//   - Calls are enqueued in order and see what earlier ones wrote. Only read() waits.
//   - Memory, weights, vectors and tables are handles that the Ops gave out; addresses are the device's.
//   - One Step for each forward pass carries what is per row and per sequence. run(step, body) brings it to the device.
//   - The result for one row (one span) depends on that row (span) alone, whatever else is in the call: bit for bit on
//     the CPU, within a stated bound elsewhere.
//   - A failure of the machine (memory, library, device) is an exception derived from std::exception, from any call;
//     LocalRunner catches it. What a call has written is then undefined; the next pass works, unless the device is
//     gone.
//   - One thread at a time.
//
// Shapes: T tokens, B pooled rows, D hidden, H query heads, K key/value heads, d head width, F intermediate, N and C
// the outputs and inputs of a product, M = T or B. Matrices are row-major; rows may have a stride. "E" is
// Precision::activations, "X" Precision::inputs(); sums are f32 always, and so is the residual stream.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "ops/memory.h"
#include "ops/step.h"

namespace quern {

/// In which formats a model is computed. Each Ops says in prepare() which combinations it has.
///
/// Weights of e4m3 have an f32 scale for each output, and then what a product reads is e4m3 too, with an exponent for
/// 128 columns of a row (tensor/e4m3.h); what it gives is E as ever, or f32 where it is added to the residual stream.
struct Precision {
  DType activations = DType::kF32;
  DType weights = DType::kF32;
  DType kv = DType::kF32;

  /// Of what products read.
  DType inputs() const { return weights == DType::kE4m3 ? weights : activations; }

  static Precision all(DType dtype) { return {dtype, dtype, dtype}; }
  /// What is meant by one name: e4m3 is for products alone, the rest is bf16.
  static Precision of(DType dtype) {
    return dtype == DType::kE4m3 ? Precision{DType::kBf16, dtype, DType::kBf16} : all(dtype);
  }
};

/// A model and the largest step, in the numbers on which an Ops may have limits.
struct ModelShape {
  int64_t hidden_size = 0;        // D
  int64_t heads = 0;              // H
  int64_t kv_heads = 0;           // K, divides H
  int64_t head_dim = 0;           // d
  int64_t intermediate_size = 0;  // F
  int64_t vocab_size = 0;
  int64_t tokens_max = 0;     // T of the largest step
  int64_t sequences_max = 0;  // of a step, and so its B
  int64_t positions_max = 0;  // of a sequence
  int32_t kv_blocks = 0;
  int32_t block_tokens = 0;
};

/// The K/V pages of one layer: `blocks` blocks, kv_block_bytes() apart. Their layout is the Ops' own affair.
struct KvPages {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int32_t blocks = 0;
  int32_t block_tokens = 0;
  int32_t heads = 0;  // K
  int32_t head_dim = 0;
};

/// The memory of a device that has its own.
struct DeviceRoom {
  size_t total_bytes = 0;
  size_t free_bytes = 0;  // what is in use is also the context's and other processes'
};

/// RMSNorm of each head, then rotary embedding (half-split pairs, as Qwen3).
struct HeadNormRope {
  const Vector* q_norm = nullptr;  // [d]
  const Vector* k_norm = nullptr;  // [d]
  float eps = 0;
  const RopeTable* rope = nullptr;
};

class Ops {
 public:
  virtual ~Ops() = default;

  virtual std::string_view name() const = 0;
  /// A GPU's PCI bus id, by which its driver knows it whatever the order in which devices are shown; else "".
  virtual std::string bus_id() const { return ""; }
  /// What to compute a checkpoint in that is stored as `stored`.
  virtual Precision preferred(DType stored) const = 0;
  /// Called once, before anything is allocated: an Error that names the first thing of the model or of `precision` that
  /// this Ops cannot compute, and what it can. A device sizes its staging memory here.
  virtual Result<void> prepare(const ModelShape& shape, const Precision& precision) = 0;

  virtual std::unique_ptr<Memory> allocate(size_t bytes) = 0;
  /// Copies `bytes` from the host into the first ones of `to`; the host's may go when it returns. For loading only.
  virtual void upload(const void* from, size_t bytes, Memory& to) = 0;
  /// Copies `parts`, all of one width, into one packed weight of dtype `weights`.
  virtual std::unique_ptr<LinearWeight> pack(std::span<const ConstMatrix> parts, DType weights) = 0;
  /// The bytes of one block of such pages.
  virtual size_t kv_block_bytes(const KvPages& shape) const = 0;
  /// What it will take for itself from prepare() on, beside what it gives out: scratch, tables, the kernels' code.
  virtual size_t scratch_bytes(const ModelShape&, const Precision&) const { return 0; }
  /// Now; nothing where the device's memory is the host's.
  virtual std::optional<DeviceRoom> room() const { return std::nullopt; }

  /// Runs `body`, which calls the ops below, on `step`; `step` may change when it returns. With `repeats`, every body
  /// run so enqueues the same ops for steps of the same sizes, so that a device may capture and replay them.
  virtual void run(const Step& step, bool repeats, const std::function<void()>& body) = 0;
  /// Enqueues a copy of x, [rows, cols] of any format, to the host.
  virtual std::unique_ptr<Readback> start_read(Matrix x) = 0;
  /// Waits for it; out [rows * cols], dense, as f32.
  virtual void read(Readback& started, std::span<float> out) = 0;
  /// Whether read() would not wait. Does not throw.
  virtual bool is_done(const Readback&) const { return true; }
  /// To be asked after an exception: whether the device is gone, so that no later call will succeed. Does not throw.
  virtual bool is_lost() const { return false; }

  /// out f32 [T, D] = table[step.token_ids[t]].
  virtual void embed(const Step& step, const Table& table, Matrix out) = 0;
  /// out X or f32 [M, D] = x / sqrt(mean(x^2) + eps) * weight; x f32 [M, D]. (Zhang and Sennrich 2019)
  virtual void rms_norm(Matrix x, const Vector& weight, float eps, Matrix out) = 0;
  /// out E [M, N] = x W^T; x X [M, C].
  virtual void linear(Matrix x, const WeightColumns& weight, Matrix out) = 0;
  /// residual f32 [M, N] += x W^T, summed over the ranks where a weight is split by its inputs; x X [M, C].
  virtual void linear_add(Matrix x, const WeightColumns& weight, Matrix residual) = 0;
  /// out X [M, F] = silu(x Wgate^T) * (x Wup^T), the two parts of `gate_up`; x X [M, C]. (Shazeer 2020)
  virtual void linear_swiglu(Matrix x, const LinearWeight& gate_up, Matrix out) = 0;
  /// Norms and rotates the heads of q E [M, H d] in place; norms and rotates the keys of kv E [M, 2 K d] (keys, then
  /// values) and stores both in the pages of their positions, leaving kv undefined. A q or kv of no columns is left
  /// out. `rows`, of `step`, are those of q and kv.
  virtual void norm_rope_store(Matrix q, Matrix kv, const Step& step, const Rows& rows, const HeadNormRope& how,
                               const KvPages& pages) = 0;
  /// Causal attention with grouped heads: a row at position p sees positions 0..p of its sequence.
  /// out X [M, H d]; q E [M, H d]; scores are scaled by 1 / sqrt(d). `rows`, of `step`, are those of q.
  virtual void attention(Matrix q, const Step& step, const Rows& rows, const KvPages& pages, Matrix out) = 0;
  /// out [B, D] = x[step.last_indices[b]], both of one dtype.
  virtual void gather_last(Matrix x, const Step& step, Matrix out) = 0;
  /// x f32 [B, D] = x / |x|, in place; a row whose norm is zero or not finite stays as it is.
  virtual void l2_normalize(Matrix x) = 0;
};

/// Values brought to the device.
Vector make_vector(Ops& ops, std::span<const float> values);
Table make_table(Ops& ops, const ConstMatrix& values);
RopeTable make_rope_table(Ops& ops, double theta, int64_t head_dim, int64_t positions);

}  // namespace quern
