// What a client's `publish` or `signal` holds: {type, data, id?}, taken apart with the same checks, order and words as
// `_content` of polyglotd/plane/asgi/publishing.py and the names of polyglotd/model/names.py.
#pragma once

#include <string>
#include <string_view>

#include "phoenix/key_set.h"
#include "phoenix/refusal.h"

namespace polyglot {

struct Content {
  std::string_view type;
  std::string_view data;  // JSON text; `null` where it is missing
  std::string_view id;    // empty: none given
};

// Reads payloads that `Decoder` found to be JSON. Views are valid until the next `read`.
class ContentReader {
 public:
  // False: `refusal` says why.
  bool read(std::string_view payload, Content& content, Refusal& refusal);

 private:
  std::string type_;
  std::string id_;
  KeySet keys_;
};

}  // namespace polyglot
