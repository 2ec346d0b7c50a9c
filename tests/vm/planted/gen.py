#!/usr/bin/env python3
"""Writes bugs.cu, clean.cu, planted.json and README from the one table below.
Each entry: a body in which `«bug text|clean text»` chooses the half; `@K` in the bug half becomes the marker."""
import json, re
E = []
def e(name, what, kind, sig, body, block=64, grid=1, shared=0, bufs=None, args=None, where='', blocks=(0,), threads=None, clean=None, api='', also=(), pre=''):
    E.append(dict(name=name, what=what, kind=kind, sig=sig, body=body.strip('\n'), block=block, grid=grid, shared=shared, bufs=bufs or {}, args=args or [], blocks=list(blocks), threads=threads, clean=clean or {}, api=api, also=list(also), pre=pre.strip('\n')))
f = lambda n, fill='iota': ['f32', n, fill]
i = lambda n, fill='iota': ['i32', n, fill]
R = lambda a, b, s=1: list(range(a, b, s))
A2 = ['buf:a', 'buf:o']
e('oob_read', 'reads one element past the end of `a`', 'oob_read', 'const float* a, float* o, int n', '''
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i «<=|<» n) o[i] = a[i];  //@''', grid=2, block=32, bufs=dict(a=f(40), o=f(64, 'zero')), args=A2+['i32:40'], blocks=[1], threads=[8])
e('oob_write', 'writes one element past the end of `o`', 'oob_write', 'const float* a, float* o, int n', '''
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i «<=|<» n) o[i] = 2.f * a[i];  //@''', grid=2, block=32, bufs=dict(a=f(64), o=f(40, 'zero')), args=A2+['i32:40'], blocks=[1], threads=[8])
e('oob_negative', 'reads element -1: the left neighbour of the first', 'oob_read', 'const float* a, float* o, int n', '''
  int i = threadIdx.x;
  if (i < n) o[i] = «a[i - 1]|(i ? a[i - 1] : 0.f)» + a[i];  //@''', block=33, bufs=dict(a=f(33), o=f(33, 'zero')), args=A2+['i32:33'], threads=[0])
e('oob_far', 'index lands far beyond, inside another allocation or between two', 'oob_read', 'const float* a, float* o, int stride', '''
  int i = threadIdx.x;
  o[i] = a[i * «stride|1»];  //@''', block=32, bufs=dict(a=f(32), o=f(32, 'zero'), other=f(4096)), args=A2+['i32:40'], threads=R(1, 32))
e('oob_vector', 'float4 load whose last lane hangs over the end (a has 4k+2 elements)', 'oob_read', 'const float4* a, float4* o, int n', '''
  int i = threadIdx.x;
  if (i < «(n + 3) / 4|n / 4») o[i] = a[i];  //@''', block=32, bufs=dict(a=f(30), o=f(32, 'zero')), args=A2+['i32:30'], threads=[7])
e('oob_atomic', 'atomicAdd on a bin that does not exist', 'oob_write', 'const int* a, int* o, int bins', '''
  int k = a[threadIdx.x];
  «|if (k < bins) »atomicAdd(&o[k], 1);  //@''', block=33, bufs=dict(a=i(33), o=i(32, 'zero')), args=A2+['i32:32'], threads=[32])
e('misaligned_float4', 'float4 load at an odd float', 'misaligned', 'const float* a, float* o, int shift', '''
  int i = threadIdx.x;
  float4 v = *(const float4*)(a + 4 * i + «shift|0»);  //@
  o[i] = v.x + v.y + v.z + v.w;''', block=32, bufs=dict(a=f(160), o=f(32, 'zero')), args=A2+['i32:1'], threads=R(0, 32))
e('misaligned_shared', '8-byte shared load at a 4-byte address', 'misaligned', 'const float* a, float* o, int shift', '''
  __shared__ __align__(8) float s[72];
  int i = threadIdx.x;
  s[i] = a[i];
  if (i < 8) s[64 + i] = 0.f;
  __syncthreads();
  float2 v = *(const float2*)&s[(i & ~1) + «shift|0»];  //@
  o[i] = v.x - v.y;''', bufs=dict(a=f(64), o=f(64, 'zero')), args=A2+['i32:1'], threads=R(0, 64))
e('misaligned_cp_async', '16-byte cp.async from a source aligned to 4', 'misaligned', 'const float* a, float* o, int shift', '''
  __shared__ __align__(16) float s[128];
  int i = threadIdx.x;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(sm(s + 4 * i)), "l"(a + 4 * i + «shift|0») : "memory");  //@
  commit();
  wait_group<0>();
  o[i] = s[4 * i];''', block=32, bufs=dict(a=f(160), o=f(32, 'zero')), args=A2+['i32:1'], threads=R(0, 32))
e('oob_shared_dynamic', 'dynamic shared memory smaller than the block needs (launched with 32 floats)', 'oob_shared', 'const float* a, float* o', '''
  extern __shared__ float dyn[];
  dyn[threadIdx.x] = a[threadIdx.x];  //@
  __syncthreads();
  o[threadIdx.x] = dyn[63 - threadIdx.x];''', shared=128, bufs=dict(a=f(64), o=f(64, 'zero')), args=A2, threads=R(32, 64), clean=dict(shared=256))
