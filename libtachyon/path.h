/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_PATH_H
#define TACHYON_PATH_H
/* A path as a socket address, and sockets for it. */
#include <sys/un.h>

int address_init(struct sockaddr_un *address, const char *path);
int socket_create(int *fdp);

#endif
