// bindings/java/examples/HelloReceive.java
import tachyon.Bus;
import tachyon.Message;

class HelloReceive {
    public static void main(String[] arguments) throws InterruptedException {
        try (Bus bus = Bus.listen("/tmp/hello")) {
            for (Message message : bus.messages()) { // until the sender closes
                System.out.println(message.typeId() + " " + message.text());
            }
        }
    }
}
