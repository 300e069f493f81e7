// A libcuda.so.1 that is too old, or finds no GPU: what the real CUDA runtime in the addon makes of such a
// driver.
#include <stdlib.h>
#include <string.h>

static int number(const char* name, int otherwise) {
  const char* text = getenv(name);
  return text != NULL ? atoi(text) : otherwise;
}

int cuDriverGetVersion(int* version) {
  *version = number("FAKE_DRIVER_VERSION", 13000);
  return 0;
}
int cuInit(unsigned flags) {
  (void)flags;
  return number("FAKE_DRIVER_INIT", 100);  // CUDA_ERROR_NO_DEVICE
}
static int not_supported(void) { return 801; }
int cuGetProcAddress_v2(const char* name, void** function, int version, unsigned long long flags,
                        void* status) {
  (void)version, (void)flags, (void)status;
  if (strcmp(name, "cuDriverGetVersion") == 0) {
    *function = (void*)cuDriverGetVersion;
  } else if (strcmp(name, "cuInit") == 0) {
    *function = (void*)cuInit;
  } else if (strcmp(name, "cuGetProcAddress") == 0) {
    *function = (void*)cuGetProcAddress_v2;
  } else {
    *function = (void*)not_supported;
  }
  return 0;
}
int cuGetProcAddress(const char* name, void** function, int version, unsigned long long flags) {
  return cuGetProcAddress_v2(name, function, version, flags, NULL);
}
