// From JavaScript values to C++ ones, by name and with errors that name the argument; and from C++ exceptions
// to JavaScript errors whose `code` is one of the catalogue in src/errors.ts.
#pragma once

#include <napi.h>

#include <cmath>
#include <exception>
#include <new>
#include <string>
#include <utility>

#include "core/error.h"

namespace fintune {
namespace addon {

inline Napi::Error js_error(Napi::Env env, const char* code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  return error;
}

// For the rejection of a promise whose work failed on another thread.
inline Napi::Error js_error(Napi::Env env, std::exception_ptr cause) {
  try {
    std::rethrow_exception(std::move(cause));
  } catch (const Napi::Error& e) {
    return e;
  } catch (const Error& e) {
    return js_error(env, error_code_name(e.code()), e.what());
  } catch (const std::bad_alloc&) {
    return js_error(env, error_code_name(ErrorCode::OutOfMemory), "the system has no memory for this");
  } catch (const std::exception& e) {
    return js_error(env, error_code_name(ErrorCode::Internal), e.what());
  } catch (...) {
    return js_error(env, error_code_name(ErrorCode::Internal), "an unknown native exception");
  }
}

// Runs fn; whatever it throws becomes a JavaScript error.
template <typename Fn>
auto guard(Napi::Env env, Fn&& fn) -> decltype(fn()) {
  try {
    return fn();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw js_error(env, std::current_exception());
  }
}

using Callback = Napi::Value (*)(const Napi::CallbackInfo&);

template <Callback fn>
Napi::Value guarded(const Napi::CallbackInfo& info) {
  return guard(info.Env(), [&] { return fn(info); });
}

// export_function<add>(env, exports, "add"): a function of the addon, guarded.
template <Callback fn>
void export_function(Napi::Env env, Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New(env, guarded<fn>, name));
}

inline const char* js_type(const Napi::Value& v) {
  if (v.IsEmpty() || v.IsUndefined()) return "undefined";
  if (v.IsNull()) return "null";
  if (v.IsBoolean()) return "a boolean";
  if (v.IsNumber()) return "a number";
  if (v.IsBigInt()) return "a bigint";
  if (v.IsString()) return "a string";
  if (v.IsFunction()) return "a function";
  if (v.IsTypedArray()) return "a typed array";
  if (v.IsArray()) return "an array";
  return "an object";
}

inline std::string to_text(const Napi::Value& v, const std::string& name) {
  require(v.IsString(), name, ": expected a string, found ", js_type(v));
  return v.As<Napi::String>().Utf8Value();
}

inline bool to_flag(const Napi::Value& v, const std::string& name) {
  require(v.IsBoolean(), name, ": expected true or false, found ", js_type(v));
  return v.As<Napi::Boolean>().Value();
}

inline double to_number(const Napi::Value& v, const std::string& name) {
  require(v.IsNumber(), name, ": expected a number, found ", js_type(v));
  return v.As<Napi::Number>().DoubleValue();
}

inline int64_t to_integer(const Napi::Value& v, const std::string& name) {
  const double x = to_number(v, name);
  require(std::floor(x) == x && std::fabs(x) <= 9007199254740991.0, name, ": expected a whole number, found ",
          x);
  return static_cast<int64_t>(x);
}

// 0 .. 2^64-1: a bigint, or a whole number that JavaScript holds exactly (seeds, streams).
inline uint64_t to_uint64(const Napi::Value& v, const std::string& name) {
  if (v.IsBigInt()) {
    bool lossless = false;
    const uint64_t x = v.As<Napi::BigInt>().Uint64Value(&lossless);
    require(lossless, name, ": expected 0 .. 2^64-1, found a bigint outside of it");
    return x;
  }
  const int64_t x = to_integer(v, name);
  require(x >= 0, name, ": expected 0 or more, found ", x);
  return static_cast<uint64_t>(x);
}

// A typed array's elements, borrowed for the duration of the call.
template <typename T>
struct Elements {
  T* data;
  int64_t length;
};
template <typename Array,
          typename T = typename std::remove_pointer<decltype(std::declval<Array>().Data())>::type>
Elements<T> to_elements(const Napi::Value& v, napi_typedarray_type type, const char* type_name,
                        const std::string& name) {
  require(v.IsTypedArray() && v.As<Napi::TypedArray>().TypedArrayType() == type, name, ": expected ",
          type_name, ", found ", js_type(v));
  Array array = v.As<Array>();
  return {array.Data(), static_cast<int64_t>(array.ElementLength())};
}
inline Elements<float> to_floats(const Napi::Value& v, const std::string& name) {
  return to_elements<Napi::Float32Array>(v, napi_float32_array, "a Float32Array", name);
}
inline Elements<int32_t> to_ints(const Napi::Value& v, const std::string& name) {
  return to_elements<Napi::Int32Array>(v, napi_int32_array, "an Int32Array", name);
}

// An object of named arguments. `where` leads each message ("rmsnormForward"). undefined and null count as
// absent.
class Options {
 public:
  Options(const Napi::Value& v, std::string where) : where_(std::move(where)) {
    require(v.IsObject() && !v.IsArray() && !v.IsTypedArray() && !v.IsFunction(), where_,
            ": expected an object of named arguments, found ", js_type(v));
    object_ = v.As<Napi::Object>();
  }

  const std::string& where() const { return where_; }
  std::string path(const char* name) const { return where_ + "." + name; }
  bool has(const char* name) const {
    const Napi::Value v = object_.Get(name);
    return !v.IsUndefined() && !v.IsNull();
  }
  Napi::Value get(const char* name) const { return object_.Get(name); }

  double number(const char* name) const { return to_number(get(name), path(name)); }
  double number(const char* name, double fallback) const { return has(name) ? number(name) : fallback; }
  float real(const char* name) const { return static_cast<float>(number(name)); }
  float real(const char* name, float fallback) const { return has(name) ? real(name) : fallback; }
  int64_t integer(const char* name) const { return to_integer(get(name), path(name)); }
  int64_t integer(const char* name, int64_t fallback) const { return has(name) ? integer(name) : fallback; }
  uint64_t uint64(const char* name, uint64_t fallback) const {
    return has(name) ? to_uint64(get(name), path(name)) : fallback;
  }
  bool flag(const char* name, bool fallback) const {
    return has(name) ? to_flag(get(name), path(name)) : fallback;
  }
  std::string text(const char* name) const { return to_text(get(name), path(name)); }
  std::string text(const char* name, const std::string& fallback) const {
    return has(name) ? text(name) : fallback;
  }

 private:
  Napi::Object object_;
  std::string where_;
};

}  // namespace addon
}  // namespace fintune
