#!/bin/sh
# has_fuzzer.sh COMPILER: can it build programs with libFuzzer and the address sanitizer?
printf 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n);\nint LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d == 0 && n; }\n' |
	"$1" -fsanitize=fuzzer,address -x c - -o /dev/null >/dev/null 2>&1