e('oob_shared_static', 'index past a static shared array that is the last in shared memory', 'oob_shared', 'const float* a, float* o, int k', '''
  __shared__ float s[64];
  s[threadIdx.x] = a[threadIdx.x];
  __syncthreads();
  o[threadIdx.x] = s[threadIdx.x + «k|0»];  //@''', bufs=dict(a=f(64), o=f(64, 'zero')), args=A2+['i32:16'], threads=R(48, 64))
e('oob_local', 'dynamic index past a local array', 'oob_local', 'const int* a, int* o, int n', '''
  int buf[8];
  for (int k = 0; k < 8; ++k) buf[k] = a[k] * threadIdx.x;
  int s = 0;
  for (int k = 0; k < n; ++k) s = s * 3 + buf[a[k] & «4095|7»];  //@
  o[threadIdx.x] = s;''', block=32, bufs=dict(a=['i32', 8, [0, 1, 2, 3, 4, 5, 6, 3000]], o=i(32, 'zero')), args=A2+['i32:8'], threads=R(0, 32), also=['uninit_local'])
e('use_after_free', 'the host frees `a` before the launch (in-process API); the kernel still reads it', 'use_after_free', 'const float* a, float* o', '''
  o[threadIdx.x] = a[threadIdx.x];  //@''', block=32, bufs=dict(a=f(32), o=f(32, 'zero')), args=A2, threads=R(0, 32), api='free buffer `a` after taking its address; clean twin: do not free')
e('uninit_global', 'reads a buffer nobody wrote (allocate without initialising)', 'uninit_global', 'const float* a, float* o', '''
  o[threadIdx.x] = a[threadIdx.x] + 1.f;  //@''', block=32, bufs=dict(a=f(32, 'uninit'), o=f(32, 'zero')), args=A2, threads=R(0, 32), api='allocate `a` without writing; clean twin: write it', clean=dict(bufs=dict(a=f(32), o=f(32, 'zero'))))
e('uninit_global_part', 'the kernel wrote all but the last element, then reads all', 'uninit_global', 'float* t, float* o, int n', '''
  int i = threadIdx.x;
  if (i < n« - 1|») t[i] = 3.f * i;
  __syncthreads();
  o[i] = t[n - 1 - i];  //@''', bufs=dict(t=f(64, 'uninit'), o=f(64, 'zero')), args=['buf:t', 'buf:o', 'i32:64'], threads=[0], api='allocate `t` without writing (both halves)')
e('uninit_shared', 'reads shared memory that no thread wrote', 'uninit_shared', 'const float* a, float* o, int n', '''
  __shared__ float s[64];
  int i = threadIdx.x;
  if (i < «n|64») s[i] = a[i];
  __syncthreads();
  o[i] = s[i ^ 1];  //@''', bufs=dict(a=f(64), o=f(64, 'zero')), args=A2+['i32:50'], threads=R(50, 64))
e('race_raw_shared', 'reads the other warp\'s value with no __syncthreads', 'race_shared', 'const float* a, float* o', '''
  __shared__ float s[64];
  int i = threadIdx.x;
  s[i] = a[i];  //@2
  «|__syncthreads();»
  o[i] = s[i ^ 32];  //@''', bufs=dict(a=f(64), o=f(64, 'zero')), args=A2, threads=R(0, 64), also=['uninit_shared'])
e('race_war_shared', 'overwrites what the other warp may still be reading', 'race_shared', 'const float* a, float* o', '''
  __shared__ float s[64];
  int i = threadIdx.x;
  s[i] = a[i];
  __syncthreads();
  float v = s[i ^ 32];  //@2
  «|__syncthreads();»
  s[i] = v + 1.f;  //@
  __syncthreads();
  o[i] = s[63 - i];''', bufs=dict(a=f(64), o=f(64, 'zero')), args=A2, threads=R(0, 64))
e('race_waw_shared', 'two warps write different values to one word', 'race_shared', 'const float* a, float* o', '''
  __shared__ float s[32];
  int i = threadIdx.x;
  «|if (i < 32) »s[i & 31] = a[i];  //@
  __syncthreads();
  o[i] = s[i & 31];''', bufs=dict(a=f(64), o=f(64, 'zero')), args=A2, threads=R(0, 64))
e('race_waw_lanes', 'lanes of one warp store different values to one word in one instruction', 'race_shared', 'const float* a, float* o', '''
  __shared__ float s[16];
  int i = threadIdx.x;
  «|if (i < 16) »s[i & 15] = a[i];  //@
  __syncwarp();
  o[i] = s[i & 15];''', block=32, bufs=dict(a=f(32), o=f(32, 'zero')), args=A2, threads=R(0, 32))
