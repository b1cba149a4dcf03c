#include "tensor/safetensors.h"

#include <fcntl.h>
#include <simdjson.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>

#include "base/excerpt.h"

namespace quern {
namespace {

constexpr size_t kHeaderBytesMax = 100u << 20;  // the format's own limit

Error bad(const std::string& file, const std::string& what) { return invalid_argument(file + ": " + what); }

/// Bits of one element; 0 for a dtype that the format does not have.
size_t stored_element_bits(std::string_view dtype) {
  struct Kind {
    size_t bits;
    std::initializer_list<std::string_view> names;
  };
  static const Kind kKinds[] = {
      {64, {"F64", "I64", "U64", "C64"}},
      {32, {"F32", "I32", "U32"}},
      {16, {"F16", "BF16", "I16", "U16"}},
      {8, {"I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"}},
      {6, {"F6_E2M3", "F6_E3M2"}},
      {4, {"F4"}}};
  for (const Kind& kind : kKinds)
    if (std::find(kind.names.begin(), kind.names.end(), dtype) != kind.names.end()) return kind.bits;
  return 0;
}

std::optional<DType> compute_readable(std::string_view dtype) {
  if (dtype == "F32") return DType::kF32;
  if (dtype == "BF16") return DType::kBf16;
  if (dtype == "F16") return DType::kF16;
  return std::nullopt;
}

/// One member of the header: {"dtype": ..., "shape": [...], "data_offsets": [begin, end]}.
Result<SafetensorsEntry> parse_entry(std::string name, simdjson::dom::element value, size_t data_begin,
                                     size_t file_bytes, const std::string& file) {
  const std::string where = "tensor \"" + excerpt(name) + "\": ";
  SafetensorsEntry entry;
  entry.name = std::move(name);
  std::string_view dtype;
  if (value["dtype"].get(dtype) != simdjson::SUCCESS)
    return bad(file, where + "expected a string \"dtype\", found none");
  entry.dtype = dtype;
  size_t bits = stored_element_bits(dtype);
  if (bits == 0) return bad(file, where + "expected a safetensors dtype, found \"" + excerpt(dtype) + "\"");

  simdjson::dom::array shape;
  if (value["shape"].get(shape) != simdjson::SUCCESS)
    return bad(file, where + "expected an array \"shape\", found none");
  for (simdjson::dom::element dim : shape) {
    int64_t size = 0;
    if (dim.get(size) != simdjson::SUCCESS || size < 0)
      return bad(file, where + "expected dimensions >= 0, found something else");
    entry.shape.push_back(size);
    if (__builtin_mul_overflow(bits, static_cast<size_t>(size), &bits))
      return bad(file, where + "expected a shape that fits the address space, found an overflow");
  }

  simdjson::dom::array offsets;
  uint64_t begin = 0;
  uint64_t end = 0;
  if (value["data_offsets"].get(offsets) != simdjson::SUCCESS || offsets.size() != 2 ||
      offsets.at(0).get(begin) != simdjson::SUCCESS || offsets.at(1).get(end) != simdjson::SUCCESS)
    return bad(file, where + "expected \"data_offsets\" of two integers, found something else");
  const uint64_t data_bytes = file_bytes - data_begin;
  if (begin > end || end > data_bytes)
    return bad(file, where + "expected offsets within " + std::to_string(data_bytes) + " bytes of data, found " +
                         std::to_string(begin) + ".." + std::to_string(end));
  if (bits % 8 != 0 || end - begin != bits / 8)
    return bad(file, where + "expected " + std::to_string((bits + 7) / 8) + " bytes for its shape, found " +
                         std::to_string(end - begin));
  entry.begin = data_begin + begin;
  entry.end = data_begin + end;
  return entry;
}

Result<void> check_overlap(std::vector<SafetensorsEntry>& entries, const std::string& file) {
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.begin != b.begin ? a.begin < b.begin : a.end < b.end; });
  for (size_t i = 1; i < entries.size(); ++i) {
    if (entries[i].begin < entries[i - 1].end)
      return bad(file, "tensor \"" + excerpt(entries[i].name) +
                           "\": expected data of its own, found an overlap with \"" + excerpt(entries[i - 1].name) +
                           "\"");
  }
  return {};
}

}  // namespace

