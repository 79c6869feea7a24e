/* examples/features/produce.c: sends feature vectors, each of them one message of 32 floats. */
#include <stdio.h>
#include <tachyon.h>

enum { FEATURES = 32, BATCH = 256, VECTORS = 102400 };

/* Stands for what your program extracts: number `vector` of a stream. */
static void extract(float *features, long vector) {
        for (long i = 0; i < FEATURES; i++)
                features[i] = (float)((vector * 31 + i * 7) % 101) / 101.0f - 0.5f;
}

int main(int argc, char **argv) {
        static float batch[BATCH][FEATURES];
        tachyon_bus *bus = NULL;
        int64_t sent = 0;
        int r = tachyon_bus_connect(&bus, argc > 1 ? argv[1] : "/tmp/features", NULL, 30000000000);

        for (long first = 0; r == 0 && first < VECTORS; first += BATCH) {
                for (long i = 0; i < BATCH; i++)
                        extract(batch[i], first + i);
                sent = tachyon_bus_send_records(bus, batch, sizeof(batch[0]), BATCH, 1, -1);
                r = sent == BATCH ? 0 : sent < 0 ? (int)sent : -TACHYON_ECLOSED;
        }
        if (r < 0)
                fprintf(stderr, "%s: %s\n", tachyon_strerror(r), tachyon_error_detail());
        tachyon_bus_free(bus); /* closes: what was sent still arrives, then the end */
        return r < 0;
}
