#include "model/model_folder.h"

#include <algorithm>
#include <filesystem>

#include "model/folder_files.h"
#include "model/model_path.h"
#include "model/sentence_transformers.h"
#include "model/tokenizer_config.h"

namespace quern {
namespace {

constexpr const char* kTokenizer = "tokenizer.json";
/// Longer files are refused: it is read whole. Qwen3's has 11 MB; the vocabularies of 262,144 tokens have 35 MB.
constexpr size_t kTokenizerBytesMax = size_t{256} << 20;

/// The prompts of the Qwen3-Embedding model card, for folders that say nothing about prompts.
std::map<std::string, std::string> qwen_prompts() {
  return {{"query", "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"},
          {"document", ""}};
}

/// "ORG/NAME" as it was given, or the folder's own name.
std::string name_of(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return path.substr(0, path.find('@'));
  const auto canonical = std::filesystem::canonical(path, error);
  return error ? path : canonical.filename().string();
}

Result<void> check_pooling(const ModelFolder& folder, const SentenceTransformers& modules) {
  if (modules.has_modules || folder.config.is_causal_lm) return {};
  return invalid_argument(folder.dir +
                          "/modules.json: is missing; without it sentence-transformers pools the mean of the tokens "
                          "(only the last token is pooled here) unless config.json's \"architectures\" begin with "
                          "\"Qwen3ForCausalLM\"");
}

Result<void> check_width(const ModelFolder& folder, const SentenceTransformers& modules) {
  if (!modules.truncate_dim || *modules.truncate_dim >= folder.config.hidden_size) return {};
  return invalid_argument(folder.dir + "/config_sentence_transformers.json: \"truncate_dim\": expected null, found " +
                          std::to_string(*modules.truncate_dim) +
                          " (vectors are full here; requests say \"dimensions\")");
}

Result<void> read_context(const ModelFolderOptions& options, const SentenceTransformers& modules,
                          const TokenizerConfig& tokens, ModelFolder& folder) {
  const auto limit = static_cast<int32_t>(folder.config.max_position_embeddings);
  if (options.context_tokens_max > limit) {
    return invalid_argument("is " + std::to_string(options.context_tokens_max) + "; the model allows at most " +
                                std::to_string(limit) + " (max_position_embeddings)",
                            "--context-length");
  }
  const int64_t own = modules.max_seq_length ? *modules.max_seq_length : tokens.model_max_length.value_or(limit);
  if (modules.max_seq_length && own > limit) {
    folder.notices.push_back("sentence_bert_config.json says max_seq_length " + std::to_string(own) +
                             "; inputs have at most max_position_embeddings, " + std::to_string(limit) + " tokens");
  }
  folder.context_tokens_max =
      options.context_tokens_max > 0 ? options.context_tokens_max : static_cast<int32_t>(std::min<int64_t>(own, limit));
  folder.truncation_side = tokens.truncates_left ? Truncation::kLeft : Truncation::kRight;
  return {};
}

Result<void> read_tokenizer(const ModelFolderOptions& options, const TokenizerConfig& tokens, ModelFolder& folder) {
  const std::string& dir = folder.weights_dir;
  const auto json = read_model_file(dir, kTokenizer, kTokenizerBytesMax);
  if (!json) return json.error();
  auto tokenizer = Tokenizer::from_json(*json, dir + "/" + kTokenizer, tokens.rules);
  if (!tokenizer) return tokenizer.error();
  if (!tokenizer->eos_id() && options.append_eos) {
    auto eos = tokens.eos_token ? tokenizer->token_to_id(*tokens.eos_token) : folder.config.eos_token_id;
    if (!eos) {
      return invalid_argument(dir +
                                  ": neither tokenizer_config.json's eos_token nor config.json's eos_token_id names a "
                                  "token of tokenizer.json to append",
                              "--append-eos");
    }
    if (auto done = tokenizer->append_eos(*eos); !done)
      return invalid_argument(dir + "/" + kTokenizer + ": " + done.error().message);
  }
  if (!tokenizer->eos_id())
    folder.notices.push_back("tokenizer.json appends no end token, so none is added; --append-eos adds it");
  if (tokenizer->vocab_size() > static_cast<size_t>(folder.config.vocab_size)) {
    return invalid_argument(dir + "/tokenizer.json has " + std::to_string(tokenizer->vocab_size()) +
                            " tokens; config.json says \"vocab_size\" " + std::to_string(folder.config.vocab_size));
  }
  folder.tokenizer = std::make_unique<Tokenizer>(std::move(*tokenizer));
  return check_added_tokens(dir, tokens, *folder.tokenizer);
}

}  // namespace

Result<ModelFolder> read_model_folder(const ModelFolderOptions& options) {
  if (options.path.empty())
    return invalid_argument("is empty; name a folder, ORG/NAME or ORG/NAME@REVISION", "--model-path");
  ModelFolder folder;
  auto dir = resolve_model_path(options.path, options.revision);
  if (!dir) return dir.error();
  folder.dir = *dir;
  folder.name = name_of(options.path);

  auto modules = read_sentence_transformers(folder.dir);
  if (!modules) return modules.error();
  folder.weights_dir = modules->transformer_dir;
  auto config = read_model_config(folder.weights_dir);
  if (!config) return config.error();
  folder.config = *config;
  auto tokens = read_tokenizer_config(folder.weights_dir, folder.config.tokenizer_class);
  if (!tokens) return tokens.error();
  if (auto done = check_pooling(folder, *modules); !done) return done.error();
  if (auto done = check_width(folder, *modules); !done) return done.error();
  if (!modules->normalizes) {
    folder.notices.push_back(
        "the folder names no Normalize module: sentence-transformers gives vectors of other lengths in the same "
        "direction; here every vector has length 1");
  }
  if (auto done = read_context(options, *modules, *tokens, folder); !done) return done.error();
  folder.prompts = modules->prompts.value_or(qwen_prompts());
  if (modules->default_prompt_name) folder.default_prompt = folder.prompts.at(*modules->default_prompt_name);
  if (options.needs_weights) {
    if (auto files = weight_files(folder.weights_dir); !files) return files.error();
  }
  if (auto done = read_tokenizer(options, *tokens, folder); !done) return done.error();
  return folder;
}

Result<std::vector<int32_t>> encode_text(const ModelFolder& folder, const std::string& prompt, const std::string& text,
                                         bool truncate) {
  EncodeOptions options;
  options.tokens_max = static_cast<size_t>(folder.context_tokens_max);
  options.truncation = truncate ? folder.truncation_side : Truncation::kNone;
  return folder.tokenizer->encode(prompt, text, options);
}

}  // namespace quern
