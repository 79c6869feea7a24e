package tachyon.kotlin

// What Kotlin takes as it is from the Java classes, so that one import is enough; and as
// properties what Java has as methods.

public typealias TachyonException = tachyon.TachyonException

/** The peer closed the bus, and all that it sent was received. */
public typealias ClosedException = tachyon.ClosedException

/** The peer died, and all that it had sent was received. */
public typealias PeerDeadException = tachyon.PeerDeadException

/** This end was closed. Not a coroutine's CancellationException. */
public typealias CancelledException = tachyon.CancelledException

/** Leases fill the ring: close some. */
public typealias LeasesException = tachyon.LeasesException

/** Too large for the ring; or a record has another size. */
public typealias TooLargeException = tachyon.TooLargeException

public typealias ProtocolException = tachyon.ProtocolException

/** The listener refused the connection, and says why. */
public typealias RefusedException = tachyon.RefusedException

/** The message is not what was asked for. */
public typealias FormatException = tachyon.FormatException

public typealias AddressInUseException = tachyon.AddressInUseException

public typealias BusyException = tachyon.BusyException

/** A call that the server failed. */
public typealias RpcException = tachyon.RpcException

/** What the elements of an array are. */
public typealias DType = tachyon.DType

/** What [Bus.tryReceiveInto] fills. */
public typealias MessageBuffer = tachyon.MessageBuffer

public typealias Properties = tachyon.Properties

public typealias Stats = tachyon.Stats

/** The error number of the C library, positive. */
public val TachyonException.errno: Int get() = errno()

/** One of [RpcException]'s, or the server's own. */
public val RpcException.code: UInt get() = code().toUInt()

/** The server's words; after a NUL perhaps a traceback. */
public val RpcException.text: String get() = text()

/** Codes that mean the same in all languages. */
public object RpcCode {
    public const val UNKNOWN_TYPE: UInt = 0x7fff0001u
    public const val EXCEPTION: UInt = 0x7fff0002u
    public const val TOO_LARGE: UInt = 0x7fff0003u
}
