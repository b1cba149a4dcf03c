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

/// Tensor parallelism (Shoeybi et al. 2019, "Megatron-LM"): each of `size` ranks holds some of the heads and some of
/// the MLP's columns, and the products whose inputs are split (o, down) are summed over the ranks by Ops::linear_add().
/// The embedding and the norms are whole on every rank.
struct Shard {
  int64_t rank = 0;
  int64_t size = 1;
};

/// The forward pass of one rank. Refuses a size that does not divide the heads, the K/V heads and the MLP's columns.
Result<ModelConfig> shard_of(const ModelConfig& config, const Shard& shard);

/// The dtype that most bytes of the checkpoint are stored in.
DType stored_dtype(const Safetensors& file);

/// The dtype that the embedding table is stored in, and kept in.
DType table_dtype(const Safetensors& file);

/// Names with and without "model." are accepted; lm_head is ignored. `config` is the whole model's.
Result<Qwen3Weights> load_qwen3_weights(const Safetensors& file, const ModelConfig& config, Ops& ops, DType weights,
                                        const Shard& shard = {});

}  // namespace quern
