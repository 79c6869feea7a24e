/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_PATH_H
#define TACHYON_PATH_H
/* A path as a socket address, and sockets for it. */
#include <sys/un.h>

int address_init(struct sockaddr_un *address, const char *path);
int socket_create(int *fdp);
/*
 * 0, or -ENOENT with a detail. A listener may yet appear in a folder that is
 * there; where there is none, somebody has mistyped.
 */
int path_check_folder(const char *path);

#endif
