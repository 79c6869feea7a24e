/* examples/order_book_client.c */
#include <stdio.h>
#include <tachyon.h>

struct snapshot { uint64_t number, instrument; double levels[20]; };

int main(void) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        uint64_t instrument = 2330;
        tachyon_rpc *rpc = NULL;
        tachyon_bus *bus;
        tachyon_message reply;
        int r;

        options.kind = TACHYON_KIND_RPC;
        r = tachyon_bus_connect(&bus, "/tmp/books", &options, 10000000000);
        if (r == 0)
                r = tachyon_rpc_create(&rpc, bus); /* the bus is its own from here */
        if (r == 0)
                r = tachyon_rpc_call(rpc, &instrument, sizeof(instrument), 1, &reply, 1000000000);
        if (r == 0)
                printf("best bid %.1f\n", ((const struct snapshot *)reply.data)->levels[0]); /* in the ring */
        else if (r == 1)
                printf("the server says %.*s\n", (int)reply.size, (const char *)reply.data);
        else
                fprintf(stderr, "%s: %s\n", tachyon_strerror(r), tachyon_error_detail());
        if (r >= 0)
                tachyon_rpc_release(rpc, &reply);
        if (r == 0 && tachyon_rpc_call(rpc, NULL, 0, 2, &reply, 1000000000) == 0) /* stop */
                tachyon_rpc_release(rpc, &reply);
        tachyon_rpc_free(rpc);
        return r != 0;
}