e('race_warp', 'exchange between lanes with no __syncwarp', 'race_shared', 'const float* a, float* o', '''
  __shared__ float s[32];
  int i = threadIdx.x;
  s[i] = a[i];  //@2
  «asm volatile("" ::: "memory");|__syncwarp();»
  o[i] = s[i ^ 1];  //@''', block=32, bufs=dict(a=f(32), o=f(32, 'zero')), args=A2, threads=R(0, 32), also=['uninit_shared'])
e('race_warp_reduce', 'the old warp-synchronous reduction tail: the compiler is kept in order, the lanes are not', 'race_shared', 'const float* a, float* o', '''
  __shared__ float s[64];
  int i = threadIdx.x;
  s[i] = a[i];
  s[i + 32] = a[i + 32];
  __syncwarp();
  float v = s[i];
  v += s[i + 32]; «asm volatile("" ::: "memory");|__syncwarp();» s[i] = v; «asm volatile("" ::: "memory");|__syncwarp();»  //@2
  v += s[i + 16]; «asm volatile("" ::: "memory");|__syncwarp();» s[i] = v; «asm volatile("" ::: "memory");|__syncwarp();»  //@
  v += s[i + 8]; «asm volatile("" ::: "memory");|__syncwarp();» s[i] = v; «asm volatile("" ::: "memory");|__syncwarp();»
  if (i == 0) o[0] = v + s[1];''', block=32, bufs=dict(a=f(64), o=f(1, 'zero')), args=A2, threads=R(0, 32))
e('race_loop', 'tile loop with no barrier at its end: the next load overtakes a slow reader', 'race_shared', 'const float* a, float* o, int tiles', '''
  __shared__ float s[64];
  int i = threadIdx.x;
  float acc = 0.f;
  for (int k = 0; k < tiles; ++k) {
    s[i] = a[k * 64 + i];  //@
    __syncthreads();
    acc += s[i ^ 32] + s[63 - i];  //@2
    «|__syncthreads();»
  }
  o[i] = acc;''', bufs=dict(a=f(256), o=f(64, 'zero')), args=A2+['i32:4'], threads=R(0, 64))
e('race_atomic_plain', 'plain read of a shared counter others still add to', 'race_shared', 'const int* a, int* o', '''
  __shared__ int c;
  int i = threadIdx.x;
  if (i == 0) c = 0;
  __syncthreads();
  atomicAdd(&c, a[i]);  //@2
  «|__syncthreads();»
  o[i] = *&c;  //@''', bufs=dict(a=i(64), o=i(64, 'zero')), args=A2, threads=R(0, 64))
e('race_global_blocks', 'reads what another block writes in the same launch', 'race_global', 'float* a, float* o', '''
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  a[i] = 2.f * i;  //@2
  o[i] = a[«(i + blockDim.x) % (gridDim.x * blockDim.x)|i»];  //@''', grid=4, block=32, bufs=dict(a=f(128), o=f(128, 'zero')), args=A2, blocks=R(0, 4), threads=R(0, 32))
e('race_global_waw', 'every block writes its own value to one word', 'race_global', 'float* o', '''
  if (threadIdx.x == 0) o[«0|blockIdx.x»] = blockIdx.x + 1.f;  //@''', grid=4, block=32, bufs=dict(o=f(4, 'zero')), args=['buf:o'], blocks=R(0, 4), threads=[0])
e('race_global_lost_update', 'read-modify-write without an atomic', 'race_global', 'const int* a, int* o', '''
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  «o[a[i] & 3] += 1;|atomicAdd(&o[a[i] & 3], 1);»  //@''', grid=2, block=64, bufs=dict(a=i(128), o=i(4, 'zero')), args=A2, blocks=[0, 1], threads=R(0, 64))
e('race_global_block', 'exchange through global memory within a block with no barrier', 'race_global', 'float* a, float* o', '''
  int i = threadIdx.x;
  a[i] = 3.f * i;  //@2
  «|__syncthreads();»
  o[i] = a[i ^ 32];  //@''', bufs=dict(a=f(64), o=f(64, 'zero')), args=A2, threads=R(0, 64))
e('race_lastblock', 'last-block reduction with no __threadfence before the ticket', 'race_global', 'const float* a, float* part, unsigned* ticket, float* o', '''
  __shared__ bool last;
  int b = blockIdx.x;
  if (threadIdx.x == 0) {
    part[b] = a[b * 2] + a[b * 2 + 1];  //@2
    «|__threadfence();»
    last = atomicInc(ticket, gridDim.x) == gridDim.x - 1;
    «|__threadfence();»
  }
  __syncthreads();
  if (last && threadIdx.x == 0) {
    float s = 0.f;
    for (int k = 0; k < gridDim.x; ++k) s += part[k];  //@
    o[0] = s;
  }''', grid=8, block=32, bufs=dict(a=f(16), part=f(8, 'zero'), ticket=['u32', 1, 'zero'], o=f(1, 'zero')), args=['buf:a', 'buf:part', 'buf:ticket', 'buf:o'], blocks=R(0, 8), threads=[0])
