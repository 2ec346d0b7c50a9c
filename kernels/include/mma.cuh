// The instructions of a tensor-core matmul on sm_80 and later, one thin function each.
#pragma once

#include <cstdint>

// A shared-memory address as PTX wants it: 32 bits, from the start of the block's shared memory.
__device__ __forceinline__ uint32_t shared_address(const void* p)
{
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// 16 bytes from global to shared memory, past the registers and past L1. Both addresses are multiples of 16.
__device__ __forceinline__ void cp_async_16(uint32_t to_shared, const void* from_global)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to_shared), "l"(from_global) : "memory");
}

// The same, or 16 zero bytes if not `valid`; then nothing is read, and the address may lie anywhere.
__device__ __forceinline__ void cp_async_16_or_zero(uint32_t to_shared, const void* from_global, bool valid)
{
    const uint32_t bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to_shared), "l"(from_global), "r"(bytes)
                 : "memory");
}

// Closes this thread's current group of copies; a group may be empty.
__device__ __forceinline__ void cp_async_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until at most PENDING of this thread's newest groups are under way. Other threads' copies need a barrier too.
template <int PENDING>
__device__ __forceinline__ void cp_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Four 8x8 matrices of 16-bit elements. Lane l gives the address of row l % 8 of matrix l / 8, and gets of each matrix
// the two elements at row l / 4, columns 2 (l % 4) and the next.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], uint32_t row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row)
                 : "memory");
}

// The same, each matrix transposed: the lane gets the two elements at column l / 4, rows 2 (l % 4) and the next.
__device__ __forceinline__ void ldmatrix_x4_transposed(uint32_t (&r)[4], uint32_t row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row)
                 : "memory");
}

// d[16x8] += a[16x16] b[16x8]; a and b in bf16, d in f32. Lane l holds of d rows l / 4 and 8 further down, columns
// 2 (l % 4) and the next.
__device__ __forceinline__ void mma_16x8x16_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
