/* examples/ticks_send.c */
#include <stdio.h>
#include <tachyon.h>

struct tick { uint64_t time; double price; };

int main(void) {
        tachyon_bus *bus = NULL;
        int r = tachyon_bus_connect(&bus, "/tmp/ticks", NULL, 10000000000);

        for (uint64_t i = 0; r == 0 && i < 1000; i++) {
                struct tick tick = { .time = i, .price = 100 + 0.25 * (double)i };

                r = tachyon_bus_send(bus, &tick, sizeof(tick), 7, -1);
        }
        if (r < 0)
                fprintf(stderr, "%s: %s\n", tachyon_strerror(r), tachyon_error_detail());
        tachyon_bus_free(bus); /* closes: the consumer gets all that was sent, then the end */
        return r < 0;
}
