package tachyon;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.util.Optional;

/**
 * The functions of include/tachyon.h, one method each. Handles and addresses in the library's own
 * memory are longs.
 *
 * <p>A call is critical where it may be: then the JVM does not note that the thread leaves Java, which
 * spares some nanoseconds and lets C see arrays on the heap. But no safepoint is reached, and so no
 * garbage collected, before a critical call is over. So only those are that neither sleep nor
 * copy more than {@link #CRITICAL_BYTES}: tries, and what is over at once. What waits never is.
 */
final class Native {
    static final int ABI_MAJOR = 1;
    static final int ABI_MINOR = 0;

    /** The most that a critical call copies: about a microsecond. */
    static final int CRITICAL_BYTES = 16384;

    private static final Linker LINKER = Linker.nativeLinker();
    private static final SymbolLookup LIBRARY = load();
    private static final Linker.Option[] PLAIN = {};
    private static final Linker.Option[] CRITICAL = {Linker.Option.critical(false)};
    private static final Linker.Option[] CRITICAL_HEAP = {Linker.Option.critical(true)};

    private Native() {}

    /** What TACHYON_LIBRARY names and nothing else, or what the system's loader finds. */
    private static SymbolLookup load() {
        String exact = System.getenv("TACHYON_LIBRARY");
        String name = exact == null || exact.isEmpty() ? "libtachyon.so.1" : exact;
        SymbolLookup library;
        try {
            library = SymbolLookup.libraryLookup(name, Arena.global());
        } catch (IllegalArgumentException e) {
            String how = name.equals(exact)
                    ? "TACHYON_LIBRARY is " + exact + ", which cannot be loaded"
                    : name + " is not where the system's loader looks; install it, or set TACHYON_LIBRARY to its path";
            throw new UnsatisfiedLinkError(how);
        }
        int abi;
        try {
            MethodHandle version =
                    LINKER.downcallHandle(find(library, "tachyon_abi_version"), FunctionDescriptor.of(JAVA_INT));
            abi = (int) version.invokeExact();
        } catch (Throwable e) {
            throw unexpected(e);
        }
        if (abi >>> 16 != ABI_MAJOR || (abi & 0xffff) < ABI_MINOR) {
            throw new UnsatisfiedLinkError("%s has ABI %d.%d; %d.%d or a later minor is needed"
                    .formatted(name, abi >>> 16, abi & 0xffff, ABI_MAJOR, ABI_MINOR));
        }
        return library;
    }

    private static MemorySegment find(SymbolLookup library, String name) {
        Optional<MemorySegment> symbol = library.find(name);
        return symbol.orElseThrow(() -> new UnsatisfiedLinkError("the library has no " + name));
    }

    private static MethodHandle function(
            Linker.Option[] options, String name, MemoryLayout result, MemoryLayout... arguments) {
        FunctionDescriptor descriptor =
                result == null ? FunctionDescriptor.ofVoid(arguments) : FunctionDescriptor.of(result, arguments);
        return LINKER.downcallHandle(find(LIBRARY, name), descriptor, options);
    }

    static RuntimeException unexpected(Throwable e) {
        if (e instanceof Error error) {
            throw error;
        }
        return e instanceof RuntimeException exception ? exception : new IllegalStateException(e);
    }

    // ---- making and ending -----------------------------------------------------------------

    private static final MethodHandle LISTENER_CREATE =
            function(PLAIN, "tachyon_listener_create", JAVA_INT, ADDRESS, ADDRESS, ADDRESS);
    private static final MethodHandle LISTENER_ACCEPT =
            function(PLAIN, "tachyon_listener_accept", JAVA_INT, JAVA_LONG, ADDRESS, JAVA_LONG);
    private static final MethodHandle LISTENER_CLOSE = function(PLAIN, "tachyon_listener_close", null, JAVA_LONG);
    private static final MethodHandle LISTENER_FREE = function(PLAIN, "tachyon_listener_free", null, JAVA_LONG);
    private static final MethodHandle BUS_LISTEN =
            function(PLAIN, "tachyon_bus_listen", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, JAVA_LONG);
    private static final MethodHandle BUS_CONNECT =
            function(PLAIN, "tachyon_bus_connect", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, JAVA_LONG);
    private static final MethodHandle BUS_CLOSE = function(PLAIN, "tachyon_bus_close", null, JAVA_LONG);
    private static final MethodHandle BUS_FREE = function(PLAIN, "tachyon_bus_free", null, JAVA_LONG);

