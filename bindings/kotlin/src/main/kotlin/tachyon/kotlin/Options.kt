package tachyon.kotlin

import kotlin.time.Duration
import kotlin.time.toJavaDuration
import tachyon.Options as JavaOptions

/**
 * Options of a listener or a connection: `Options(capacity = 8L shl 20)`. What each means stands at
 * tachyon_options in tachyon.h.
 *
 * @param capacity listener: bytes of the ring from connector to listener; 0: 1 MiB
 * @param replyCapacity listener: bytes of the ring from listener to connector; 0: as [capacity]
 * @param maxCapacity the largest ring to make or to map; 0: the library's own limit
 * @param spin how long a wait polls before it sleeps; null: adaptive; zero: not at all
 * @param prefault map all pages now, not at first use
 * @param mlock lock both rings in memory
 * @param hugePages use pages of 2 MiB, where there are some
 * @param trusted both ends may write in both rings
 * @param numaNode the node on which our ring's memory shall lie; null: any
 * @param socketMode listener: permission bits of the socket; 0: 0600
 * @param allowedUids user ids that may be the peer; empty: our own only
 * @param handshakeTimeout how long a connection may take to introduce itself; null: 2 s
 * @param maxPending listener: unfinished introductions at a time, at most 64; 0: 16
 */
public class Options(
    capacity: Long = 0,
    replyCapacity: Long = 0,
    maxCapacity: Long = 0,
    spin: Duration? = null,
    prefault: Boolean = false,
    mlock: Boolean = false,
    hugePages: Boolean = false,
    trusted: Boolean = false,
    numaNode: Int? = null,
    socketMode: Int = 0,
    allowedUids: Collection<UInt> = emptyList(),
    handshakeTimeout: Duration? = null,
    maxPending: Int = 0,
) {
    internal val java: JavaOptions =
        JavaOptions()
            .capacity(capacity)
            .replyCapacity(replyCapacity)
            .maxCapacity(maxCapacity)
            .socketMode(socketMode)
            .maxPending(maxPending)
            .allowedUids(*IntArray(allowedUids.size) { allowedUids.elementAt(it).toInt() })

    init {
        spin?.let { java.spin(it.toJavaDuration()) }
        handshakeTimeout?.let { java.handshakeTimeout(it.toJavaDuration()) }
        numaNode?.let { java.numaNode(it) }
        if (prefault) java.prefault()
        if (mlock) java.mlock()
        if (hugePages) java.hugePages()
        if (trusted) java.trusted()
    }
}
