// bindings/java/examples/PriceServer.java
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Map;
import tachyon.Request;
import tachyon.RpcException;
import tachyon.Server;

class PriceServer {
    static final Map<Long, double[]> PRICES = Map.of(2330L, new double[] {100.0, 100.5});

    static ByteBuffer littleEndian(byte[] bytes) {
        return ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    static void answer(Request request) throws InterruptedException {
        double[] price = PRICES.get(littleEndian(request.data()).getLong());
        if (price == null) {
            request.fail(1, "there is no such instrument"); // the client's exception
            return;
        }
        request.reply(littleEndian(new byte[16]).putDouble(price[0]).putDouble(price[1]).array(), 0);
    }

    public static void main(String[] arguments) throws InterruptedException {
        try (Server server = Server.listen("/tmp/prices")) {
            for (;;) {
                Request request = server.serve();
                switch (request.typeId()) {
                    case 1 -> answer(request); // the instrument, 8 bytes; bid and ask
                    case 2 -> {
                        request.reply(new byte[0], 0); // stop
                        return;
                    }
                    default -> request.fail(RpcException.UNKNOWN_TYPE, "there is no such procedure");
                }
            }
        }
    }
}