e('race_flag', 'message passing through a plain volatile flag with no fence', 'race_global', 'int* data, volatile int* flag, int* o', '''
  if (threadIdx.x != 0) return;
  if (blockIdx.x == 0) {
    data[0] = 42;  //@2
    «|__threadfence();»
    *flag = 1;
  } else {
    while (*flag == 0) {}
    «|__threadfence();»
    o[0] = data[0];  //@
  }''', grid=2, block=32, bufs=dict(data=i(1, 'zero'), flag=i(1, 'zero'), o=i(1, 'zero')), args=['buf:data', 'buf:flag', 'buf:o'], blocks=[0, 1], threads=[0])
e('divergent_half_warp', '__syncthreads in a branch taken by the even lanes only', 'divergent_barrier', 'const float* a, float* o', '''
  __shared__ float s[64];
  int i = threadIdx.x;
  s[i] = a[i];
  «if ((i & 1) == 0) |»__syncthreads();  //@
  o[i] = s[i] + 1.f;
  «|»__syncthreads();''', bufs=dict(a=f(64), o=f(64, 'zero')), args=A2, threads=R(0, 64), also=['deadlock'])
e('divergent_half_block', 'the first two warps meet at one __syncthreads, the others at a different one', 'divergent_barrier', 'const float* a, float* o', '''
  __shared__ float s[128];
  int i = threadIdx.x;
  s[i] = a[i];
«  if (i < 64) {
    __syncthreads();  //@
    s[i] += 1.f;
  } else {
    s[i] += 2.f;
    __syncthreads();  //@2
    s[i] *= 2.f;
  }|  __syncthreads();
  if (i < 64) s[i] += 1.f; else s[i] += 2.f;»
  o[i] = s[i];''', block=128, bufs=dict(a=f(128), o=f(128, 'zero')), args=A2, threads=R(0, 128))
e('barrier_loop_count', 'warps run the barrier loop a different number of times', 'divergent_barrier', 'const int* a, int* o', '''
  __shared__ int s[64];
  int i = threadIdx.x, n = «a[i >> 5]|3», acc = 0;
  for (int k = 0; k < n; ++k) {
    s[i] = k + i;
    __syncthreads();  //@
    acc += s[i ^ 1];
    __syncthreads();  //@2
  }
  asm volatile("bar.sync 1, 64;" ::: "memory");  //@3
  o[i] = acc;''', bufs=dict(a=['i32', 2, [3, 5]], o=i(64, 'zero')), args=A2, threads=R(0, 64), also=['deadlock'])
e('barrier_count_exited', 'bar.sync 1, 128 in a block of which half has returned', 'deadlock', 'const float* a, float* o', '''
  int i = threadIdx.x;
  «if (i >= 64) return;|»
  asm volatile("bar.sync 1, 128;" ::: "memory");  //@
  o[i] = a[i];''', block=128, bufs=dict(a=f(128), o=f(128, 'zero')), args=A2, threads=R(0, 64), also=['divergent_barrier'])
e('deadlock_named', 'warp 0 waits at barrier 1, warp 1 at barrier 2, each for 64 threads', 'deadlock', 'const float* a, float* o', '''
  int i = threadIdx.x;
  if (i < 32) asm volatile("bar.sync 1, 64;" ::: "memory");  //@
  else asm volatile("bar.sync «2|1», 64;" ::: "memory");  //@2
  o[i] = a[i];''', bufs=dict(a=f(64), o=f(64, 'zero')), args=A2, threads=R(0, 64), also=['divergent_barrier'])
e('deadlock_order', 'producer and consumer take two named barriers in opposite order', 'deadlock', 'const float* a, float* o', '''
  int i = threadIdx.x;
  if (i < 32) {
    asm volatile("bar.sync 1, 64;" ::: "memory");  //@
    asm volatile("bar.sync 2, 64;" ::: "memory");
  } else {
    asm volatile("bar.sync «2|1», 64;" ::: "memory");  //@2
    asm volatile("bar.sync «1|2», 64;" ::: "memory");
  }
  o[i] = a[i];''', bufs=dict(a=f(64), o=f(64, 'zero')), args=A2, threads=R(0, 64), also=['divergent_barrier'])
e('deadlock_mbarrier', 'mbarrier initialised for one arrival more than there are threads', 'deadlock', 'const float* a, float* o', '''
  __shared__ __align__(8) uint64_t bar;
  int i = threadIdx.x;
  uint32_t b = sm(&bar);
  if (i == 0) asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(b), "r"(64« + 1|») : "memory");
  __syncthreads();
  asm volatile("{\\n .reg .b64 t;\\n mbarrier.arrive.shared.b64 t, [%0];\\n}" ::"r"(b) : "memory");
  uint32_t ok = 0;
  while (!ok)
    asm volatile("{\\n .reg .pred p;\\n mbarrier.test_wait.parity.shared.b64 p, [%1], 0;\\n selp.u32 %0, 1, 0, p;\\n}" : "=r"(ok) : "r"(b) : "memory");  //@
  o[i] = a[i];''', bufs=dict(a=f(64), o=f(64, 'zero')), args=A2, threads=R(0, 64), also=['instruction_limit'])
