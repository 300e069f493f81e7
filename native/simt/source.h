// From code addresses to source lines, for messages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace fintune {
namespace simt {

extern const char* const library_start;
// A code address of this library as an offset from its start.
inline uint32_t code_offset(const void* address) {
  return static_cast<uint32_t>(static_cast<const char*>(address) - library_start);
}
// "rows.cu:57" for the call that returns to `address`, as far as debug information and the program addr2line
// are there; else the offset. Kept, so that a message may refer to it for good.
const std::string& line_of(const void* address);
const std::string& line_of(uint32_t offset);

// True within the constants and the code of this library.
bool is_constant(const void* p, size_t bytes);

}  // namespace simt
}  // namespace fintune
