#include "ops/cuda/device/gemm.h"

#include <algorithm>
#include <bit>

#include "ops/cuda/device/cuda_error.h"

namespace quern::cuda {
namespace {

cudaDataType_t type_of(DType dtype) {
  return dtype == DType::kF32 ? CUDA_R_32F : dtype == DType::kBf16 ? CUDA_R_16BF : CUDA_R_16F;
}

/// The largest power of two up to 256 that divides the address and the row length.
uint32_t alignment_of(const void* data, int64_t stride_bytes) {
  const uint64_t bits = reinterpret_cast<uintptr_t>(data) | static_cast<uint64_t>(stride_bytes) | 256u;
  return uint32_t{1} << std::countr_zero(bits);
}

}  // namespace

int64_t gemm_bucket(int64_t rows) {
  constexpr int64_t kStep = 1024;
  if (rows > kStep) return (rows + kStep - 1) / kStep * kStep;
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(rows, 16))));
}

/// The library counts columns first: it sees out^T [N, M] = w [N, C] x^T [C, M].
struct Gemm::Layouts {
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t w = nullptr, x = nullptr, out = nullptr;

  Layouts(const Matrix& from, int64_t rows, int64_t N, const Matrix& to) {
    const cublasOperation_t transposed = CUBLAS_OP_T;
    check(cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "a product");
    check(cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed)),
          "a product");
    const cudaDataType_t in = type_of(from.dtype);
    check(cublasLtMatrixLayoutCreate(&w, in, from.cols, N, from.cols), "a layout");
    check(cublasLtMatrixLayoutCreate(&x, in, from.cols, rows, from.stride), "a layout");
    check(cublasLtMatrixLayoutCreate(&out, type_of(to.dtype), N, rows, to.stride), "a layout");
  }
  ~Layouts() {
    for (cublasLtMatrixLayout_t layout : {w, x, out})
      if (layout != nullptr) cublasLtMatrixLayoutDestroy(layout);
    if (product != nullptr) cublasLtMatmulDescDestroy(product);
  }
  Layouts(const Layouts&) = delete;
  Layouts& operator=(const Layouts&) = delete;
};

Gemm::Gemm(cudaStream_t stream, size_t workspace_bytes)
    : stream_(stream), workspace_(workspace_bytes, "the workspace of the products") {
  check(cublasLtCreate(&handle_), "opening the library");
}

Gemm::~Gemm() {
  if (handle_ != nullptr) cublasLtDestroy(handle_);
}

void Gemm::run(Matrix x, const void* w, int64_t N, Matrix out, bool accumulate) {
  if (x.rows == 0) return;
  const int64_t row_bytes = x.cols * static_cast<int64_t>(dtype_bytes(x.dtype));
  const uint32_t alignment = std::min(
      {alignment_of(x.data, x.stride_bytes()), alignment_of(w, row_bytes), alignment_of(out.data, out.stride_bytes())});
  const Key key{gemm_bucket(x.rows),         N,          x.cols,   x.stride, out.stride, static_cast<int>(x.dtype),
                static_cast<int>(out.dtype), accumulate, alignment};
  const auto found = plans_.find(key);
  const cublasLtMatmulAlgo_t algo =
      found != plans_.end()
          ? found->second
          : plans_.emplace(key, choose(Layouts(x, gemm_bucket(x.rows), N, out), alignment)).first->second;
  const Layouts layouts(x, x.rows, N, out);
  const float one = 1;
  const float beta = accumulate ? 1.0f : 0.0f;
  const auto multiply = [&](const cublasLtMatmulAlgo_t& by) {
    return cublasLtMatmul(handle_, layouts.product, &one, w, layouts.w, x.data, layouts.x, &beta, out.data, layouts.out,
                          out.data, layouts.out, &by, workspace_.data, workspace_.bytes, stream_);
  };
  cublasStatus_t status = multiply(algo);
  // A few algorithms, of f32 above all, do not take every row count of their bucket.
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) status = multiply(choose(layouts, alignment));
  check(status, "a linear layer's product");
}

cublasLtMatmulAlgo_t Gemm::choose(const Layouts& layouts, uint32_t alignment) {
  cublasLtMatmulPreference_t preference = nullptr;
  check(cublasLtMatmulPreferenceCreate(&preference), "a preference");
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t what, const auto& value) {
    check(cublasLtMatmulPreferenceSetAttribute(preference, what, &value, sizeof(value)), "a preference");
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_.bytes);
  for (const auto what : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    set(what, alignment);
  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle_, layouts.product, layouts.w, layouts.x, layouts.out, layouts.out, preference, 1, &result, &found);
  cublasLtMatmulPreferenceDestroy(preference);
  check(status, "choosing an algorithm");
  check(found == 0 ? CUBLAS_STATUS_NOT_SUPPORTED : result.state, "choosing an algorithm");
  return result.algo;
}

}  // namespace quern::cuda