e('mask_caller_missing', '__shfl_sync by lanes that are not in the mask', 'bad_mask', 'const float* a, float* o', '''
  int i = threadIdx.x;
  o[i] = __shfl_xor_sync(«0x0000ffffu|~0u», a[i], 1);  //@''', block=32, bufs=dict(a=f(32), o=f(32, 'zero')), args=A2, threads=R(16, 32))
e('mask_lane_absent', 'full mask in a branch half the lanes never enter; they wait elsewhere', 'bad_mask', 'const float* a, float* o', '''
  int i = threadIdx.x;
  float v = a[i];
  if (i < 16) v = __shfl_down_sync(«~0u|0xffffu», v, 1);  //@
  else v = v * 2.f + __shfl_xor_sync(0xffff0000u, v, 1);
  __syncwarp();
  o[i] = v;''', block=32, bufs=dict(a=f(32), o=f(32, 'zero')), args=A2, threads=R(0, 32), also=['deadlock'])
e('mask_lane_exited', '__ballot_sync with a full mask after the tail lanes returned', 'bad_mask', 'const int* a, unsigned* o, int n', '''
  int i = threadIdx.x;
  «if (i >= n) return;|»
  unsigned m = __ballot_sync(~0u, «|i < n && »a[i] > 3);  //@
  «|if (i < n) »o[i] = m;''', block=32, bufs=dict(a=i(32), o=['u32', 32, 'zero']), args=A2+['i32:20'], threads=R(0, 20))
e('mask_differs', 'lanes of one __shfl_sync name different masks', 'bad_mask', 'const float* a, float* o', '''
  int i = threadIdx.x;
  o[i] = __shfl_xor_sync(«i < 8 ? 0xffu : ~0u|i < 8 ? 0xffu : 0xffffff00u», a[i], 1);  //@''', block=32, bufs=dict(a=f(32), o=f(32, 'zero')), args=A2, threads=R(0, 32), also=['deadlock'])
e('shfl_inactive_source', '__shfl_sync reads a lane outside the mask', 'bad_mask', 'const float* a, float* o', '''
  int i = threadIdx.x;
  float v = a[i];
  if (i < 16) v = __shfl_sync(0xffffu, v, i + «8|0»);  //@
  o[i] = v;''', block=32, bufs=dict(a=f(32), o=f(32, 'zero')), args=A2, threads=R(8, 16))
e('cp_async_no_wait', 'reads the destination of cp.async with no wait at all', 'in_flight_read', 'const float* a, float* o', '''
  __shared__ float s[64];
  int i = threadIdx.x;
  cp4(s + i, a + i);  //@2
  commit();
  «|wait_group<0>();»
  o[i] = s[i];  //@''', bufs=dict(a=f(64), o=f(64, 'zero')), args=A2, threads=R(0, 64))
e('cp_async_lax_wait', 'waits with one group still allowed in flight, and reads that group', 'in_flight_read', 'const float* a, float* o', '''
  __shared__ float s[128];
  int i = threadIdx.x;
  cp4(s + i, a + i);
  commit();
  cp4(s + 64 + i, a + 64 + i);  //@2
  commit();
  wait_group<«1|0»>();
  o[i] = s[i] + s[64 + i];  //@''', bufs=dict(a=f(128), o=f(64, 'zero')), args=A2, threads=R(0, 64))
e('cp_async_pipeline_lax', 'two-stage pipeline whose loop waits for one group too few', 'in_flight_read', 'const float* a, float* o, int tiles', '''
  __shared__ float s[2][64];
  int i = threadIdx.x;
  float acc = 0.f;
  cp4(&s[0][i], a + i);
  commit();
  for (int k = 0; k < tiles; ++k) {
    if (k + 1 < tiles) cp4(&s[(k + 1) & 1][i], a + (k + 1) * 64 + i);  //@2
    commit();
    wait_group<«2|1»>();
    acc += s[k & 1][i];  //@
  }
  o[i] = acc;''', bufs=dict(a=f(320), o=f(64, 'zero')), args=A2+['i32:5'], threads=R(0, 64))
e('cp_async_uncommitted', 'wait_group with the copy in no group yet (commit forgotten)', 'in_flight_read', 'const float* a, float* o', '''
  __shared__ float s[64];
  int i = threadIdx.x;
  cp4(s + i, a + i);  //@2
  «|commit();»
  wait_group<0>();
  o[i] = s[i];  //@''', bufs=dict(a=f(64), o=f(64, 'zero')), args=A2, threads=R(0, 64))
e('cp_async_source_overwritten', 'overwrites the global source while the copy is in flight', 'race_global', 'float* a, float* o', '''
  __shared__ float s[64];
  int i = threadIdx.x;
  cp4(s + i, a + i);  //@2
  commit();
  «|wait_group<0>();»
  a[i] = -1.f;  //@
  wait_group<0>();
  o[i] = s[i];''', bufs=dict(a=f(64), o=f(64, 'zero')), args=A2, threads=R(0, 64), also=['in_flight_overwrite', 'in_flight_read'])