Result<std::vector<SafetensorsEntry>> parse_safetensors_header(std::string_view bytes, size_t file_bytes,
                                                               const std::string& file) {
  if (bytes.size() < 8 || file_bytes < 8)
    return bad(file, "expected at least 8 bytes, found " + std::to_string(file_bytes));
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), 8);
  if (header_bytes > kHeaderBytesMax || header_bytes > bytes.size() - 8 || header_bytes > file_bytes - 8)
    return bad(file, "expected a header within the file's " + std::to_string(file_bytes) +
                         " bytes, found a length of " + std::to_string(header_bytes));
  simdjson::dom::parser parser;
  simdjson::dom::object header;
  const simdjson::padded_string json(bytes.substr(8, header_bytes));
  if (const auto error = parser.parse(json).get(header); error != simdjson::SUCCESS)
    return bad(file, std::string("expected a JSON object as header: ") + simdjson::error_message(error));

  std::vector<SafetensorsEntry> entries;
  std::set<std::string> seen;
  for (auto [key, value] : header) {
    if (key == "__metadata__") continue;
    if (!seen.emplace(key).second) return bad(file, "tensor \"" + excerpt(key) + "\": expected once, found twice");
    auto entry = parse_entry(std::string(key), value, 8 + header_bytes, file_bytes, file);
    if (!entry) return entry.error();
    entries.push_back(std::move(*entry));
  }
  if (auto checked = check_overlap(entries, file); !checked) return checked.error();
  return entries;
}

Safetensors::Mapping::~Mapping() {
  if (data != nullptr) munmap(data, bytes);
}

Result<void> Safetensors::map_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a FIFO must not make it wait
  if (fd < 0) return bad(path, std::string("expected a readable file: ") + std::strerror(errno));
  struct stat status {};
  const bool known = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size >= 8;
  auto mapping = std::make_unique<Mapping>();
  if (known) {
    const size_t bytes = static_cast<size_t>(status.st_size);
    void* data = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data != MAP_FAILED) {
      mapping->data = data;
      mapping->bytes = bytes;
    }
  }
  close(fd);
  if (!known) return bad(path, "expected a safetensors file, found fewer than 8 bytes or no regular file");
  if (mapping->data == nullptr) return bad(path, "expected to map the file, found no address space for it");

  const char* base = static_cast<const char*>(mapping->data);
  auto entries = parse_safetensors_header({base, mapping->bytes}, mapping->bytes, path);
  if (!entries) return entries.error();
  for (SafetensorsEntry& entry : *entries) {
    Tensor tensor{base + entry.begin,     compute_readable(entry.dtype), std::move(entry.dtype),
                  std::move(entry.shape), entry.end - entry.begin,       path};
    if (!tensors_.emplace(entry.name, std::move(tensor)).second)
      return bad(path, "tensor \"" + excerpt(entry.name) + "\": expected in one shard, found in two");
  }
  mappings_.push_back(std::move(mapping));
  return {};
}

Result<Safetensors> Safetensors::open(const std::string& model_dir, const std::vector<std::string>& names) {
  Safetensors file;
  file.path_ = model_dir;
  for (const std::string& name : names) {
    std::string path = model_dir;
    path.append("/").append(name);
    if (auto mapped = file.map_file(path); !mapped) return mapped.error();
  }
  return file;
}

const Tensor* Safetensors::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

void Safetensors::drop_pages(const Tensor& tensor) {
  // Whole pages only: the neighbours' bytes may share the first and the last one.
  constexpr uintptr_t kPageBytes = 4096;
  const auto begin = reinterpret_cast<uintptr_t>(tensor.data);
  const size_t skip = (kPageBytes - begin % kPageBytes) % kPageBytes;
  if (skip >= tensor.bytes) return;
  const size_t bytes = (tensor.bytes - skip) / kPageBytes * kPageBytes;
  if (bytes > 0) madvise(const_cast<char*>(static_cast<const char*>(tensor.data)) + skip, bytes, MADV_DONTNEED);
}

}  // namespace quern
