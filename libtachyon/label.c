/* SPDX-License-Identifier: MIT */
/* Compiled into test builds only, see label.h. */
#include "label.h"
#include <stddef.h>

void (*tachyon_label_hook)(const char *name) = NULL;
uint64_t tachyon_start_position = 0;
