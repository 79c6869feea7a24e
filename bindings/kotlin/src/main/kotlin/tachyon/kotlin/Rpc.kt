package tachyon.kotlin

import java.time.Duration
import java.time.Duration.ZERO
import java.util.concurrent.ConcurrentLinkedQueue
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import tachyon.Caller as JavaCaller
import tachyon.PendingCall as JavaPendingCall
import tachyon.Request as JavaRequest
import tachyon.Server as JavaServer
import tachyon.WaitTimeoutException

/**
 * The calling end. Any coroutine may call; one at a time is in the library, so give coroutines that
 * shall wait side by side a Caller each, or [submit] first and await afterwards.
 */
public class Caller internal constructor(private val java: JavaCaller) : AutoCloseable {
    /** The same end for code that blocks its thread. */
    public val blocking: JavaCaller get() = java

    private val spin = java.properties().spin
    private val reply = Waiting(spin)
    private val room = Waiting(spin)
    private val turn = Mutex()
    private val forgotten = ConcurrentLinkedQueue<JavaPendingCall>()

    /**
     * Calls, and waits for the reply. [RpcException] where the server failed the call; [ClosedException]
     * and [PeerDeadException]: no reply will come. A call that is cancelled is given up.
     */
    public suspend fun call(request: ByteArray, typeId: UInt): ByteArray = submit(request, typeId).use { it.await() }

    /** Calls, and does not wait for the reply. */
    public suspend fun submit(request: ByteArray, typeId: UInt): PendingCall =
        inTurn {
            room.attempt({ java.awaitRoom(request.size.toLong(), it) }) {
                PendingCall(this, java.submit(request, typeId.toInt(), ZERO))
            }
        }

    /** Runs [attempt] in turn until it gets the reply. */
    internal suspend fun awaitReply(attempt: (Duration) -> Boolean) = inTurn { reply.until(attempt) }

    private suspend inline fun <T> inTurn(block: () -> T): T =
        turn.withLock {
            giveUp()
            block()
        }

    /** Now, or when the next call is made: who has the turn may wait for long. */
    internal fun forget(call: JavaPendingCall) {
        forgotten += call
        if (turn.tryLock()) {
            giveUp()
            turn.unlock()
        }
    }

    private fun giveUp() {
        while (true) (forgotten.poll() ?: return).close()
    }

    public val properties: Properties get() = java.properties()

    public val stats: Stats get() = java.stats()

    /** Ends the connection; calls that wait fail with [CancelledException]. May be called again, by any thread. */
    override fun close(): Unit = java.close()

    public companion object {
        /** Connects to a server; waits for one to appear. */
        public suspend fun connect(path: String, options: Options = Options()): Caller =
            Caller(opening { JavaCaller.connect(path, options.java) })
    }
}

/** A call whose reply is still to come. Await it, or close it: that gives it up. */
public class PendingCall internal constructor(private val caller: Caller, private val java: JavaPendingCall) :
    AutoCloseable {
    @Volatile private var outcome: Result<ByteArray>? = null

    /** Waits for the reply; failures as of [Caller.call]. After a cancellation the call is still outstanding. */
    public suspend fun await(): ByteArray {
        if (outcome == null) caller.awaitReply(::take)
        return outcome!!.getOrThrow()
    }

    /** Stores what it takes, so that a cancellation loses nothing. Another coroutine may have done it. */
    private fun take(timeout: Duration): Boolean {
        if (outcome != null) return true
        outcome =
            try {
                Result.success(java.await(timeout))
            } catch (e: RpcException) {
                Result.failure(e)
            } catch (_: WaitTimeoutException) {
                return false
            }
        return true
    }

    /** Gives the call up, if its reply did not come. */
    override fun close() {
        if (outcome == null) caller.forget(java)
    }
}

/** Answers requests of one type. Its exception is the caller's [RpcException]. */
public typealias Procedure = suspend (request: ByteArray) -> ByteArray

/** The serving end. Any coroutine may serve and any reply; one at a time does each. */
public class Server internal constructor(private val java: JavaServer) : AutoCloseable {
    /** The same end for code that blocks its thread. */
    public val blocking: JavaServer get() = java

    private val spin = java.properties().spin
    private val data = Waiting(spin)
    private val room = Waiting(spin)
    private val replying = Mutex()

    /** Waits for a request. */
    public suspend fun serve(): Request = data.attempt(java::awaitRequest) { Request(this, java.serve(ZERO)) }

    /**
     * Answers requests, one after the other, until the client closes or dies, or this end is closed:
     *
     * ```
     * server.serveAll {
     *     on(1u) { request -> request.reversedArray() }
     * }
     * ```
     */
    public suspend fun serveAll(procedures: Procedures.() -> Unit) {
        val known = Procedures().apply(procedures)
        try {
            while (true) serve().answer(known)
        } catch (_: ClosedException) {
        } catch (_: PeerDeadException) {
        } catch (_: CancelledException) {
        }
    }

    internal suspend fun reply(size: Long, reply: () -> Unit) =
        replying.withLock { room.attempt({ java.awaitRoom(size, it) }, reply) }

    public val properties: Properties get() = java.properties()

    public val stats: Stats get() = java.stats()

    /** Ends the connection; calls that are outstanding fail at the caller. May be called again, by any thread. */
    override fun close(): Unit = java.close()

    public companion object {
        /** Listens on a path until one client connects; the path is free again then. */
        public suspend fun listen(path: String, options: Options = Options()): Server =
            Server(opening { JavaServer.listen(path, options.java) })
    }
}

/** What [Server.serveAll] answers with. */
public class Procedures internal constructor() {
    private val known = HashMap<UInt, Procedure>()

    /** Answers requests of this type. */
    public fun on(typeId: UInt, procedure: Procedure) {
        known[typeId] = procedure
    }

    internal operator fun get(typeId: UInt): Procedure? = known[typeId]
}

/** What a client asks, a copy. To be answered once, by any coroutine, in any order. */
public class Request internal constructor(private val server: Server, private val java: JavaRequest) {
    public val data: ByteArray get() = java.data()

    /** Which procedure. */
    public val typeId: UInt get() = java.typeId().toUInt()

    /** Answers; waits while the ring is full. After [TooLargeException] it can still be failed. */
    public suspend fun reply(reply: ByteArray, typeId: UInt = 0u): Unit =
        server.reply(reply.size.toLong()) { java.reply(reply, typeId.toInt()) }

    /** Makes the call an [RpcException] at the caller. */
    public suspend fun fail(code: UInt, text: String): Unit =
        // What no message can hold of the text is cut off.
        server.reply(minOf(text.encodeToByteArray().size.toLong(), server.properties.maxSendSize)) { java.fail(code.toInt(), text) }

    internal suspend fun answer(procedures: Procedures) {
        val procedure =
            procedures[typeId] ?: return fail(RpcCode.UNKNOWN_TYPE, "there is no procedure $typeId")
        val reply =
            try {
                procedure(data)
            } catch (e: Exception) {
                // A CancellationException, too, where it is not this coroutine that was cancelled: of a withTimeout.
                currentCoroutineContext().ensureActive()
                return fail(RpcCode.EXCEPTION, "${e::class.simpleName}: ${e.message}")
            }
        try {
            reply(reply)
        } catch (e: TooLargeException) {
            fail(RpcCode.TOO_LARGE, e.message.orEmpty())
        }
    }
}
