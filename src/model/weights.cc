#include "model/weights.h"

#include <cstring>
#include <optional>
#include <utility>

namespace quern {
namespace {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

constexpr const char* kTable = "embed_tokens.weight";

std::string prefix_of(const Safetensors& file) {
  return file.find(std::string("model.") + kTable) != nullptr ? "model." : "";
}

/// Finds tensors by name and shape; keeps the first error.
class Loader {
 public:
  Loader(const Safetensors& file, Ops& ops, DType weights, const Shard& shard)
      : file_(file), ops_(ops), weights_(weights), shard_(shard) {
    prefix_ = prefix_of(file);
  }

  Vector vector(const std::string& name, int64_t size) {
    const Tensor* tensor = find(name, {size});
    if (tensor == nullptr) return {};
    std::vector<float> values(size);
    for (int64_t i = 0; i < size; ++i) values[i] = stored_value(matrix(*tensor, 1, size), i);
    return make_vector(ops_, values);
  }

  Table table(const std::string& name, int64_t rows, int64_t cols) {
    const Tensor* tensor = find(name, {rows, cols});
    if (tensor == nullptr) return {};
    Table table = make_table(ops_, matrix(*tensor, rows, cols));
    Safetensors::drop_pages(*tensor);
    return table;
  }

  struct Part {
    std::string name;
    int64_t rows;
  };
  /// This rank's outputs of each part, one part after the other.
  std::unique_ptr<LinearWeight> split_outputs(const std::vector<Part>& names, int64_t cols) {
    std::vector<ConstMatrix> parts;
    std::vector<const Tensor*> tensors;
    for (const Part& part : names) {
      tensors.push_back(find(part.name, {part.rows, cols}));
      if (error_) return nullptr;
      const int64_t rows = part.rows / shard_.size;
      parts.push_back(matrix(*tensors.back(), rows, cols));
      parts.back().data = static_cast<const char*>(parts.back().data) + shard_.rank * parts.back().bytes();
    }
    return pack(parts, tensors);
  }

  /// All outputs, of this rank's inputs.
  std::unique_ptr<LinearWeight> split_inputs(const std::string& name, int64_t rows, int64_t cols) {
    const Tensor* tensor = find(name, {rows, cols});
    if (error_) return nullptr;
    if (shard_.size == 1) return pack({matrix(*tensor, rows, cols)}, {tensor});
    const size_t row_bytes = cols * dtype_bytes(*tensor->dtype), bytes = row_bytes / shard_.size;
    std::vector<char> columns(rows * bytes);
    for (int64_t r = 0; r < rows; ++r) {
      std::memcpy(&columns[r * bytes], static_cast<const char*>(tensor->data) + r * row_bytes + shard_.rank * bytes,
                  bytes);
    }
    return pack({{columns.data(), *tensor->dtype, rows, cols / shard_.size}}, {tensor});
  }

  const std::optional<Error>& error() const { return error_; }

 private:
  static ConstMatrix matrix(const Tensor& tensor, int64_t rows, int64_t cols) {
    return {tensor.data, *tensor.dtype, rows, cols};
  }

  std::unique_ptr<LinearWeight> pack(const std::vector<ConstMatrix>& parts, const std::vector<const Tensor*>& tensors) {
    auto packed = ops_.pack(parts, weights_);
    for (const Tensor* tensor : tensors) Safetensors::drop_pages(*tensor);
    return packed;
  }

  const Tensor* find(const std::string& name, const std::vector<int64_t>& shape) {
    const Tensor* tensor = file_.find(prefix_ + name);
    if (tensor == nullptr) {
      fail(file_.path() + ": tensor \"" + prefix_ + name + "\": expected " + shape_text(shape) + ", found none");
    } else if (tensor->shape != shape) {
      fail(tensor->file + ": tensor \"" + prefix_ + name + "\": expected " + shape_text(shape) + ", found " +
           shape_text(tensor->shape));
      tensor = nullptr;
    } else if (!tensor->dtype) {
      fail(tensor->file + ": tensor \"" + prefix_ + name + "\": expected F32, BF16 or F16, found " + tensor->stored_as);
      tensor = nullptr;
    }
    return tensor;
  }
  void fail(std::string message) {
    if (!error_) error_ = invalid_argument(std::move(message));
  }