e('cp_async_dest_overwritten', 'stores to the destination while the copy is in flight', 'in_flight_write', 'const float* a, float* o', '''
  __shared__ float s[64];
  int i = threadIdx.x;
  cp4(s + i, a + i);  //@2
  commit();
  «|wait_group<0>();»
  s[i] = 0.5f;  //@
  wait_group<0>();
  o[i] = s[i];''', bufs=dict(a=f(64), o=f(64, 'zero')), args=A2, threads=R(0, 64), also=['in_flight_overwrite', 'race_shared', 'in_flight_read'])
e('cp_async_no_barrier', 'waits for its own copies, then reads another thread\'s with no __syncthreads', 'race_shared', 'const float* a, float* o', '''
  __shared__ float s[64];
  int i = threadIdx.x;
  cp4(s + i, a + i);  //@2
  commit();
  wait_group<0>();
  «|__syncthreads();»
  o[i] = s[i ^ 32];  //@''', bufs=dict(a=f(64), o=f(64, 'zero')), args=A2, threads=R(0, 64), also=['in_flight_read', 'uninit_shared'])
e('cp_async_barrier_no_wait', '__syncthreads in place of the wait: a barrier completes no copy', 'in_flight_read', 'const float* a, float* o', '''
  __shared__ float s[64];
  int i = threadIdx.x;
  cp4(s + i, a + i);  //@2
  commit();
  «|wait_group<0>();»
  __syncthreads();
  o[i] = s[i ^ 32];  //@''', bufs=dict(a=f(64), o=f(64, 'zero')), args=A2, threads=R(0, 64), also=['race_shared'])
e('cp_async_mbarrier_no_wait', 'cp.async.mbarrier.arrive, but the consumer does not wait on the mbarrier', 'in_flight_read', 'const float* a, float* o', '''
  __shared__ __align__(8) uint64_t bar;
  __shared__ float s[64];
  int i = threadIdx.x;
  uint32_t b = sm(&bar), ok = «1|0»;
  if (i == 0) asm volatile("mbarrier.init.shared.b64 [%0], 64;" ::"r"(b) : "memory");
  __syncthreads();
  cp4(s + i, a + i);  //@2
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(b) : "memory");
  while (!ok) asm volatile("{\\n .reg .pred p;\\n mbarrier.test_wait.parity.shared.b64 p, [%1], 0;\\n selp.u32 %0, 1, 0, p;\\n}" : "=r"(ok) : "r"(b) : "memory");
  o[i] = s[i];  //@''', bufs=dict(a=f(64), o=f(64, 'zero')), args=A2, threads=R(0, 64))
e('ldmatrix_race', 'ldmatrix of a tile the other warp is still storing', 'race_shared', 'const unsigned* a, unsigned* o', '''
  __shared__ __align__(16) unsigned s[2][32];
  int i = threadIdx.x, w = i >> 5, l = i & 31;
  s[w][l] = a[i];  //@2
  «|__syncthreads();»
  unsigned r;
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(r) : "r"(sm(&s[w ^ 1][(l & 7) * 4])) : "memory");  //@
  o[i] = r;''', bufs=dict(a=['u32', 64, 'iota'], o=['u32', 64, 'zero']), args=A2, threads=R(0, 64), also=['uninit_shared'])
e('write_constant', 'stores through a pointer into __constant__ memory', 'write_readonly', 'const int* a, int* o, int k', '''
  int i = threadIdx.x;
  o[i] = table_c[(i + k) & 7] + a[i];
  «|if (k < 0) »*launder(&table_c[i & 7]) = k;  //@''', block=32, bufs=dict(a=i(32), o=i(32, 'zero')), args=A2+['i32:3'], threads=R(0, 32), also=['oob_write', 'race_global'],
  pre='''__constant__ int table_c[8] = {1, 2, 3, 4, 5, 6, 7, 8};
__device__ __noinline__ int* launder(const int* p) { asm volatile("" : "+l"(p)); return (int*)p; }''')
e('stack_overflow', 'recursion that never ends', 'stack_overflow', 'const int* a, int* o, int n', '''
  o[threadIdx.x] = dive(a, n, threadIdx.x);''', block=32, bufs=dict(a=i(32), o=i(32, 'zero')), args=A2+['i32:9'], threads=R(0, 32), also=['instruction_limit'],
  pre='''__device__ __noinline__ int dive(const int* a, int n, int k) {
  int keep[16];
  for (int j = 0; j < 16; ++j) keep[j] = a[(k + j) & 31];
  «|if (n == 0) return keep[k & 15];»
  int r = dive(a, n - 1, keep[n & 15]);  //@
  return r + keep[r & 15];
}''')
e('null_pointer', 'reads through a null pointer', 'null_pointer', 'const float* a, float* o, int n', '''
  const float* p = n > 5 ? a : (const float*)(long long)(n - 3);
  o[threadIdx.x] = p[threadIdx.x];  //@''', block=32, bufs=dict(a=f(32), o=f(32, 'zero')), args=A2+['i32:3'], threads=R(0, 32), clean=dict(args=A2+['i32:30']), also=['oob_read'])
