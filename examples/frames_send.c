/* examples/frames_send.c */
#include <stdio.h>
#include <string.h>
#include <tachyon.h>

enum { ROWS = 480, COLUMNS = 640, FRAMES = 100 };

static int send_frame(tachyon_bus *bus, unsigned char grey) {
        tachyon_array array = { .dtype = "|u1", .itemsize = 1, .ndim = 2, .shape = { ROWS, COLUMNS } };
        size_t size = tachyon_array_size(&array);
        void *message, *pixels;
        int r;

        r = tachyon_bus_reserve(bus, &message, size, 1000000000); /* room in the ring, within a second */
        if (r < 0)
                return r;
        r = tachyon_array_write(&array, message, size, &pixels);
        if (r < 0) {
                tachyon_bus_cancel(bus); /* as if nothing had been reserved */
                return r;
        }
        memset(pixels, grey, ROWS * COLUMNS); /* where a camera would write */
        return tachyon_bus_commit(bus, size, 0);
}

int main(int argc, char **argv) {
        tachyon_bus *bus = NULL;
        int r = argc == 2 ? tachyon_bus_connect(&bus, argv[1], NULL, 10000000000) : -1;

        for (int i = 0; r == 0 && i < FRAMES; i++)
                r = send_frame(bus, (unsigned char)i);
        if (r < 0)
                fprintf(stderr, "%s: %s\n", tachyon_strerror(r), tachyon_error_detail());
        tachyon_bus_free(bus);
        return r < 0;
}
