// The weights of a Qwen3 model: checked against the config, converted and packed for one Ops.
//
// Owns the packed weights and the mapped file (the embedding table is read from it). Read-only after loading.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/config.h"
#include "ops/ops.h"
#include "tensor/safetensors.h"

namespace quern {

struct Qwen3Layer {
  std::vector<float> attention_norm;       // [D]
  std::vector<float> q_norm, k_norm;       // [d]
  std::vector<float> mlp_norm;             // [D]
  std::unique_ptr<LinearWeight> q;         // [H d, D]
  std::unique_ptr<LinearWeight> kv;        // [2 K d, D]: keys, then values
  std::unique_ptr<LinearWeight> o;         // [D, H d]
  std::unique_ptr<LinearWeight> gate, up;  // [F, D]
  std::unique_ptr<LinearWeight> down;      // [D, F]
};

struct Qwen3Weights {
  Safetensors file;
  ConstMatrix embedding;  // [V, D], in `file`
  std::vector<Qwen3Layer> layers;
  std::vector<float> final_norm;  // [D]

  size_t bytes() const;
};

/// The dtype that most bytes of the checkpoint are stored in.
DType stored_dtype(const Safetensors& file);

/// Names with and without "model." are accepted; lm_head is ignored.
Result<Qwen3Weights> load_qwen3_weights(Safetensors file, const ModelConfig& config, Ops& ops, DType compute);

}  // namespace quern