e('infinite_loop', 'a loop whose end never comes (an odd number never turns even)', 'instruction_limit', 'const unsigned* a, unsigned* o', '''
  unsigned x = a[threadIdx.x] | 1u, stop = a[32];
  do { x = x * 5u; asm volatile("" ::: "memory"); } while (x != stop«| && x % 7 != 3»);  //@
  o[threadIdx.x] = x;''', block=32, bufs=dict(a=['u32', 33, [*range(32), 2]], o=['u32', 32, 'zero']), args=A2, threads=R(0, 32), also=['deadlock'])
e('spin_forever', 'spins on a flag no one sets', 'deadlock', 'volatile int* flag, int* o', '''
  «|if (threadIdx.x == 0) *flag = 1;»
  while (*flag == 0) {}  //@
  o[threadIdx.x] = 1;''', block=32, bufs=dict(flag=i(1, 'zero'), o=i(32, 'zero')), args=['buf:flag', 'buf:o'], threads=R(0, 32), also=['instruction_limit'])

EXTRA_CLEAN = '''
// Extra clean kernels, idioms a checker must not flag.
// Many threads store the same value: the flag idiom. (racecheck calls it informational.)
extern "C" __global__ void ok_same_value(const int* a, int* o) { __shared__ int any; if (threadIdx.x == 0) any = 0; __syncthreads(); if (a[threadIdx.x] > 5) any = 1; __syncthreads(); o[threadIdx.x] = any; }
// Threads of a warp return early, the others go on to __syncthreads (legal since sm_70: barriers count live threads).
extern "C" __global__ void ok_exit_then_barrier(const int* a, int* o) { if (threadIdx.x >= 40) return; __shared__ int s[64]; s[threadIdx.x] = a[threadIdx.x]; __syncthreads(); o[threadIdx.x] = s[39 - threadIdx.x]; }
// Whole block branches the same way round a barrier.
extern "C" __global__ void ok_uniform_branch(const int* a, int* o) { __shared__ int s[64]; s[threadIdx.x] = a[threadIdx.x]; if (a[blockIdx.x] >= 0) { __syncthreads(); o[threadIdx.x] = s[threadIdx.x ^ 33]; } }
// Neighbouring bytes of one word are written by different threads.
extern "C" __global__ void ok_byte_neighbours(const int* a, int* o) { __shared__ unsigned char c[64]; c[threadIdx.x] = (unsigned char)a[threadIdx.x]; __syncthreads(); o[threadIdx.x] = c[63 - threadIdx.x]; }
// A thread re-uses its own slot with no barrier.
extern "C" __global__ void ok_own_slot(const int* a, int* o) { __shared__ int s[64]; int i = threadIdx.x; s[i] = a[i]; s[i] += 1; s[i] *= 3; o[i] = s[i]; }
// Blocks touch disjoint halves and share one atomic counter.
extern "C" __global__ void ok_atomic_counter(const int* a, int* o) { int i = threadIdx.x; if (a[i] & 1) o[1 + atomicAdd(o, 1)] = i; }
// Reads the last, partly filled 32-byte sector element by element.
extern "C" __global__ void ok_tail(const int* a, int* o, int n) { int i = threadIdx.x; if (i < n) o[i] = a[n - 1 - i]; }
// Shared pointer swapped each step: ping-pong with one barrier a step.
extern "C" __global__ void ok_ping_pong(const int* a, int* o) { __shared__ int s[2][64]; int i = threadIdx.x, *p = s[0], *q = s[1]; p[i] = a[i]; __syncthreads(); for (int k = 0; k < 5; ++k) { q[i] = p[(i + 1) & 63] + p[i]; __syncthreads(); int* t = p; p = q; q = t; } o[i] = p[i]; }
// Barrier-separated hand-over through global memory inside one block.
extern "C" __global__ void ok_global_handover(int* a, int* o) { int i = threadIdx.x; a[i] = i * 5; __syncthreads(); o[i] = a[63 - i]; __syncthreads(); a[i] = 0; }
// Divergent shuffles, each with exactly the lanes that call.
extern "C" __global__ void ok_partial_masks(const int* a, int* o) { int i = threadIdx.x, l = i & 31; int v = a[i]; unsigned m = __ballot_sync(~0u, l % 3 == 0); if (l % 3 == 0) v = __shfl_sync(m, v, 3); __syncwarp(); o[i] = v; }
// cp.async ring of three stages, waits and barrier in the right places.
extern "C" __global__ void ok_cp_async_ring(const int* a, int* o) {
  __shared__ int s[3][64];
  int i = threadIdx.x, acc = 0;
  cp4(&s[0][i], a + i); commit();
  cp4(&s[1][i], a + i); commit();
  for (int k = 0; k < 6; ++k) {
    wait_group<1>();
    __syncthreads();
    if (k + 2 < 6) cp4(&s[(k + 2) % 3][i], a + i);
    commit();
    acc += s[k % 3][63 - i];
  }
  o[i] = acc;
}
'''
def choose(t, w):
    return re.sub('«([^»]*)»', lambda m: (m[1].split('|', 1) + [''])[w], t)
