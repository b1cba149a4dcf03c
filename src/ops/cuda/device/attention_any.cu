// Causal attention for every width, layout and format: the plain one. A warp takes a row and a head, a lane the columns
// lane, lane + 32, ..; the softmax is kept up as the positions pass (Milakov and Gimelshein 2018).
#include "ops/cuda/device/device.cuh"
#include "ops/cuda/device/kernels.h"

namespace quern::cuda {
namespace {

constexpr int kWarps = 4;

template <typename E, typename Out, int kPerLane>
__global__ __launch_bounds__(kWarps* kWarp) void attend(const E* q, int64_t q_stride, int heads, const StepView step,
                                                        const RowsView rows, const E* pages, const KvLayout layout,
                                                        float scale, Out* out, int64_t out_stride) {
  const int64_t row = blockIdx.x;
  const int head = blockIdx.y * kWarps + threadIdx.x / kWarp;
  if (head >= heads) return;
  const int lane = threadIdx.x % kWarp;
  const int d = layout.head_dim;
  const int kv_head = head / (heads / layout.heads);
  const int32_t* table = step.block_ids + rows.table_begins[row];
  const int32_t seen = rows.positions[row] + 1;

  float query[kPerLane], mix[kPerLane];
#pragma unroll
  for (int n = 0; n < kPerLane; ++n) {
    const int i = lane + n * kWarp;
    query[n] = i < d ? to_f32(q[row * q_stride + int64_t{head} * d + i]) * scale : 0.0f;
    mix[n] = 0;
  }
  float top = -INFINITY, total = 0;
  for (int32_t p = 0; p < seen; ++p) {
    const E* keys = pages + layout.head_begin(table[p / layout.block_tokens], kv_head);
    const E* values = keys + layout.part_elements();
    const int32_t slot = p % layout.block_tokens;
    float score = 0;
#pragma unroll
    for (int n = 0; n < kPerLane; ++n) {
      const int i = lane + n * kWarp;
      if (i < d) score += query[n] * to_f32(keys[layout.element(slot, i)]);
    }
    score = warp_sum(score);
    const float new_top = fmaxf(top, score);
    const float keep = __expf(top - new_top);
    const float weight = __expf(score - new_top);
    total = total * keep + weight;
    top = new_top;
#pragma unroll
    for (int n = 0; n < kPerLane; ++n) {
      const int i = lane + n * kWarp;
      if (i < d) mix[n] = mix[n] * keep + weight * to_f32(values[layout.element(slot, i)]);
    }
  }
#pragma unroll
  for (int n = 0; n < kPerLane; ++n) {
    const int i = lane + n * kWarp;
    if (i < d) out[row * out_stride + int64_t{head} * d + i] = from_f32<Out>(mix[n] / total);
  }
}

}  // namespace

void attention_any(Matrix q, const StepView& step, const RowsView& rows, const KvPages& pages, const KvLayout& layout,
                   Matrix out, cudaStream_t stream) {
  if (q.rows == 0) return;
  const int heads = static_cast<int>(q.cols / pages.head_dim);
  const float scale = 1.0f / sqrtf(static_cast<float>(pages.head_dim));
  const dim3 grid(static_cast<unsigned>(q.rows), static_cast<unsigned>((heads + kWarps - 1) / kWarps));
  const auto with_output = [&](auto e, auto o) {
    using E = decltype(e);
    using Out = decltype(o);
    const auto launch = [&](auto kernel) {
      kernel<<<grid, kWarps * kWarp, 0, stream>>>(static_cast<const E*>(q.data), q.stride, heads, step, rows,
                                                  static_cast<const E*>(pages.data), layout, scale,
                                                  static_cast<Out*>(out.data), out.stride);
    };
    if (pages.head_dim <= 32) {
      launch(attend<E, Out, 1>);
    } else if (pages.head_dim <= 128) {
      launch(attend<E, Out, 4>);
    } else {
      launch(attend<E, Out, 32>);
    }
  };
  with_type(q.dtype, [&](auto e) { out.dtype == DType::kF32 ? with_output(e, float{}) : with_output(e, e); });
  check_launch("attention_any");
}

}  // namespace quern::cuda
