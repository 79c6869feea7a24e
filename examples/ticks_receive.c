/* examples/ticks_receive.c */
#include <stdio.h>
#include <tachyon.h>

struct tick { uint64_t time; double price; };

int main(void) {
        tachyon_bus *bus = NULL;
        tachyon_message message;
        double sum = 0, count = 0;
        int r = tachyon_bus_listen(&bus, "/tmp/ticks", NULL, -1);

        while (r == 0 && (r = tachyon_bus_recv(bus, &message, -1)) == 0) {
                sum += ((const struct tick *)message.data)->price; /* in the ring, not copied */
                count++;
                r = tachyon_bus_release(bus, message.lease);
        }
        printf("%.0f ticks, mean price %.3f\n", count, sum / count);
        printf("the end: %s\n", tachyon_strerror(r));
        tachyon_bus_free(bus);
        return r != -TACHYON_ECLOSED;
}
