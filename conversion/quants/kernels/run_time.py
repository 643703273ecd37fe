"""What kernels need of numba's run time, for them to take in: they run where numba is not.

- Memory for arrays (numba/core/runtime/nrt.cpp) is C's: five words, which are a count of users, a destructor and what
  it is given, where the data is, and how large; then the data.
- Another shape for an array (numba/_helperlib.c) is always possible: numba reshapes none that is not contiguous.
"""

SOURCE = """
declare noalias ptr @malloc(i64)
declare void @free(ptr)

define noalias ptr @NRT_MemInfo_alloc_aligned(i64 %size, i32 %align) {
  %step = zext i32 %align to i64
  %beside = add i64 %step, 40
  %all = add i64 %size, %beside
  %memory = call ptr @malloc(i64 %all)
  %failed = icmp eq ptr %memory, null
  br i1 %failed, label %end, label %fill
fill:
  %start = ptrtoint ptr %memory to i64
  %after = add i64 %start, %beside
  %past = urem i64 %after, %step
  %data = sub i64 %after, %past
  store i64 1, ptr %memory
  %owner = getelementptr i64, ptr %memory, i64 1
  store i64 0, ptr %owner
  %about = getelementptr i64, ptr %memory, i64 2
  store i64 0, ptr %about
  %at = getelementptr i64, ptr %memory, i64 3
  store i64 %data, ptr %at
  %length = getelementptr i64, ptr %memory, i64 4
  store i64 %size, ptr %length
  br label %end
end:
  ret ptr %memory
}

define void @NRT_MemInfo_call_dtor(ptr %memory) {
  call void @free(ptr %memory)
  ret void
}

define i32 @numba_attempt_nocopy_reshape(i64 %n, ptr %shape, ptr %strides, i64 %new_n, ptr %new_shape, ptr %new_strides,
                                         i64 %item_size, i32 %is_fortran) {
  br label %loop
loop:
  %left = phi i64 [ %new_n, %0 ], [ %last, %body ]
  %stride = phi i64 [ %item_size, %0 ], [ %next, %body ]
  %done = icmp eq i64 %left, 0
  br i1 %done, label %end, label %body
body:
  %last = sub i64 %left, 1
  %to = getelementptr i64, ptr %new_strides, i64 %last
  store i64 %stride, ptr %to
  %from = getelementptr i64, ptr %new_shape, i64 %last
  %length = load i64, ptr %from
  %next = mul i64 %stride, %length
  br label %loop
end:
  ret i32 1
}
"""
"""In LLVM's words."""

OF_C = frozenset({"malloc", "free", "memcpy", "memmove", "memset", "sqrtf"})
"""What a kernel may refer to outside of itself: every process has it."""
