// Where kernel code stands, for messages: an address to file and line.
#include "simt/source.h"

#include <dlfcn.h>

#include <cstdio>
#include <map>
#include <mutex>

#ifdef __linux__
#include <link.h>
#endif

#include "simt/sites.h"

namespace fintune {
namespace simt {
namespace {

Dl_info own_library() {
  Dl_info info{};
  dladdr(reinterpret_cast<const void*>(&library_start), &info);
  return info;
}

// Of gpu.h and its neighbours, and of their bodies.
bool is_door(const std::string& file) {
  return file == "gpu.h" || file == "simt.h" || file == "wgmma.h" || file == "wgmma_operands.h" ||
         file == "tma.h";
}

// The innermost line of the inlined calls at an offset that is a kernel's own.
std::string look_up(uint32_t offset) {
  char command[4096];
  std::snprintf(command, sizeof command, "addr2line -i -e '%s' 0x%x 2>/dev/null", own_library().dli_fname,
                offset - 1);
  std::string found;
  if (FILE* out = popen(command, "r")) {
    char line[4096];
    while (std::fgets(line, sizeof line, out) != nullptr) {
      std::string text = base_name(line);
      text = text.substr(0, text.find_first_of(" \n"));
      const std::string file = text.substr(0, text.find(':'));
      if (text.find('?') == std::string::npos && (found.empty() || is_door(found))) {
        found = is_door(file) ? file : text;
      }
    }
    pclose(out);
  }
  if (found.empty()) {
    std::snprintf(command, sizeof command, "code at 0x%x", offset);
    found = command;
  }
  return found;
}

}  // namespace

const char* const library_start = static_cast<const char*>(own_library().dli_fbase);

const std::string& line_of(uint32_t offset) {
  static std::mutex mutex;
  static std::map<uint32_t, std::string> known;
  const std::lock_guard<std::mutex> lock(mutex);
  auto found = known.find(offset);
  if (found == known.end()) found = known.emplace(offset, look_up(offset)).first;
  return found->second;
}

const std::string& line_of(const void* address) { return line_of(code_offset(address)); }

bool is_constant(const void* p, size_t bytes) {
#ifdef __linux__
  struct Query {
    uintptr_t begin, end;
  } query{reinterpret_cast<uintptr_t>(p), reinterpret_cast<uintptr_t>(p) + bytes};
  return dl_iterate_phdr(
             [](dl_phdr_info* info, size_t, void* data) {
               const Query& q = *static_cast<Query*>(data);
               if (info->dlpi_addr != reinterpret_cast<uintptr_t>(library_start)) return 0;
               for (int i = 0; i < info->dlpi_phnum; ++i) {
                 const auto& segment = info->dlpi_phdr[i];
                 const uintptr_t begin = info->dlpi_addr + segment.p_vaddr;
                 if (segment.p_type == PT_LOAD && (segment.p_flags & PF_W) == 0 && q.begin >= begin &&
                     q.end <= begin + segment.p_memsz) {
                   return 1;
                 }
               }
               return 0;
             },
             &query) == 1;
#else
  return false;
#endif
}

}  // namespace simt
}  // namespace fintune
