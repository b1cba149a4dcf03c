// The weights of a Qwen3 model: checked against the config, converted and packed for one Ops.
//
// Owns what the Ops gave out; the checkpoint may be closed, changed or deleted afterwards. Read-only after loading.
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "model/config.h"
#include "ops/ops.h"
#include "tensor/safetensors.h"

namespace quern {

struct Qwen3Layer {
  enum QkvPart { kQueries, kKeys, kValues };

  Vector attention_norm;                  // [D]
  Vector q_norm, k_norm;                  // [d]
  Vector mlp_norm;                        // [D]
  std::unique_ptr<LinearWeight> qkv;      // [H d | K d | K d, D]
  std::unique_ptr<LinearWeight> o;        // [D, H d]
  std::unique_ptr<LinearWeight> gate_up;  // [F | F, D]
  std::unique_ptr<LinearWeight> down;     // [D, F]
};

struct Qwen3Weights {
  Table embedding;  // [V, D]
  std::vector<Qwen3Layer> layers;
  Vector final_norm;  // [D]

  size_t bytes() const;
};

/// The dtype that most bytes of the checkpoint are stored in.
DType stored_dtype(const Safetensors& file);

/// The dtype that the embedding table is stored in, and kept in.
DType table_dtype(const Safetensors& file);

/// Names with and without "model." are accepted; lm_head is ignored.
Result<Qwen3Weights> load_qwen3_weights(const Safetensors& file, const ModelConfig& config, Ops& ops, DType weights);

}  // namespace quern
