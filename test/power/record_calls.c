/* Preloaded into a program: writes down, in order and with its data, all that the program does to the files below one
 * folder (FINTUNE_RECORD_BELOW, absolute, as long as nobody calls it by another path), in FINTUNE_RECORD_TO. A record is a
 * line of five fields and behind it the bytes of two strings:
 *     NAME DESCRIPTOR NUMBER LENGTH1 LENGTH2\n STRING1 STRING2 \n
 * It is written while the call is still under one lock with all others, so that the order is the one that happened.
 * FINTUNE_RECORD_KILL=TEXT:N: the process ends, as by kill -9, N records behind the first of a path that ends with TEXT. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { most_descriptors = 65536 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char below[PATH_MAX];
static int to = -1;
static char kill_path[PATH_MAX];
/* Records until the end, once it is set. */
static long records_left = -1, kill_after = -1;
/* Inode behind a descriptor that was opened below the folder. A close may go past the C library, so it is asked again. */
static ino_t tracked[most_descriptors];

#define REAL(name, type, ...) \
  static type (*real)(__VA_ARGS__); \
  if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static void write_out(const struct iovec* parts, int count) {
  REAL("writev", ssize_t, int, const struct iovec*, int);
  size_t all = 0;
  for (int i = 0; i < count; i++) all += parts[i].iov_len;
  if (real(to, parts, count) == (ssize_t)all) return;
  const char text[] = "record_calls: cannot write the record\n";
  if (write(2, text, sizeof text - 1)) abort();
  abort();
}

