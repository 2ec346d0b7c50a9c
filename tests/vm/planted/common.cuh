// Shared helpers of the planted kernels.
#include <stdint.h>
__device__ __forceinline__ uint32_t sm(const void* p) { return (uint32_t)__cvta_generic_to_shared(p); }
__device__ __forceinline__ void cp4(void* d, const void* s) { asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(sm(d)), "l"(s) : "memory"); }
__device__ __forceinline__ void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> __device__ __forceinline__ void wait_group() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
