// SPDX-License-Identifier: MIT
// test-abi-layout.c as C++17, and a main of its own.
#include "test-abi-layout.c"

int main() {
        return test_abi_from_here() ? 0 : 1;
}
