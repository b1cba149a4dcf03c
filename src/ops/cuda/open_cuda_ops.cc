#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

#include "ops/cuda/cuda_ops.h"

namespace quern {
namespace {

std::vector<std::string> candidates() {
  constexpr char kName[] = "libquern_cuda.so";
  if (const char* path = std::getenv("QUERN_CUDA_LIBRARY"); path != nullptr && *path != '\0') return {path};
  std::vector<std::string> paths;
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) paths.push_back((program.parent_path() / kName).string());
  paths.emplace_back(kName);
  return paths;
}

}  // namespace

Result<std::unique_ptr<Ops>> open_cuda_ops(const CudaOptions& options) {
  std::string reasons;
  void* object = nullptr;
  for (const std::string& path : candidates()) {
    object = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (object != nullptr) break;
    const char* reason = dlerror();
    reasons += std::string(reasons.empty() ? "" : "; ") + (reason == nullptr ? path : reason);
  }
  if (object == nullptr)
    return Error{
        ErrorCode::kUnavailable,
        "a GPU needs libquern_cuda.so, which cannot be loaded (looked for at QUERN_CUDA_LIBRARY, else beside the "
        "program, then where the system looks): " +
            reasons,
        "--device", 0};
  const auto make = reinterpret_cast<cuda::MakeOps>(dlsym(object, cuda::kMakeOpsName));
  if (make == nullptr)
    return Error{ErrorCode::kUnavailable, "libquern_cuda.so is of another version: build both together", "--device", 0};
  std::string failure;
  std::unique_ptr<Ops> ops(make(options, failure));
  if (ops == nullptr)
    return Error{ErrorCode::kUnavailable, "libquern_cuda.so is there and finds no device to use: " + failure,
                 "--device", 0};
  return ops;
}

}  // namespace quern
