// Every call of CUDA and cuBLAS is checked; a failure is an exception, which LocalRunner catches. A sticky error makes
// every later call fail in the same way, so that the replica ends cleanly.
//
// Owns nothing. Any thread.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace quern::cuda {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) [[likely]]
    return;
  (void)cudaGetLastError();  // a failed launch is not told twice; a sticky error stays
  throw Failure(std::string("CUDA: ") + what + ": " + cudaGetErrorString(status) + " (" + cudaGetErrorName(status) +
                ")");
}

inline void check(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) [[likely]]
    return;
  throw Failure(std::string("cuBLASLt: ") + what + ": " + cublasLtGetStatusString(status));
}

/// To be called after each launch.
inline void check_launch(const char* kernel) { check(cudaGetLastError(), kernel); }

}  // namespace quern::cuda
