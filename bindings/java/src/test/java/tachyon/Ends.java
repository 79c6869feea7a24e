package tachyon;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.BooleanSupplier;

/** Two ends in one process, and what else the tests share. */
final class Ends implements AutoCloseable {
    static final Duration PATIENCE = Duration.ofSeconds(30);
    static final Duration BLINK = Duration.ofMillis(1);

    final String path;
    final Bus consumer;
    final Bus producer;

    Ends() throws Exception {
        this(new Options());
    }

    Ends(Options options) throws Exception {
        path = path();
        Running<Bus> listening = new Running<>(() -> Bus.listen(path, options, PATIENCE));
        producer = Bus.connect(path, options, PATIENCE);
        consumer = listening.get();
    }

    @Override
    public void close() {
        consumer.close();
        producer.close();
    }

    /** Short enough for a socket. */
    static String path() throws IOException {
        Path folder = Files.createTempDirectory("tachyon-java-");
        folder.toFile().deleteOnExit();
        return folder.resolve("bus").toString();
    }

    /** Waits for what another thread, or the garbage collector, does. */
    static void await(BooleanSupplier condition) throws InterruptedException {
        long end = System.nanoTime() + PATIENCE.toNanos();
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("it never came");
            }
            Thread.sleep(1);
        }
    }

    /** Bytes that tell their place. */
    static byte[] bytes(int size, int seed) {
        byte[] data = new byte[size];
        for (int i = 0; i < size; i++) {
            data[i] = (byte) (i * 31 + seed);
        }
        return data;
    }

    /** What a thread of its own does. */
    static final class Running<T> {
        final Thread thread;
        private final CompletableFuture<T> result = new CompletableFuture<>();

        Running(Callable<T> call) {
            this(Thread.ofPlatform().daemon(), call);
        }

        Running(Thread.Builder builder, Callable<T> call) {
            thread = builder.start(() -> {
                try {
                    result.complete(call.call());
                } catch (Throwable e) {
                    result.completeExceptionally(e);
                }
            });
        }

        T get() throws Exception {
            try {
                return result.get(PATIENCE.toSeconds(), TimeUnit.SECONDS);
            } catch (ExecutionException e) {
                throw e.getCause() instanceof Exception cause ? cause : e;
            } catch (TimeoutException e) {
                throw new AssertionError("it never ended", e);
            }
        }
    }

    /** Fills the ring. */
    static List<Integer> fill(Bus bus) {
        List<Integer> sent = new ArrayList<>();
        while (bus.trySend(bytes(1000, sent.size()), sent.size())) {
            sent.add(sent.size());
        }
        return sent;
    }
}
