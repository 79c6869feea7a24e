package tachyon.kotlin

import tachyon.Listener as JavaListener
import tachyon.ServerListener as JavaServerListener

/** Owns a path, and accepts one [Bus] for each process that connects. [AddressInUseException] where a live one has it. */
public class Listener(path: String, options: Options = Options()) : AutoCloseable {
    private val java = JavaListener(path, options.java)

    /** Waits for a process to connect; one coroutine at a time. */
    public suspend fun accept(): Bus = Bus(opening { java.accept() })

    /** Stops listening; accepted buses live on, and an accept that waits fails with [CancelledException]. */
    override fun close(): Unit = java.close()
}

/** Owns a path, and accepts one [Server] for each client that connects. */
public class ServerListener(path: String, options: Options = Options()) : AutoCloseable {
    private val java = JavaServerListener(path, options.java)

    /** Waits for a client to connect; one coroutine at a time. */
    public suspend fun accept(): Server = Server(opening { java.accept() })

    /** Stops listening; accepted servers live on. */
    override fun close(): Unit = java.close()
}
