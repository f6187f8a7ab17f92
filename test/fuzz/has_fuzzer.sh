#!/bin/sh
# has_fuzzer.sh COMPILER: can it build programs with libFuzzer and the address sanitizer?
"$1" -fsanitize=fuzzer,address -x c - -o /dev/null >/dev/null 2>&1 <<'END'
int LLVMFuzzerTestOneInput(const char *d, unsigned long n);
int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d == 0 && n; }
END
