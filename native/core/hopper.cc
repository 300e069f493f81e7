// The setting and its environment variable.
#include "core/hopper.h"

#include <atomic>
#include <cstdlib>
#include <string>

#include "core/error.h"

namespace fintune {
namespace {

enum Choice : int { kUnknown, kOff, kOn };
std::atomic<int> choice{kUnknown};

}  // namespace

bool hopper() {
  if (choice == kUnknown) {
    const char* const value = std::getenv("FINTUNE_HOPPER");
    const std::string wanted = value != nullptr ? value : "";
    require(wanted.empty() || wanted == "0" || wanted == "1", "FINTUNE_HOPPER is 0 or 1, found ", wanted);
    set_hopper(wanted == "1");
  }
  return choice == kOn;
}

void set_hopper(bool on) { choice = on ? kOn : kOff; }

}  // namespace fintune
