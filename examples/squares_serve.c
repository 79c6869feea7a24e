/* examples/squares_serve.c */
#include <math.h>
#include <stdio.h>
#include <tachyon.h>

enum { SQUARE = 1, ROOT = 2 };

static int answer(tachyon_rpc *rpc, const tachyon_message *request) {
        static const char negative[] = "no root of a negative number";
        double x;

        if (request->size != sizeof(x))
                return tachyon_rpc_fail(rpc, request->correlation_id, 1, "one double, please", 18, -1);
        x = *(const double *)request->data; /* copied: in the ring, a hostile peer could change it after the check */
        if (request->type_id == SQUARE)
                x = x * x;
        else if (request->type_id == ROOT && x < 0)
                return tachyon_rpc_fail(rpc, request->correlation_id, 2, negative, sizeof(negative) - 1, -1);
        else if (request->type_id == ROOT)
                x = sqrt(x);
        else
                return tachyon_rpc_fail(rpc, request->correlation_id, TACHYON_RPC_UNKNOWN_TYPE, "", 0, -1);
        return tachyon_rpc_reply(rpc, request->correlation_id, &x, sizeof(x), 0, -1);
}

int main(void) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        tachyon_message request;
        tachyon_rpc *rpc = NULL;
        tachyon_bus *bus = NULL;
        int r;

        options.kind = TACHYON_KIND_RPC;
        r = tachyon_bus_listen(&bus, "/tmp/squares", &options, -1);
        if (r == 0)
                r = tachyon_rpc_create(&rpc, bus);
        while (r == 0 && (r = tachyon_rpc_serve(rpc, &request, -1)) == 0) {
                r = answer(rpc, &request);
                tachyon_rpc_release(rpc, &request);
        }
        printf("the end: %s\n", tachyon_strerror(r));
        tachyon_rpc_free(rpc);
        return r != -TACHYON_ECLOSED;
}
