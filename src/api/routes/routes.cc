#include "api/routes/routes.h"

#include <vector>

namespace quern {

std::span<const Route> all_routes() {
  static const std::vector<Route> table = [] {
    std::vector<Route> rows;
    for (const auto family : {openai_routes(), model_routes(), health_routes(), info_routes()}) {
      rows.insert(rows.end(), family.begin(), family.end());
    }
    rows.push_back({.method = "", .path = "", .name = "other"});
    rows.push_back({.method = "", .path = "", .name = "transport"});
    return rows;
  }();
  return table;
}

const Route& other_route() { return all_routes()[all_routes().size() - 2]; }

const Route& transport_route() { return all_routes().back(); }

}  // namespace quern
