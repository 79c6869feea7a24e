// bindings/java/examples/OrderBookClient.java
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import tachyon.Caller;

class OrderBookClient {
    static ByteBuffer littleEndian(byte[] bytes) {
        return ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    public static void main(String[] arguments) throws InterruptedException {
        try (Caller caller = Caller.connect("/tmp/books")) {
            byte[] instrument = littleEndian(new byte[8]).putLong(2330).array();
            // An RpcException where the server failed it.
            byte[] snapshot = caller.call(instrument, 1, Duration.ofSeconds(1));
            System.out.println("best bid " + littleEndian(snapshot).getDouble(16));
            caller.call(new byte[0], 2); // stop
        }
    }
}
