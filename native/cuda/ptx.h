// The device bodies of gpu.h: with wgmma_ptx.h, every line of inline assembly for the GPU.
#pragma once

#define GPU_KERNEL(max_threads, min_blocks) __global__ __launch_bounds__(max_threads, min_blocks)
#define GPU_FN __device__ __forceinline__
// The executor is told where a collective stands; the device is not.
#define GPU_WHERE
#define GPU_THERE

#define GPU_BARRIER() __syncthreads()
#define GPU_NAMED_BARRIER(id, n) ::fintune::gpu::named_barrier(id, n)
#define GPU_WARP_SYNC() __syncwarp()
#define GPU_ASYNC_WAIT(n) ::fintune::gpu::cp_async_wait<n>()
#define GPU_SWIZZLE(swizzled, plain) (swizzled)

namespace fintune {
namespace gpu {

GPU_FN int thread() { return static_cast<int>(threadIdx.x); }
GPU_FN int threads() { return static_cast<int>(blockDim.x); }
GPU_FN int block_x() { return static_cast<int>(blockIdx.x); }
GPU_FN int block_y() { return static_cast<int>(blockIdx.y); }
GPU_FN int block_z() { return static_cast<int>(blockIdx.z); }
GPU_FN int grid_x() { return static_cast<int>(gridDim.x); }
GPU_FN int grid_y() { return static_cast<int>(gridDim.y); }
GPU_FN int grid_z() { return static_cast<int>(gridDim.z); }

// The block's dynamic shared memory from `byte_offset` on; it begins at a multiple of 128 bytes.
template <class T>
GPU_FN T* shared(size_t byte_offset = 0) {
  extern __shared__ __align__(128) unsigned char fintune_shared_memory[];
  return reinterpret_cast<T*>(fintune_shared_memory + byte_offset);
}

// All threads of n / 32 warps; ids are 1 .. 15.
GPU_FN void named_barrier(int id, int n) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(n) : "memory"); }

template <class T>
GPU_FN T shuffle_xor(T v, int mask) {
  return __shfl_xor_sync(kAllLanes, v, mask);
}
template <class T>
GPU_FN T shuffle(T v, int from_lane) {
  return __shfl_sync(kAllLanes, v, from_lane);
}
// Lanes below d keep their own value.
template <class T>
GPU_FN T shuffle_up(T v, int d) {
  return __shfl_up_sync(kAllLanes, v, static_cast<unsigned>(d));
}
// The last d lanes keep their own value.
template <class T>
GPU_FN T shuffle_down(T v, int d) {
  return __shfl_down_sync(kAllLanes, v, static_cast<unsigned>(d));
}
GPU_FN uint32_t ballot(bool p) { return __ballot_sync(kAllLanes, p); }

// Ends the kernel with an error: for bodies that this architecture must not run.
GPU_FN void trap() { __trap(); }

GPU_FN uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

// Copies 16 bytes of global to shared memory in the background; zeros where not valid (`global` is then not
// read). Both addresses are multiples of 16. sm_80.
GPU_FN void cp_async_16(void* to_shared, const void* global, bool valid) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to_shared)),
               "l"(__cvta_generic_to_global(global)), "r"(valid ? 16 : 0)
               : "memory");
#else
  __trap();
#endif
}
// The copies since the last commit become a group.
GPU_FN void cp_async_commit() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  __trap();
#endif
}
// Until at most n groups of this thread, the newest, are still under way.
template <int n>
GPU_FN void cp_async_wait() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
#else
  __trap();
#endif
}

// Lanes 8j .. 8j+7 give the 16-byte rows of matrix j (8 x 8 elements of 16 bits), lane l receives in r[j] the
// elements (l / 4, 2 (l % 4) + {0, 1}), low half first; `trans`: (2 (l % 4) + {0, 1}, l / 4). x2 takes the
// addresses of lanes 0 .. 15; those of the others must be valid all the same.
GPU_FN void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
GPU_FN void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
GPU_FN void ldmatrix_x2(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
}
GPU_FN void ldmatrix_x2_trans(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
}

// c += a b, a 16 x 16, b 16 x 8, T = bf16 or f16. With g = lane / 4, t = lane % 4:
//   a: row g, + 8 for elements 2, 3, 6, 7; column 2 t + (i & 1), + 8 for i >= 4   (elements in pairs, low
//   first) b: k = 2 t + (i & 1), + 8 for i >= 2; n = g         c: row g, + 8 for i >= 2; column 2 t + (i & 1)
// sm_80.
template <class T>
GPU_FN void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
template <>
GPU_FN void mma_m16n8k16<bf16>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();
#endif
}
template <>
GPU_FN void mma_m16n8k16<f16>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();
#endif
}

// The same of f16 with k = 8: a: row g, + 8 for i >= 2, column 2 t + (i & 1); b: k = 2 t + i, n = g. sm_75.
GPU_FN void mma_m16n8k8(float (&c)[4], const uint32_t (&a)[2], const uint32_t (&b)[1]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(b[0]));
}

// Both addresses are multiples of 16.
GPU_FN Vec16 load16(const void* p) {
  const uint4 v = *static_cast<const uint4*>(p);
  return Vec16{{v.x, v.y, v.z, v.w}};
}
GPU_FN void store16(void* p, Vec16 v) {
  *static_cast<uint4*>(p) = make_uint4(v.w[0], v.w[1], v.w[2], v.w[3]);
}

// Hardware approximations, some units in the last place off; subnormal numbers count as 0.
GPU_FN float exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
GPU_FN float log2(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
GPU_FN float reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// Within two units in the last place; sqrt is rounded correctly.
GPU_FN float exp(float x) { return ::expf(x); }
GPU_FN float log(float x) { return ::logf(x); }
GPU_FN float rsqrt(float x) { return ::rsqrtf(x); }
GPU_FN float sqrt(float x) { return ::sqrtf(x); }
// The other number where one is NaN.
GPU_FN float min(float a, float b) { return ::fminf(a, b); }
GPU_FN float max(float a, float b) { return ::fmaxf(a, b); }
// One rounding.
GPU_FN float fma(float a, float b, float c) { return ::fmaf(a, b, c); }
// The high half of the product.
GPU_FN uint32_t umulhi(uint32_t a, uint32_t b) { return __umulhi(a, b); }

// Two values of 16 bits in a register, `low` in the low half.
template <class T>
GPU_FN uint32_t pack2(float low, float high) {
  return static_cast<uint32_t>(from_float<T>(low).bits) | static_cast<uint32_t>(from_float<T>(high).bits)
                                                              << 16;
}
template <>
GPU_FN uint32_t pack2<bf16>(float low, float high) {
#if __CUDA_ARCH__ >= 800
  uint32_t r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
#else
  return static_cast<uint32_t>(to_bf16(low).bits) | static_cast<uint32_t>(to_bf16(high).bits) << 16;
#endif
}

}  // namespace gpu
}  // namespace fintune
