package tachyon;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/**
 * The functions of request and reply. None is critical: those of the calling end take replies in
 * as they come, as many and as large as the peer likes.
 */
final class NativeRpc {
    private static final MethodHandle CREATE = Native.plain("tachyon_rpc_create", JAVA_INT, ADDRESS, JAVA_LONG);
    private static final MethodHandle RESERVE =
            Native.plain("tachyon_rpc_reserve", JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG);
    private static final MethodHandle COMMIT =
            Native.plain("tachyon_rpc_commit", JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_INT, JAVA_LONG);
    private static final MethodHandle CANCEL = Native.plain("tachyon_rpc_cancel", JAVA_INT, JAVA_LONG);
    private static final MethodHandle WAIT =
            Native.plain("tachyon_rpc_wait", JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG);
    private static final MethodHandle FORGET = Native.plain("tachyon_rpc_forget", JAVA_INT, JAVA_LONG, JAVA_LONG);
    private static final MethodHandle RELEASE = Native.plain("tachyon_rpc_release", JAVA_INT, JAVA_LONG, JAVA_LONG);
    private static final MethodHandle SERVE =
            Native.plain("tachyon_rpc_serve", JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_LONG);
    private static final MethodHandle RESERVE_REPLY = Native.plain(
            "tachyon_rpc_reserve_reply", JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG);
    private static final MethodHandle COMMIT_REPLY =
            Native.plain("tachyon_rpc_commit_reply", JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_INT);
    private static final MethodHandle FAIL = Native.plain(
            "tachyon_rpc_fail", JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_INT, ADDRESS, JAVA_LONG, JAVA_LONG);
    private static final MethodHandle WAIT_ROOM =
            Native.plain("tachyon_rpc_wait_room", JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_LONG);
    private static final MethodHandle CLOSE = Native.plain("tachyon_rpc_close", null, JAVA_LONG);
    private static final MethodHandle FREE = Native.plain("tachyon_rpc_free", null, JAVA_LONG);

    private NativeRpc() {}

    static int create(MemorySegment rpc, long bus) {
        try {
            return (int) CREATE.invokeExact(rpc, bus);
        } catch (Throwable e) {
            throw Native.unexpected(e);
        }
    }

    static int reserve(long rpc, long pointer, long size, long timeout) {
        try {
            return (int) RESERVE.invokeExact(rpc, pointer, size, timeout);
        } catch (Throwable e) {
            throw Native.unexpected(e);
        }
    }

    static int commit(long rpc, long size, int typeId, long idPointer) {
        try {
            return (int) COMMIT.invokeExact(rpc, size, typeId, idPointer);
        } catch (Throwable e) {
            throw Native.unexpected(e);
        }
    }

    static int cancel(long rpc) {
        try {
            return (int) CANCEL.invokeExact(rpc);
        } catch (Throwable e) {
            throw Native.unexpected(e);
        }
    }

    static int await(long rpc, long id, long message, long timeout) {
        try {
            return (int) WAIT.invokeExact(rpc, id, message, timeout);
        } catch (Throwable e) {
            throw Native.unexpected(e);
        }
    }

    static int forget(long rpc, long id) {
        try {
            return (int) FORGET.invokeExact(rpc, id);
        } catch (Throwable e) {
            throw Native.unexpected(e);
        }
    }

    static int release(long rpc, long message) {
        try {
            return (int) RELEASE.invokeExact(rpc, message);
        } catch (Throwable e) {
            throw Native.unexpected(e);
        }
    }

    static int serve(long rpc, long message, long timeout) {
        try {
            return (int) SERVE.invokeExact(rpc, message, timeout);
        } catch (Throwable e) {
            throw Native.unexpected(e);
        }
    }

    static int reserveReply(long rpc, long id, long pointer, long size, long timeout) {
        try {
            return (int) RESERVE_REPLY.invokeExact(rpc, id, pointer, size, timeout);
        } catch (Throwable e) {
            throw Native.unexpected(e);
        }
    }

    static int commitReply(long rpc, long size, int typeId) {
        try {
            return (int) COMMIT_REPLY.invokeExact(rpc, size, typeId);
        } catch (Throwable e) {
            throw Native.unexpected(e);
        }
    }

    static int fail(long rpc, long id, int code, MemorySegment text, long size, long timeout) {
        try {
            return (int) FAIL.invokeExact(rpc, id, code, text, size, timeout);
        } catch (Throwable e) {
            throw Native.unexpected(e);
        }
    }

    static int waitRoom(long rpc, long size, long timeout) {
        try {
            return (int) WAIT_ROOM.invokeExact(rpc, size, timeout);
        } catch (Throwable e) {
            throw Native.unexpected(e);
        }
    }

    static void close(long rpc) {
        try {
            CLOSE.invokeExact(rpc);
        } catch (Throwable e) {
            throw Native.unexpected(e);
        }
    }

    static void free(long rpc) {
        try {
            FREE.invokeExact(rpc);
        } catch (Throwable e) {
            throw Native.unexpected(e);
        }
    }
}
