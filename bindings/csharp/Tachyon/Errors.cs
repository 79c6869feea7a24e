// SPDX-License-Identifier: MIT
using System;
using System.IO;
using System.Runtime.InteropServices;

namespace Tachyon
{
    // TachyonException (an IOException)
    //   ClosedException            the peer closed, in good order
    //   PeerDeadException          the peer died
    //   LeasesException            leases fill the ring
    //   BusyException              another thread is at it
    //   MessageTooLargeException   larger than the ring, or than the buffer
    //   MessageFormatException     the message is not what was asked for
    //   ProtocolException          the peer broke the protocol
    //   RefusedException           the listener refused the connection
    //   LibraryException           libtachyon cannot be loaded
    //   RpcException               the server failed the call
    // and .NET's own: TimeoutException, OperationCanceledException (by the token), and
    // ObjectDisposedException (this end was closed, or a lease used after its end).

    /// <summary>What the library reports and no other exception says.</summary>
    public class TachyonException : IOException
    {
        /// <summary>The number of the error, as in C's errno.h; 0 where there is none.</summary>
        public int Errno { get; }

        internal TachyonException(string message, int errno = 0) : base(message)
        {
            Errno = errno;
        }
    }

    /// <summary>The peer closed the bus, and all that it sent was received.</summary>
    public sealed class ClosedException : TachyonException
    {
        internal ClosedException(string message, int errno) : base(message, errno) { }
    }

    /// <summary>The peer died, and all that it had sent was received.</summary>
    public sealed class PeerDeadException : TachyonException
    {
        internal PeerDeadException(string message, int errno) : base(message, errno) { }
    }

    /// <summary>Leases fill the ring: release some.</summary>
    public sealed class LeasesException : TachyonException
    {
        internal LeasesException(string message, int errno) : base(message, errno) { }
    }

    /// <summary>Another thread is at it, a message is being written in place, or too many calls are outstanding.</summary>
    public sealed class BusyException : TachyonException
    {
        internal BusyException(string message, int errno) : base(message, errno) { }
    }

    /// <summary>The message is larger than the ring, the buffer, or a Span can be.</summary>
    public sealed class MessageTooLargeException : TachyonException
    {
        internal MessageTooLargeException(string message, int errno = Errors.EMSGSIZE) : base(message, errno) { }
    }

    /// <summary>The message is no such array, or no such record.</summary>
    public sealed class MessageFormatException : TachyonException
    {
        internal MessageFormatException(string message, int errno = Errors.EBADMSG) : base(message, errno) { }
    }

    /// <summary>The peer broke the protocol, or speaks another version of it.</summary>
    public sealed class ProtocolException : TachyonException
    {
        internal ProtocolException(string message, int errno) : base(message, errno) { }
    }

    /// <summary>The listener refused the connection, and says why.</summary>
    public sealed class RefusedException : TachyonException
    {
        internal RefusedException(string message, int errno) : base(message, errno) { }
    }

    /// <summary>libtachyon cannot be loaded, or is of another version.</summary>
    public sealed class LibraryException : TachyonException
    {
        internal LibraryException(string message) : base(message) { }
    }

    /// <summary>The server failed the call.</summary>
    public sealed class RpcException : TachyonException
    {
        /// <summary>The server has no such procedure.</summary>
        public const uint UnknownType = 0x7fff0001;
        /// <summary>The procedure threw an exception: "Type: message".</summary>
        public const uint ProcedureFailed = 0x7fff0002;
        /// <summary>The reply does not fit into the ring.</summary>
        public const uint TooLarge = 0x7fff0003;

        /// <summary>One of the three above, or the server's own.</summary>
        public uint Code { get; }

        /// <summary>What the server says.</summary>
        public string Text { get; }

        internal RpcException(uint code, string text) : base("the call failed: " + text)
        {
            Code = code;
            Text = text;
        }
    }

    internal static class Errors
    {
        // Linux's numbers.
        internal const int EINTR = 4, EAGAIN = 11, EBUSY = 16, EINVAL = 22, EPIPE = 32, EPROTO = 71, EBADMSG = 74, EMSGSIZE = 90,
            EPROTONOSUPPORT = 93, ENOBUFS = 105, ETIMEDOUT = 110, ECONNREFUSED = 111, ECANCELED = 125, EOWNERDEAD = 130;

        /// <summary>The result, if it is none of the errors. To be called by the thread that got it: the words are its.</summary>
        internal static long Check(long result, string attempt)
        {
            if (result < 0)
                throw Make(checked((int)-result), attempt);
            return result;
        }

        internal static Exception Disposed(string attempt)
        {
            return new ObjectDisposedException(null, attempt + ": this end was closed");
        }

        static Exception Make(int error, string attempt)
        {
            // What goes on, or is the program's own doing, leaves no detail behind.
            string detail = error == EAGAIN ? "" : Marshal.PtrToStringAnsi(Native.tachyon_error_detail());
            string message = $"{attempt}: {Marshal.PtrToStringAnsi(Native.tachyon_strerror(error))}";
            if (!string.IsNullOrEmpty(detail))
                message += ": " + detail;
            switch (error)
            {
                case EAGAIN:
                case ETIMEDOUT:
                    return new TimeoutException(attempt + ": the time is over");
                case ECANCELED:
                    return Disposed(attempt);
                case EPIPE:
                    return new ClosedException(message, error);
                case EOWNERDEAD:
                    return new PeerDeadException(message, error);
                case ENOBUFS:
                    return new LeasesException(message, error);
                case EBUSY:
                    return new BusyException(message, error);
                case EMSGSIZE:
                    return new MessageTooLargeException(message, error);
                case EBADMSG:
                    return new MessageFormatException(message, error);
                case EPROTO:
                case EPROTONOSUPPORT:
                    return new ProtocolException(message, error);
                case ECONNREFUSED:
                    return new RefusedException(message, error);
                default:
                    return new TachyonException(message, error);
            }
        }
    }
}
