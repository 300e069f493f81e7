// selftest [NAME]: runs the cases, or one, and prints a line each: "ok NAME" or "FAILED NAME: why". With
// --list only their names.
#include "selftest.h"

#include <cstdio>
#include <cstring>

namespace selftest {

std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

void for_schedules(int n, const std::function<void()>& fn) {
  for (simt::AsyncMode mode : {simt::AsyncMode::Random, simt::AsyncMode::Early, simt::AsyncMode::Late}) {
    executor().async_mode = mode;
    for (int seed = 0; seed < n; ++seed) {
      executor().set_seed(static_cast<uint64_t>(seed));
      fn();
    }
  }
  executor().async_mode = simt::AsyncMode::Random;
}

void expect_fault(const std::function<void()>& fn, const std::vector<std::string>& parts) {
  for_schedules(4, [&] {
    std::string message;
    try {
      fn();
    } catch (const Error& e) {
      message = e.what();
    }
    expect(!message.empty(), "no fault was found");
    for (const std::string& part : parts) {
      expect(message.find(part) != std::string::npos, "\"", message, "\" does not have \"", part, "\"");
    }
  });
}

}  // namespace selftest

int main(int count, char** arguments) {
  const char* only = count > 1 ? arguments[1] : nullptr;
  bool failed = false;
  for (const selftest::Case& c : selftest::cases()) {
    if (only != nullptr && std::strcmp(only, "--list") == 0) {
      std::printf("%s\n", c.name);
      continue;
    }
    if (only != nullptr && std::strcmp(only, c.name) != 0) continue;
    try {
      c.run();
      std::printf("ok %s\n", c.name);
      std::fflush(stdout);
    } catch (const std::exception& e) {
      std::printf("FAILED %s: %s\n", c.name, e.what());
      failed = true;
    }
  }
  return failed ? 1 : 0;
}