__attribute__((constructor)) static void begin(void) {
  const char* path = getenv("FINTUNE_RECORD_TO");
  const char* folder = getenv("FINTUNE_RECORD_BELOW");
  const char* kill_at = getenv("FINTUNE_RECORD_KILL");
  if (!path || !folder) return;
  snprintf(below, sizeof below, "%s", folder);
  if (kill_at && strrchr(kill_at, ':')) {
    snprintf(kill_path, sizeof kill_path, "%.*s", (int)(strrchr(kill_at, ':') - kill_at), kill_at);
    kill_after = atol(strrchr(kill_at, ':') + 1);
  }
  REAL("open", int, const char*, int, ...);
  to = real(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

static int ends_with(const char* text, size_t length, const char* end) {
  return length >= strlen(end) && memcmp(text + length - strlen(end), end, strlen(end)) == 0;
}

static void record(const char* name, int fd, long long number, const void* a, size_t a_length, const void* b, size_t b_length) {
  char head[160];
  const int length = snprintf(head, sizeof head, "%s %d %lld %zu %zu\n", name, fd, number, a_length, b_length);
  char end = '\n';
  const struct iovec parts[] = {{head, (size_t)length}, {(void*)a, a_length}, {(void*)b, b_length}, {&end, 1}};
  write_out(parts, 4);
  if (records_left < 0 && kill_after >= 0 && (ends_with(a, a_length, kill_path) || ends_with(b, b_length, kill_path))) {
    records_left = kill_after;
  } else if (records_left > 0) {
    records_left--;
  }
  if (records_left == 0) kill(getpid(), SIGKILL);
}

/* The absolute path, or null where it does not lie below the folder. */
static const char* inside(int folder, const char* path, char* buffer) {
  if (to < 0 || !path) return NULL;
  if (path[0] == '/') {
    snprintf(buffer, PATH_MAX, "%s", path);
  } else {
    char base[PATH_MAX - 256];
    if (folder == AT_FDCWD) {
      if (!getcwd(base, sizeof base)) return NULL;
    } else {
      char link[64];
      snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
      const ssize_t length = readlink(link, base, sizeof base - 1);
      if (length < 0) return NULL;
      base[length] = 0;
    }
    if (snprintf(buffer, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return NULL;
  }
  const size_t length = strlen(below);
  return strncmp(buffer, below, length) == 0 && (!buffer[length] || buffer[length] == '/') ? buffer : NULL;
}

static ino_t inode_of(int fd) {
  struct stat facts;
  return fstat(fd, &facts) == 0 ? facts.st_ino : 0;
}

static int is_tracked(int fd) { return fd >= 0 && fd < most_descriptors && tracked[fd] && tracked[fd] == inode_of(fd); }

#define LOCKED(type, call, then) \
  pthread_mutex_lock(&lock); \
  const type result = (call); \
  const int error = errno; \
  if (result >= 0) { then; } \
  pthread_mutex_unlock(&lock); \
  errno = error; \
  return result

#define OPENED \
  if (result < most_descriptors) { \
    tracked[result] = inode_of(result); \
    record("open", result, flags, found, strlen(found), NULL, 0); \
  }

#define OPEN(name) \
  int name(const char* path, int flags, ...) { \
    REAL(#name, int, const char*, int, ...); \
    char buffer[PATH_MAX]; \
    va_list more; \
    va_start(more, flags); \
    const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
    va_end(more); \
    const char* found = inside(AT_FDCWD, path, buffer); \
    if (!found) return real(path, flags, mode); \
    LOCKED(int, real(path, flags, mode), OPENED); \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
  int name(int folder, const char* path, int flags, ...) { \
    REAL(#name, int, int, const char*, int, ...); \
    char buffer[PATH_MAX]; \
    va_list more; \
    va_start(more, flags); \
    const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
    va_end(more); \
    const char* found = inside(folder, path, buffer); \
    if (!found) return real(folder, path, flags, mode); \
    LOCKED(int, real(folder, path, flags, mode), OPENED); \
  }
OPENAT(openat)
OPENAT(openat64)

#define CREAT(name) \
  int name(const char* path, mode_t mode) { return open(path, O_WRONLY | O_CREAT | O_TRUNC, mode); }
CREAT(creat)
CREAT(creat64)

ssize_t write(int fd, const void* bytes, size_t length) {
  REAL("write", ssize_t, int, const void*, size_t);
  if (!is_tracked(fd)) return real(fd, bytes, length);
  LOCKED(ssize_t, real(fd, bytes, length), record("write", fd, lseek(fd, 0, SEEK_CUR) - result, bytes, (size_t)result, NULL, 0));
}

#define PWRITE(name) \
  ssize_t name(int fd, const void* bytes, size_t length, off_t at) { \
    REAL(#name, ssize_t, int, const void*, size_t, off_t); \
    if (!is_tracked(fd)) return real(fd, bytes, length, at); \
    LOCKED(ssize_t, real(fd, bytes, length, at), record("write", fd, at, bytes, (size_t)result, NULL, 0)); \
  }
PWRITE(pwrite)
PWRITE(pwrite64)

static void record_parts(int fd, const struct iovec* parts, int count, off_t at, size_t written) {
  for (int i = 0; i < count && written > 0; i++) {
    const size_t length = parts[i].iov_len < written ? parts[i].iov_len : written;
    record("write", fd, at, parts[i].iov_base, length, NULL, 0);
    at += (off_t)length;
    written -= length;
  }
}

ssize_t writev(int fd, const struct iovec* parts, int count) {
  REAL("writev", ssize_t, int, const struct iovec*, int);
  if (!is_tracked(fd)) return real(fd, parts, count);
  LOCKED(ssize_t, real(fd, parts, count), record_parts(fd, parts, count, lseek(fd, 0, SEEK_CUR) - result, (size_t)result));
}

#define PWRITEV(name) \
  ssize_t name(int fd, const struct iovec* parts, int count, off_t at) { \
    REAL(#name, ssize_t, int, const struct iovec*, int, off_t); \
    if (!is_tracked(fd)) return real(fd, parts, count, at); \
    LOCKED(ssize_t, real(fd, parts, count, at), record_parts(fd, parts, count, at, (size_t)result)); \
  }
PWRITEV(pwritev)
PWRITEV(pwritev64)

#define FTRUNCATE(name) \
  int name(int fd, off_t size) { \
    REAL(#name, int, int, off_t); \
    if (!is_tracked(fd)) return real(fd, size); \
    LOCKED(int, real(fd, size), record("truncate", fd, size, NULL, 0, NULL, 0)); \
  }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

#define SYNC(name) \
  int name(int fd) { \
    REAL(#name, int, int); \
    if (!is_tracked(fd)) return real(fd); \
    LOCKED(int, real(fd), record("sync", fd, 0, NULL, 0, NULL, 0)); \
  }
SYNC(fsync)
SYNC(fdatasync)

/* A call that concerns one path. */
#define PATH(name, what, parameters, types, arguments, folder, path) \
  int name parameters { \
    REAL(#name, int, types); \
    char buffer[PATH_MAX]; \
    const char* found = inside(folder, path, buffer); \
    if (!found) return real arguments; \
    LOCKED(int, real arguments, record(what, -1, 0, found, strlen(found), NULL, 0)); \
  }
#define COMMA ,
PATH(unlink, "remove", (const char* p), const char*, (p), AT_FDCWD, p)
PATH(rmdir, "remove", (const char* p), const char*, (p), AT_FDCWD, p)
PATH(remove, "remove", (const char* p), const char*, (p), AT_FDCWD, p)
PATH(unlinkat, "remove", (int d, const char* p, int f), int COMMA const char* COMMA int, (d, p, f), d, p)
PATH(mkdir, "mkdir", (const char* p, mode_t m), const char* COMMA mode_t, (p, m), AT_FDCWD, p)
PATH(mkdirat, "mkdir", (int d, const char* p, mode_t m), int COMMA const char* COMMA mode_t, (d, p, m), d, p)
/* Not modelled: the reader of the record refuses them. */
PATH(truncate, "truncate-by-path", (const char* p, off_t s), const char* COMMA off_t, (p, s), AT_FDCWD, p)
PATH(truncate64, "truncate-by-path", (const char* p, off_t s), const char* COMMA off_t, (p, s), AT_FDCWD, p)
PATH(link, "link", (const char* o, const char* p), const char* COMMA const char*, (o, p), AT_FDCWD, p)
PATH(symlink, "symlink", (const char* o, const char* p), const char* COMMA const char*, (o, p), AT_FDCWD, p)

static int renamed(int result, int from_folder, const char* from, int to_folder, const char* name) {
  char one[PATH_MAX], two[PATH_MAX];
  const char* a = inside(from_folder, from, one);
  const char* b = inside(to_folder, name, two);
  if (result == 0 && (a || b)) record("rename", -1, 0, a ? a : "", a ? strlen(a) : 0, b ? b : "", b ? strlen(b) : 0);
  return result;
}

int rename(const char* from, const char* name) {
  REAL("rename", int, const char*, const char*);
  LOCKED(int, real(from, name), renamed(result, AT_FDCWD, from, AT_FDCWD, name));
}

int renameat(int from_folder, const char* from, int folder, const char* name) {
  REAL("renameat", int, int, const char*, int, const char*);
  LOCKED(int, real(from_folder, from, folder, name), renamed(result, from_folder, from, folder, name));
}

int renameat2(int from_folder, const char* from, int folder, const char* name, unsigned flags) {
  REAL("renameat2", int, int, const char*, int, const char*, unsigned);
  LOCKED(int, real(from_folder, from, folder, name, flags), renamed(result, from_folder, from, folder, name));
}

#define MAP(name) \
  void* name(void* at, size_t length, int protection, int flags, int fd, off_t offset) { \
    REAL(#name, void*, void*, size_t, int, int, int, off_t); \
    if (is_tracked(fd) && (protection & PROT_WRITE) && (flags & MAP_SHARED)) record("mmap", fd, offset, NULL, 0, NULL, 0); \
    return real(at, length, protection, flags, fd, offset); \
  }
MAP(mmap)
MAP(mmap64)