res = []
files = [['// Planted bugs: every entry has one, named above it; the line carries `// BUG: kind` (`BUG2`: the other side). Generated by gen.py.', '#include "common.cuh"'],
         ['// The clean twins of bugs.cu, entry by entry, and idioms that must pass. Generated by gen.py.', '#include "common.cuh"']]
for k in E:
    lines = {}
    for w in (0, 1):
        o = files[w]
        o.append(''); o.append(f"// {k['name']}: {'clean twin of: ' if w else ''}{k['what']}.")
        text = (k['pre'] + '\n' if k['pre'] else '') + f"extern \"C\" __global__ void {k['name']}({k['sig']}) {{\n{k['body']}\n}}"
        for ln in choose(text, w).split('\n'):
            m = re.search(r'\s*//@(\d?)$', ln)
            if m:
                ln = ln[:m.start()]
                if w == 0: ln += f"  // BUG{m[1]}: {k['kind']}"; lines['bug' + m[1]] = len(o) + 1
            if ln.strip() == '' : continue
            o.append(ln.rstrip())
        # blank lines were dropped: recompute below
    res.append(k)
files[1].append(EXTRA_CLEAN.strip('\n'))
for n, o in zip(('bugs.cu', 'clean.cu'), files): open(n, 'w').write('\n'.join(o) + '\n')
# lines from the written file
src = open('bugs.cu').read().split('\n'); cur = None; L = {}; pend = {}
for no, ln in enumerate(src, 1):
    m = re.match(r'// (\w+): ', ln)
    if m and m[1] in {k['name'] for k in E}: cur = m[1]; L[cur] = {}
    m = re.search(r'// BUG(\d?): (\w+)', ln)
    if m and cur: L[cur]['bug' + m[1]] = no
out = []
for k in E:
    d = dict(entry=k['name'], what=k['what'], kind=k['kind'], also_accepted=k['also'], lines=L[k['name']], grid=k['grid'], block=k['block'], shared=k['shared'],
             buffers={n: dict(dtype=b[0], len=b[1], fill=b[2]) for n, b in k['bufs'].items()}, args=k['args'], blocks=k['blocks'], threads=k['threads'], host=k['api'])
    cl = dict(k['clean'])
    if 'bufs' in cl: cl['buffers'] = {n: dict(dtype=b[0], len=b[1], fill=b[2]) for n, b in cl.pop('bufs').items()}
    d['clean_overrides'] = cl; out.append(d)
extra = []
for m in re.finditer(r'void (ok_\w+)\(', EXTRA_CLEAN):
    extra.append(dict(entry=m[1], grid=1, block=64, shared=0, buffers=dict(a=dict(dtype='i32', len=64, fill='iota'), o=dict(dtype='i32', len=65, fill='zero')), args=['buf:a', 'buf:o'] + (['i32:61'] if m[1] == 'ok_tail' else [])))
json.dump(dict(bugs=out, extra_clean=extra), open('planted.json', 'w'), indent=1)
rd = ['Planted bugs', '============', '',
 'bugs.cu: one small entry per bug; clean.cu: the same entries mended, and idioms (`ok_*`) that must give no finding. planted.json holds this table for tests;',
 'gen.py writes all four files; compile with `nvcc -std=c++17 -arch=compute_80 -O3 -lineinfo -ptx`.',
 'Fills: iota = 0,1,2,…; zero; uninit = allocate and do not write (in-process API; from the command line every buffer is initialised, so those entries need the API);',
 'a list gives the contents. `line` is in bugs.cu; for a race both sides are listed (BUG = the later access as written, BUG2 = the other); either may come first in an execution.',
 'Block and threads: any one of the set is right. "also": a different kind that a correct machine may report first.', '']
for d in out:
    rng = lambda v: f'{v[0]}..{v[-1]}' if len(v) > 2 and v == list(range(v[0], v[-1]+1)) else ', '.join(map(str, v))
    bf = '; '.join(f"{n}: {b['dtype']}[{b['len']}] {b['fill']}" for n, b in d['buffers'].items())
    rd += [f"{d['entry']}", f"  bug      {d['what']}", f"  expect   {d['kind']}" + (f" (also: {', '.join(d['also_accepted'])})" if d['also_accepted'] else '') + f" at line{'s' if len(d['lines']) > 1 else ''} {', '.join(map(str, d['lines'].values()))}; block {rng(d['blocks'])}; thread {rng(d['threads'])}",
           f"  launch   grid {d['grid']}, block {d['block']}, shared {d['shared']}; args {' '.join(d['args'])}", f"  buffers  {bf}"]
    if d['host']: rd.append(f"  host     {d['host']}")
    if d['clean_overrides']: rd.append(f"  clean    {json.dumps(d['clean_overrides'])}")
    rd.append('')
rd += ['Extra clean entries (block 64, a: i32[64] iota, o: i32[65] zero; ok_tail takes i32:61):', '  ' + ', '.join(x['entry'] for x in extra), '']
open('README', 'w').write('\n'.join(rd))