  const Safetensors& file_;
  Ops& ops_;
  DType weights_;
  Shard shard_;
  std::string prefix_;
  std::optional<Error> error_;
};

}  // namespace

size_t Qwen3Weights::bytes() const {
  size_t total = embedding.memory->bytes + final_norm.memory->bytes;
  for (const Qwen3Layer& layer : layers) {
    for (const auto* weight : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) total += (*weight)->bytes();
    for (const Vector* norm : {&layer.attention_norm, &layer.q_norm, &layer.k_norm, &layer.mlp_norm})
      total += norm->memory->bytes;
  }
  return total;
}

DType stored_dtype(const Safetensors& file) {
  size_t bytes[3] = {0, 0, 0};
  for (const auto& [name, tensor] : file.tensors())
    if (tensor.dtype) bytes[static_cast<int>(*tensor.dtype)] += tensor.bytes;
  int best = 0;
  for (int i = 1; i < 3; ++i) best = bytes[i] > bytes[best] ? i : best;
  return static_cast<DType>(best);
}

DType table_dtype(const Safetensors& file) {
  const Tensor* table = file.find(prefix_of(file) + kTable);
  // Where there is none that can be read, loading it says so.
  return table != nullptr && table->dtype ? *table->dtype : stored_dtype(file);
}

Result<ModelConfig> shard_of(const ModelConfig& config, const Shard& shard) {
  QUERN_CHECK(shard.size >= 1 && shard.rank >= 0 && shard.rank < shard.size, "a rank beyond its group");
  ModelConfig part = config;
  const std::pair<const char*, int64_t*> split[] = {{"num_attention_heads", &part.heads},
                                                    {"num_key_value_heads", &part.kv_heads},
                                                    {"intermediate_size", &part.intermediate_size}};
  for (const auto& [name, value] : split) {
    if (*value % shard.size != 0) {
      return invalid_argument("config.json: " + std::string(name) + " " + std::to_string(*value) +
                              " cannot be split among " + std::to_string(shard.size) + " ranks");
    }
    *value /= shard.size;
  }
  return part;
}

Result<Qwen3Weights> load_qwen3_weights(const Safetensors& file, const ModelConfig& config, Ops& ops, DType weights,
                                        const Shard& shard) {
  if (auto split = shard_of(config, shard); !split) return split.error();
  const int64_t D = config.hidden_size;
  const int64_t F = config.intermediate_size;
  const int64_t q_cols = config.heads * config.head_dim;
  const int64_t kv_cols = config.kv_heads * config.head_dim;
  Loader loader(file, ops, weights, shard);
  Qwen3Weights loaded;
  loaded.embedding = loader.table(kTable, config.vocab_size, D);
  loaded.final_norm = loader.vector("norm.weight", D);
  for (int64_t l = 0; l < config.layers && !loader.error(); ++l) {
    const std::string at = "layers." + std::to_string(l) + ".";
    const std::string attention = at + "self_attn.";
    const std::string mlp = at + "mlp.";
    Qwen3Layer layer;
    layer.attention_norm = loader.vector(at + "input_layernorm.weight", D);
    layer.mlp_norm = loader.vector(at + "post_attention_layernorm.weight", D);
    layer.q_norm = loader.vector(attention + "q_norm.weight", config.head_dim);
    layer.k_norm = loader.vector(attention + "k_norm.weight", config.head_dim);
    layer.qkv = loader.split_outputs({{attention + "q_proj.weight", q_cols},
                                      {attention + "k_proj.weight", kv_cols},
                                      {attention + "v_proj.weight", kv_cols}},
                                     D);
    layer.o = loader.split_inputs(attention + "o_proj.weight", D, q_cols);
    layer.gate_up = loader.split_outputs({{mlp + "gate_proj.weight", F}, {mlp + "up_proj.weight", F}}, D);
    layer.down = loader.split_inputs(mlp + "down_proj.weight", D, F);
    loaded.layers.push_back(std::move(layer));
  }
  if (loader.error()) return *loader.error();
  return loaded;
}

}  // namespace quern
