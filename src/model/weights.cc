#include "model/weights.h"

#include <cstring>
#include <optional>

namespace quern {
namespace {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

/// Finds tensors by name and shape; keeps the first error.
class Loader {
 public:
  Loader(const Safetensors& file, Ops& ops, DType compute) : file_(file), ops_(ops), compute_(compute) {
    prefix_ = file.find("model.embed_tokens.weight") != nullptr ? "model." : "";
  }

  ConstMatrix matrix(const std::string& name, int64_t rows, int64_t cols) {
    const Tensor* tensor = find(name, {rows, cols});
    return tensor == nullptr ? ConstMatrix{} : ConstMatrix{tensor->data, tensor->dtype, rows, cols};
  }

  std::vector<float> vector(const std::string& name, int64_t size) {
    const Tensor* tensor = find(name, {size});
    std::vector<float> values(tensor == nullptr ? 0 : size);
    for (size_t i = 0; i < values.size(); ++i) {
      if (tensor->dtype == DType::kF32) {
        std::memcpy(&values[i], static_cast<const char*>(tensor->data) + 4 * i, 4);
        continue;
      }
      uint16_t bits = 0;
      std::memcpy(&bits, static_cast<const char*>(tensor->data) + 2 * i, 2);
      values[i] = tensor->dtype == DType::kBf16 ? bf16_to_f32(bits) : f16_to_f32(bits);
    }
    return values;
  }

  struct Part {
    std::string name;
    int64_t rows;
  };
  std::unique_ptr<LinearWeight> linear(const std::vector<Part>& names, int64_t cols) {
    std::vector<ConstMatrix> parts;
    parts.reserve(names.size());
    for (const Part& part : names) parts.push_back(matrix(part.name, part.rows, cols));
    if (error_) return nullptr;
    auto packed = ops_.pack(parts, compute_);
    for (const Part& part : names) Safetensors::drop_pages(*file_.find(prefix_ + part.name));
    return packed;
  }

  const std::optional<Error>& error() const { return error_; }

 private:
  const Tensor* find(const std::string& name, const std::vector<int64_t>& shape) {
    const Tensor* tensor = file_.find(prefix_ + name);
    if (tensor == nullptr) {
      fail(file_.path() + ": tensor \"" + prefix_ + name + "\": expected " + shape_text(shape) + ", found none");
    } else if (tensor->shape != shape) {
      fail(tensor->file + ": tensor \"" + prefix_ + name + "\": expected " + shape_text(shape) + ", found " +
           shape_text(tensor->shape));
      tensor = nullptr;
    } else if (reinterpret_cast<uintptr_t>(tensor->data) % dtype_bytes(tensor->dtype) != 0) {
      fail(tensor->file + ": tensor \"" + prefix_ + name + "\": expected aligned data, found an odd offset");
      tensor = nullptr;
    }
    return tensor;
  }
  void fail(std::string message) {
    if (!error_) error_ = invalid_argument(std::move(message));
  }

  const Safetensors& file_;
  Ops& ops_;
  DType compute_;
  std::string prefix_;
  std::optional<Error> error_;
};

}  // namespace

size_t Qwen3Weights::bytes() const {
  size_t total = embedding.rows * embedding.cols * dtype_bytes(embedding.dtype) + final_norm.size() * sizeof(float);
  for (const Qwen3Layer& layer : layers) {
    for (const auto* weight : {&layer.q, &layer.kv, &layer.o, &layer.gate, &layer.up, &layer.down})
      total += (*weight)->bytes();
    total += sizeof(float) *
             (layer.attention_norm.size() + layer.q_norm.size() + layer.k_norm.size() + layer.mlp_norm.size());
  }
  return total;
}

DType stored_dtype(const Safetensors& file) {
  size_t bytes[3] = {0, 0, 0};
  for (const auto& [name, tensor] : file.tensors()) bytes[static_cast<int>(tensor.dtype)] += tensor.bytes;
  int best = 0;
  for (int i = 1; i < 3; ++i) best = bytes[i] > bytes[best] ? i : best;
  return static_cast<DType>(best);
}

Result<Qwen3Weights> load_qwen3_weights(Safetensors file, const ModelConfig& config, Ops& ops, DType compute) {
  const int64_t D = config.hidden_size;
  const int64_t F = config.intermediate_size;
  const int64_t q_cols = config.heads * config.head_dim;
  const int64_t kv_cols = config.kv_heads * config.head_dim;
  Loader loader(file, ops, compute);
  Qwen3Weights weights;
  weights.embedding = loader.matrix("embed_tokens.weight", config.vocab_size, D);
  weights.final_norm = loader.vector("norm.weight", D);
  for (int64_t l = 0; l < config.layers && !loader.error(); ++l) {
    const std::string at = "layers." + std::to_string(l) + ".";
    Qwen3Layer layer;
    layer.attention_norm = loader.vector(at + "input_layernorm.weight", D);
    layer.mlp_norm = loader.vector(at + "post_attention_layernorm.weight", D);
    layer.q_norm = loader.vector(at + "self_attn.q_norm.weight", config.head_dim);
    layer.k_norm = loader.vector(at + "self_attn.k_norm.weight", config.head_dim);
    layer.q = loader.linear({{at + "self_attn.q_proj.weight", q_cols}}, D);
    layer.kv = loader.linear({{at + "self_attn.k_proj.weight", kv_cols}, {at + "self_attn.v_proj.weight", kv_cols}}, D);
    layer.o = loader.linear({{at + "self_attn.o_proj.weight", D}}, q_cols);
    layer.gate = loader.linear({{at + "mlp.gate_proj.weight", F}}, D);
    layer.up = loader.linear({{at + "mlp.up_proj.weight", F}}, D);
    layer.down = loader.linear({{at + "mlp.down_proj.weight", D}}, F);
    weights.layers.push_back(std::move(layer));
  }
  if (loader.error()) return *loader.error();
  weights.file = std::move(file);  // the mappings stay where they are
  return weights;
}

}  // namespace quern
