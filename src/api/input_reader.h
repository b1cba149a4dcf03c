// InputReader: reads "input", the one field that may be large: a text, texts, token ids, or lists of ids.
//
// Texts stay where they are in the body. Ids are checked and counted as they are read, and only what the limits let
// through is ever held. For one request, on one thread.
#pragma once

#include <cstdint>
#include <vector>

#include "api/codec.h"
#include "api/json_reader.h"

namespace quern {

class InputReader {
 public:
  /// `plan` has its model, truncation and tokens_max; inputs, single are filled in.
  InputReader(JsonReader& reader, const CodecInput& input, CallPlan& plan)
      : reader_(reader), input_(input), plan_(plan) {}

  /// The value that stands at the reader's place. False: the reader holds the error.
  bool read();

 private:
  bool read_list();
  bool read_item(bool texts);
  bool add_text(std::string_view name);
  bool read_ids(const std::string& name);
  bool add_id(const std::string& name);
  bool keep_ids(const std::string& name);

  JsonReader& reader_;
  const CodecInput& input_;
  CallPlan& plan_;
  std::vector<int32_t> ids_;  // of the input being read: no more of them than may be kept
  int64_t ids_count_ = 0;     // of that input, those not held too
};

}  // namespace quern
