#include "http/http_types.h"

#include <algorithm>

#include "base/ascii.h"

namespace quern {

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (to_lower(a[i]) != to_lower(b[i])) return false;
  }
  return true;
}

std::string_view trim_whitespace(std::string_view text) {
  const size_t begin = std::min(text.find_first_not_of(" \t"), text.size());
  return text.substr(begin, text.find_last_not_of(" \t") + 1 - begin);
}

HttpRequest::Piece HttpRequest::append(std::string_view text) {
  const Piece piece{static_cast<uint32_t>(head_.size()), static_cast<uint32_t>(text.size())};
  head_.append(text);
  return piece;
}

void HttpRequest::set_request_line(std::string_view method, std::string_view target) {
  head_.reserve(512);
  headers_.reserve(12);
  method_ = append(method);
  target_ = append(target);
}

void HttpRequest::add_header(std::string_view name, std::string_view value) {
  const Piece name_piece = append(name);
  headers_.emplace_back(name_piece, append(value));
}

std::string_view HttpRequest::header(std::string_view name) const {
  for (const auto& [known, value] : headers_) {
    if (equal_ignoring_case(view(known), name)) return view(value);
  }
  return {};
}

void HttpResponse::add_header(std::string_view name, std::string_view value) {
  header_lines.append(name).append(": ");
  for (char c : value) {
    if (c != '\r' && c != '\n' && c != '\0') header_lines.push_back(c);
  }
  header_lines.append("\r\n");
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Unknown";
  }
}

std::string_view next_list_item(std::string_view& list) {
  const size_t comma = list.find(',');
  const std::string_view item = trim_whitespace(list.substr(0, comma));
  list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
  return item;
}

}  // namespace quern
