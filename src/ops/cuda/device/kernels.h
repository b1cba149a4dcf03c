// The kernels' launchers, one file each, named as the ops. Each enqueues on `stream` and throws Failure where the
// launch is refused. Matrices are the device's; E is f32, bf16 or f16, sums are f32.
#pragma once

#include <cuda_runtime.h>

#include "ops/cuda/device/device_step.h"
#include "ops/cuda/device/kv_layout.h"
#include "ops/ops.h"

namespace quern::cuda {

void embed(const StepView& step, const Table& table, Matrix out, cudaStream_t stream);
void rms_norm(Matrix x, const float* weight, float eps, Matrix out, cudaStream_t stream);
/// q or kv without columns is left out. The rest of the last block of each span is made 0 in V.
void norm_rope_store(Matrix q, Matrix kv, const StepView& step, const RowsView& rows, const HeadNormRope& how,
                     const KvPages& pages, const KvLayout& layout, cudaStream_t stream);
/// out [T, F] from gate_up [T, 2 F].
void swiglu(Matrix gate_up, Matrix out, cudaStream_t stream);
void gather_last(Matrix x, const StepView& step, Matrix out, cudaStream_t stream);
void l2_normalize(Matrix x, cudaStream_t stream);
/// Any width, any layout, any format, `out` f32 too: a warp for each row and head.
void attention_any(Matrix q, const StepView& step, const RowsView& rows, const KvPages& pages, const KvLayout& layout,
                   Matrix out, cudaStream_t stream);

constexpr int32_t kHopperTileRows = 128;  // tokens times query heads of one K/V head
constexpr size_t kHopperPageBytesMax = 128 * 128 * 2;
/// bf16 or f16, `out` e4m3 too, d = 128, tiled pages, compute capability 9.0. `zeros` holds a page's K, all 0. `groups`
/// is how many blocks of threads the device runs at once.
void attention_hopper(Matrix q, const StepView& step, const RowsView& rows, const KvPages& pages, const void* zeros,
                      int groups, Matrix out, cudaStream_t stream);

/// What becomes of a product: out = it, out += it (f32), or out = silu(its first half) * its second half.
enum class ProductEnd { kStore, kAdd, kSwiglu };
/// Whether linear_few() can do it: bf16 or f16 and at most 32 rows. It needs compute capability 9.0 or more.
bool linear_few_takes(const Matrix& x, const Matrix& out);
/// `weight` dense [N, C] (for kSwiglu [2 F, C]), aligned to 16 bytes.
void linear_few(ProductEnd end, Matrix x, const void* weight, Matrix out, cudaStream_t stream);

/// A weight of e4m3: values dense [N, C], an f32 scale for each output.
struct E4m3Weight {
  const void* values;
  const float* scales;
};
/// The same products of e4m3; kSwiglu gives e4m3 too. Every shape and device.
void linear_e4m3_any(ProductEnd end, Matrix x, const E4m3Weight& weight, Matrix out, cudaStream_t stream);
/// At most 32 rows, compute capability 9.0 or more; of kSwiglu `out` is f32 here, for quantise().
bool linear_e4m3_few_takes(const Matrix& x, const Matrix& out);
void linear_e4m3_few(ProductEnd end, Matrix x, const E4m3Weight& weight, Matrix out, cudaStream_t stream);
/// Compute capability 9.0. `values` aligned to 16 bytes, `scales` to 8; `groups` is how many blocks run at once.
bool linear_e4m3_hopper_takes(const Matrix& x, const Matrix& out);
void linear_e4m3_hopper(ProductEnd end, Matrix x, const E4m3Weight& weight, int groups, Matrix out,
                        cudaStream_t stream);
/// out e4m3 = x f32, each block with its own exponent. `early`: as launch_early() starts it.
void quantise(Matrix x, Matrix out, bool early, cudaStream_t stream);
/// `count` dense rows of a checkpoint as rows of an E4m3Weight.
void quantise_weight(const void* rows, DType dtype, int64_t count, int64_t cols, void* out, float* scales,
                     cudaStream_t stream);

/// Compute capability 9.0; whether the next one can do it and has enough tiles to keep `groups` blocks busy.
bool linear_swiglu_hopper_takes(const Matrix& x, const Matrix& out, int groups);
/// `gate_up` dense [2 F, C], aligned to 16 bytes.
void linear_swiglu_hopper(Matrix x, const void* gate_up, int groups, Matrix out, cudaStream_t stream);

}  // namespace quern::cuda
