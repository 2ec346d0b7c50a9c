// Arithmetic in the order it is written: every operation rounded for itself, none contracted to an fma, as the CPU
// engine computes. For kernels that have to give the CPU's bits.
#pragma once

__device__ __forceinline__ float exact_mul(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ float exact_add(float a, float b) { return __fadd_rn(a, b); }
__device__ __forceinline__ float exact_sub(float a, float b) { return __fsub_rn(a, b); }
__device__ __forceinline__ float exact_div(float a, float b) { return __fdiv_rn(a, b); }
__device__ __forceinline__ double exact_mul(double a, double b) { return __dmul_rn(a, b); }
__device__ __forceinline__ double exact_add(double a, double b) { return __dadd_rn(a, b); }
__device__ __forceinline__ double exact_sub(double a, double b) { return __dsub_rn(a, b); }
__device__ __forceinline__ double exact_div(double a, double b) { return __ddiv_rn(a, b); }

// A number with such operators. Into it without a word, out of it by `.value`: no operation falls back to plain ones.
template <typename T>
struct Exact {
    T value;

    Exact() = default;
    __device__ __forceinline__ Exact(T x) : value(x) {}

    friend __device__ __forceinline__ Exact operator*(Exact a, Exact b) { return exact_mul(a.value, b.value); }
    friend __device__ __forceinline__ Exact operator+(Exact a, Exact b) { return exact_add(a.value, b.value); }
    friend __device__ __forceinline__ Exact operator-(Exact a, Exact b) { return exact_sub(a.value, b.value); }
    friend __device__ __forceinline__ Exact operator/(Exact a, Exact b) { return exact_div(a.value, b.value); }
    friend __device__ __forceinline__ bool operator<(Exact a, Exact b) { return a.value < b.value; }
    friend __device__ __forceinline__ bool operator>(Exact a, Exact b) { return a.value > b.value; }
    friend __device__ __forceinline__ bool operator>=(Exact a, Exact b) { return a.value >= b.value; }
    friend __device__ __forceinline__ bool operator==(Exact a, Exact b) { return a.value == b.value; }
};