    static int listenerCreate(MemorySegment listener, MemorySegment path, MemorySegment options) {
        try {
            return (int) LISTENER_CREATE.invokeExact(listener, path, options);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static int listenerAccept(long listener, MemorySegment bus, long timeout) {
        try {
            return (int) LISTENER_ACCEPT.invokeExact(listener, bus, timeout);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static void listenerClose(long listener) {
        call(LISTENER_CLOSE, listener);
    }

    static void listenerFree(long listener) {
        call(LISTENER_FREE, listener);
    }

    static int busListen(MemorySegment bus, MemorySegment path, MemorySegment options, long timeout) {
        try {
            return (int) BUS_LISTEN.invokeExact(bus, path, options, timeout);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static int busConnect(MemorySegment bus, MemorySegment path, MemorySegment options, long timeout) {
        try {
            return (int) BUS_CONNECT.invokeExact(bus, path, options, timeout);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static void busClose(long bus) {
        call(BUS_CLOSE, bus);
    }

    static void busFree(long bus) {
        call(BUS_FREE, bus);
    }

    private static void call(MethodHandle function, long handle) {
        try {
            function.invokeExact(handle);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    // ---- sending -----------------------------------------------------------------------------

    private static final MethodHandle TRY_SEND =
            function(CRITICAL_HEAP, "tachyon_bus_try_send", JAVA_INT, JAVA_LONG, ADDRESS, JAVA_INT, JAVA_INT);
    private static final MethodHandle RESERVE =
            function(CRITICAL, "tachyon_bus_reserve", JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG);
    private static final MethodHandle COMMIT =
            function(CRITICAL, "tachyon_bus_commit", JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_INT);
    private static final MethodHandle CANCEL = function(CRITICAL, "tachyon_bus_cancel", JAVA_INT, JAVA_LONG);
    private static final MethodHandle SEND_RECORDS = function(
            CRITICAL_HEAP, "tachyon_bus_send_records", JAVA_LONG, JAVA_LONG, ADDRESS, JAVA_LONG, JAVA_LONG, JAVA_INT, JAVA_LONG);
    private static final MethodHandle WAIT_SPACE =
            function(PLAIN, "tachyon_bus_wait_space", JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_LONG);
    private static final MethodHandle POLL_SPACE =
            function(CRITICAL, "tachyon_bus_wait_space", JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_LONG);

    static int trySend(long bus, MemorySegment data, int size, int typeId) {
        try {
            return (int) TRY_SEND.invokeExact(bus, data, size, typeId);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static int tryReserve(long bus, long address, long size) {
        try {
            return (int) RESERVE.invokeExact(bus, address, size, 0L);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static int commit(long bus, long size, int typeId) {
        try {
            return (int) COMMIT.invokeExact(bus, size, typeId);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static int cancel(long bus) {
        try {
            return (int) CANCEL.invokeExact(bus);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static long trySendRecords(long bus, MemorySegment records, long size, long count, int typeId) {
        try {
            return (long) SEND_RECORDS.invokeExact(bus, records, size, count, typeId, 0L);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    /** Looks, and does not wait. */
    static int pollSpace(long bus, long size) {
        try {
            return (int) POLL_SPACE.invokeExact(bus, size, 0L);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static int waitSpace(long bus, long size, long timeout) {
        try {
            return (int) WAIT_SPACE.invokeExact(bus, size, timeout);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    // ---- receiving ---------------------------------------------------------------------------

    private static final MethodHandle RECV_COPY =
            function(CRITICAL_HEAP, "tachyon_bus_recv_copy", JAVA_LONG, JAVA_LONG, ADDRESS, JAVA_LONG, JAVA_LONG, JAVA_LONG);
    private static final MethodHandle RECV_INTO =
            function(CRITICAL, "tachyon_bus_recv_copy", JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG);
    private static final MethodHandle RECV =
            function(CRITICAL, "tachyon_bus_recv", JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_LONG);
    private static final MethodHandle RECV_BATCH =
            function(CRITICAL, "tachyon_bus_recv_batch", JAVA_INT, JAVA_LONG, ADDRESS, JAVA_LONG, JAVA_LONG);
    private static final MethodHandle RECV_RECORDS = function(
            CRITICAL, "tachyon_bus_recv_records", JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG);
    private static final MethodHandle PUT_BACK = function(CRITICAL, "tachyon_bus_put_back", JAVA_INT, JAVA_LONG, JAVA_LONG);
    private static final MethodHandle RELEASE = function(CRITICAL, "tachyon_bus_release", JAVA_INT, JAVA_LONG, JAVA_LONG);
    private static final MethodHandle WAIT_DATA =
            function(PLAIN, "tachyon_bus_wait_data", JAVA_INT, JAVA_LONG, JAVA_LONG);
    private static final MethodHandle POLL_DATA =
            function(CRITICAL, "tachyon_bus_wait_data", JAVA_INT, JAVA_LONG, JAVA_LONG);

    static long tryRecvCopy(long bus, MemorySegment buffer, long capacity, long typeIdAddress) {
        try {
            return (long) RECV_COPY.invokeExact(bus, buffer, capacity, typeIdAddress, 0L);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    /** The same into memory of C's. */
    static long tryRecvInto(long bus, long buffer, long capacity, long typeIdAddress) {
        try {
            return (long) RECV_INTO.invokeExact(bus, buffer, capacity, typeIdAddress, 0L);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static int tryRecv(long bus, long message) {
        try {
            return (int) RECV.invokeExact(bus, message, 0L);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static int tryRecvBatch(long bus, MemorySegment messages, long max) {
        try {
            return (int) RECV_BATCH.invokeExact(bus, messages, max, 0L);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static long tryRecvRecords(long bus, long records, long size, long max, long typeIdAddress) {
        try {
            return (long) RECV_RECORDS.invokeExact(bus, records, size, max, typeIdAddress, 0L);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static int putBack(long bus, long message) {
        try {
            return (int) PUT_BACK.invokeExact(bus, message);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static int release(long bus, long lease) {
        try {
            return (int) RELEASE.invokeExact(bus, lease);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static int waitData(long bus, long timeout) {
        try {
            return (int) WAIT_DATA.invokeExact(bus, timeout);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    /** Looks, and does not wait. */
    static int pollData(long bus) {
        try {
            return (int) POLL_DATA.invokeExact(bus, 0L);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    // ---- arrays ------------------------------------------------------------------------------

    private static final MethodHandle ARRAY_SIZE = function(CRITICAL, "tachyon_array_size", JAVA_LONG, ADDRESS);
    private static final MethodHandle ARRAY_WRITE =
            function(CRITICAL, "tachyon_array_write", JAVA_INT, ADDRESS, ADDRESS, JAVA_LONG, JAVA_LONG);
    private static final MethodHandle ARRAY_READ =
            function(CRITICAL_HEAP, "tachyon_array_read", JAVA_INT, ADDRESS, ADDRESS, JAVA_LONG);

    static long arraySize(MemorySegment array) {
        try {
            return (long) ARRAY_SIZE.invokeExact(array);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static int arrayWrite(MemorySegment array, MemorySegment message, long size) {
        try {
            return (int) ARRAY_WRITE.invokeExact(array, message, size, 0L);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static int arrayRead(MemorySegment array, MemorySegment message, long size) {
        try {
            return (int) ARRAY_READ.invokeExact(array, message, size);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    // ---- facts and errors --------------------------------------------------------------------

    private static final MethodHandle PROPERTIES = function(PLAIN, "tachyon_bus_properties", JAVA_INT, JAVA_LONG, ADDRESS);
    private static final MethodHandle STATS = function(PLAIN, "tachyon_bus_stats", JAVA_INT, JAVA_LONG, ADDRESS);
    private static final MethodHandle STRERROR = function(CRITICAL, "tachyon_strerror", ADDRESS, JAVA_INT);
    private static final MethodHandle ERROR_DETAIL = function(CRITICAL, "tachyon_error_detail", ADDRESS);
    private static final MethodHandle INTERRUPT_FD = function(CRITICAL, "tachyon_thread_interrupt_fd", null, JAVA_INT);

    static int properties(long bus, MemorySegment properties) {
        try {
            return (int) PROPERTIES.invokeExact(bus, properties);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static int stats(long bus, MemorySegment stats) {
        try {
            return (int) STATS.invokeExact(bus, stats);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    /** What went wrong in this thread's last call, in the library's words. */
    static String explain(int errno) {
        try {
            MemorySegment words = (MemorySegment) ERROR_DETAIL.invokeExact();
            String detail = words.reinterpret(Long.MAX_VALUE).getString(0);
            if (!detail.isEmpty()) {
                return detail;
            }
            words = (MemorySegment) STRERROR.invokeExact(errno);
            return words.reinterpret(Long.MAX_VALUE).getString(0);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static void interruptFd(int fd) {
        try {
            INTERRUPT_FD.invokeExact(fd);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    // ---- request and reply: see NativeRpc ------------------------------------------------------

    /** A function that may sleep. */
    static MethodHandle plain(String name, MemoryLayout result, MemoryLayout... arguments) {
        return function(PLAIN, name, result, arguments);
    }
}
