// What tests set on the SIMT executor, and what it has counted.
#include <string>

#include "addon/kernels.h"
#include "addon/napi_util.h"
#include "simt/dispatch.h"

namespace fintune {
namespace addon {
namespace {

Napi::Value set_capability(const Napi::CallbackInfo& info) {
  simt::set_capability(static_cast<int>(to_integer(info[0], "capability")));
  return info.Env().Undefined();
}

Napi::Value set_memory(const Napi::CallbackInfo& info) {
  simt::set_memory(to_uint64(info[0], "bytes"));
  return info.Env().Undefined();
}

Napi::Value set_seed(const Napi::CallbackInfo& info) {
  simt::set_seed(to_uint64(info[0], "seed"));
  return info.Env().Undefined();
}

Napi::Value set_async_mode(const Napi::CallbackInfo& info) {
  simt::set_async_mode(to_text(info[0], "asyncMode"));
  return info.Env().Undefined();
}

// [{file, line, kind, enabled, visits}]
Napi::Value sites(const Napi::CallbackInfo& info) {
  Napi::Array list = Napi::Array::New(info.Env());
  for (const simt::SiteInfo& s : simt::site_infos()) {
    Napi::Object site = Napi::Object::New(info.Env());
    site.Set("file", s.file);
    site.Set("line", s.line);
    site.Set("kind", s.kind);
    site.Set("enabled", s.enabled);
    site.Set("visits", static_cast<double>(s.visits));
    list.Set(list.Length(), site);
  }
  return list;
}

// (file, line, enabled)
Napi::Value set_site(const Napi::CallbackInfo& info) {
  simt::set_site(to_text(info[0], "file"), static_cast<int>(to_integer(info[1], "line")),
                 to_flag(info[2], "enabled"));
  return info.Env().Undefined();
}

Napi::Value enable_all_sites(const Napi::CallbackInfo& info) {
  simt::enable_all_sites();
  return info.Env().Undefined();
}

Napi::Value set_gemm_library(const Napi::CallbackInfo& info) {
  simt::set_gemm_library(to_flag(info[0], "on"));
  return info.Env().Undefined();
}

// [{m, n, k, accumulate, bias}]
Napi::Value library_products(const Napi::CallbackInfo& info) {
  Napi::Array list = Napi::Array::New(info.Env());
  for (const simt::LibraryProduct& p : simt::library_products()) {
    Napi::Object product = Napi::Object::New(info.Env());
    product.Set("m", static_cast<double>(p.m));
    product.Set("n", static_cast<double>(p.n));
    product.Set("k", static_cast<double>(p.k));
    product.Set("accumulate", p.accumulate);
    product.Set("bias", p.bias);
    list.Set(list.Length(), product);
  }
  return list;
}

Napi::Value count_traffic(const Napi::CallbackInfo& info) {
  simt::count_traffic(to_flag(info[0], "on"));
  return info.Env().Undefined();
}

Napi::Object cost(Napi::Env env, simt::Cost c) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("taken", static_cast<double>(c.taken));
  object.Set("least", static_cast<double>(c.least));
  return object;
}

// (lines) => [{kernel, launches, shared, global, bytesRead, .., lines: [{line, memory, access, taken,
// least}]}]
Napi::Value traffic(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Array list = Napi::Array::New(env);
  for (const simt::KernelTraffic& k : simt::traffic(to_flag(info[0], "lines"))) {
    Napi::Object kernel = Napi::Object::New(env);
    kernel.Set("kernel", k.kernel);
    kernel.Set("launches", static_cast<double>(k.launches));
    kernel.Set("shared", cost(env, k.shared));
    kernel.Set("global", cost(env, k.global));
    kernel.Set("bytesRead", static_cast<double>(k.bytes_read));
    kernel.Set("bytesWritten", static_cast<double>(k.bytes_written));
    kernel.Set("differentRead", static_cast<double>(k.different_read));
    kernel.Set("differentWritten", static_cast<double>(k.different_written));
    Napi::Array lines = Napi::Array::New(env);
    for (const simt::LineTraffic& l : k.lines) {
      Napi::Object line = cost(env, l.cost);
      line.Set("line", l.line);
      line.Set("memory", l.shared ? "shared" : "global");
      line.Set("access", l.write ? "write" : "read");
      lines.Set(lines.Length(), line);
    }
    kernel.Set("lines", lines);
    list.Set(list.Length(), kernel);
  }
  return list;
}

Napi::Value launches(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(simt::launches()));
}

Napi::Value work(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(simt::work()));
}

}  // namespace

void export_simt(Napi::Env env, Napi::Object exports) {
  if (!simt::present()) return;
  Napi::Object simt = Napi::Object::New(env);
  export_function<set_capability>(env, simt, "setCapability");
  export_function<set_memory>(env, simt, "setMemory");
  export_function<set_seed>(env, simt, "setSeed");
  export_function<set_async_mode>(env, simt, "setAsyncMode");
  export_function<sites>(env, simt, "sites");
  export_function<set_site>(env, simt, "setSite");
  export_function<enable_all_sites>(env, simt, "enableAllSites");
  export_function<set_gemm_library>(env, simt, "setGemmLibrary");
  export_function<library_products>(env, simt, "libraryProducts");
  export_function<count_traffic>(env, simt, "countTraffic");
  export_function<traffic>(env, simt, "traffic");
  export_function<launches>(env, simt, "launches");
  export_function<work>(env, simt, "work");
  exports.Set("simt", simt);
}

}  // namespace addon
}  // namespace fintune
