#include "api/served_model.h"

#include <utility>

namespace quern {

Models::Models(std::vector<ServedModel> models) : models_(std::move(models)) {
  QUERN_CHECK(!models_.empty(), "the API needs a model");
  for (const ServedModel& model : models_) {
    QUERN_CHECK(!model.names.empty() && model.names.front() != kAnyModelName, "a served model needs a name of its own");
    QUERN_CHECK(model.encode && model.embedder != nullptr, "a served model needs an encoder and an embedder");
    for (const std::string& name : model.names) {
      if (name == kAnyModelName) {
        if (any_ == nullptr) any_ = &model;
      } else {
        names_.emplace_back(name, &model);
      }
    }
  }
}

const ServedModel* Models::find(std::string_view name) const {
  for (const auto& [known, model] : names_) {
    if (known == name) return model;
  }
  return name.size() <= kNameBytesMax ? any_ : nullptr;
}

}  // namespace quern
