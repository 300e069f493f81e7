// lockFile: the kernel's lock on an open file, which ends with the process that holds it, however it dies.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "addon/napi_util.h"
#include "addon/register.h"

namespace fintune {
namespace addon {
namespace {

// The descriptor of the locked file, or null where somebody else has the lock. A child process does not
// inherit it (O_CLOEXEC): the lock would outlive its holder.
Napi::Value lock_file(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = to_text(info[0], "path");
  int fd;
  do {
    fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  } while (fd < 0 && errno == EINTR);
  int error = fd < 0 ? errno : 0;
  if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
    error = errno;
    close(fd);
    if (error == EWOULDBLOCK) return env.Null();
  }
  if (error == 0) return Napi::Number::New(env, fd);
  Napi::Error thrown = Napi::Error::New(env, std::generic_category().message(error));
  thrown.Set("errno", Napi::Number::New(env, error));
  throw thrown;
}

}  // namespace

void init_lock_file(Napi::Env env, Napi::Object exports) {
  export_function<lock_file>(env, exports, "lockFile");
}

}  // namespace addon
}  // namespace fintune
