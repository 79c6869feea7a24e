// SPDX-License-Identifier: MIT
using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Threading;
using System.Threading.Tasks;

namespace Tachyon
{
    /// <summary>Looks at memory that must not be kept.</summary>
    public delegate void SpanReader<T>(ReadOnlySpan<T> elements);

    /// <summary>Fills in memory that must not be kept.</summary>
    public delegate void SpanWriter<T>(Span<T> elements);

    /// <summary>Fills in a message of at most room.Length bytes; returns how many it has.</summary>
    public delegate int MessageWriter(Span<byte> room);

    /// <summary>A received message, copied out of the ring.</summary>
    public readonly struct Message
    {
        /// <summary>Its bytes.</summary>
        public byte[] Data { get; }

        /// <summary>The sender's tag.</summary>
        public uint TypeId { get; }

        /// <summary>A message of one's own.</summary>
        public Message(byte[] data, uint typeId)
        {
            Data = data;
            TypeId = typeId;
        }

        /// <summary>Elements and shape of a message that is an array of T. MessageFormatException where it is none.</summary>
        public T[] ReadArray<T>(out long[] shape) where T : struct
        {
            return Arrays.Read<T>(Data, out shape);
        }
    }

    /// <summary>
    /// One end of a connection between two processes: messages, bytes with a 32-bit tag, go both ways.
    /// </summary>
    /// <remarks>
    /// Any thread may use a bus: of those that send, one at a time does, and of those that receive;
    /// the others wait for their turn. What goes through at once does, whatever the time or the
    /// token; a wait ends by either, or by Dispose() in another thread, and nothing is lost by it.
    /// All but the try methods throw ClosedException and PeerDeadException where the peer has come to
    /// its end, ProtocolException where it broke the rules, TimeoutException,
    /// OperationCanceledException, and ObjectDisposedException after Dispose().
    /// </remarks>
    public sealed unsafe partial class Bus : IDisposable
    {
        const int SmallSize = 256;

        readonly BusHandle handle;
        readonly object sending = new object(), receiving = new object();
        readonly byte[] small = new byte[SmallSize]; // messages up to this size take one call

        internal Bus(BusHandle handle)
        {
            this.handle = handle;
        }

        /// <summary>Listens on a path until one process connects; the path is free again then.</summary>
        public static Bus Listen(string path, BusOptions options = null, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            return new Bus(Opening.AcceptOne(path, options, Native.StreamKind, timeout, cancellation));
        }

        /// <summary>Connects to the listener on a path; waits for one to appear.</summary>
        public static Bus Connect(string path, BusOptions options = null, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            return new Bus(Opening.Connect(path, options, Native.StreamKind, timeout, cancellation));
        }

        /// <summary>
        /// Ends the bus: the peer gets all that was sent, then the end. Calls that wait throw
        /// ObjectDisposedException. By any thread, more than once. Leases stay readable.
        /// </summary>
        public void Dispose()
        {
            try
            {
                Native.tachyon_bus_close(handle);
            }
            catch (ObjectDisposedException)
            {
            }
            handle.Dispose(); // freed when the last call has returned, and the last lease is
        }

        /// <summary>Dispose().</summary>
        public void Close()
        {
            Dispose();
        }

        /// <summary>
        /// Sends one message, and waits while the ring is full. After it the message arrives even if
        /// this process is killed, as long as the receiver lives.
        /// </summary>
        /// <exception cref="MessageTooLargeException">It is larger than the ring allows.</exception>
        public void Send(ReadOnlySpan<byte> data, uint typeId = 0, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            fixed (byte* at = &MemoryMarshal.GetReference(data))
            {
                lock (sending)
                {
                    long result = Native.tachyon_bus_send(handle, at, (UIntPtr)data.Length, typeId, 0);
                    if (result == -Errors.EAGAIN && !Waiting.IsTry(timeout))
                        result = SendWaiting(at, data.Length, typeId, timeout, cancellation);
                    if (result < 0)
                        Errors.Check(result, "send");
                }
            }
        }

        long SendWaiting(byte* at, int size, uint typeId, TimeSpan? timeout, CancellationToken cancellation)
        {
            return Waiting.Sleep(timeout, cancellation,
                left => Native.tachyon_bus_send(handle, at, (UIntPtr)size, typeId, left));
        }

        /// <summary>
        /// Lets write fill in a message of at most size bytes where it lies in the ring, and sends as
        /// many as it says. An exception of write sends nothing. It must not send on this bus.
        /// </summary>
        public void SendInPlace(int size, uint typeId, MessageWriter write, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            if (size < 0)
                throw new ArgumentOutOfRangeException(nameof(size), size, "a message of so many bytes");
            lock (sending)
            {
                IntPtr room = IntPtr.Zero;
                Errors.Check(Waiting.Run(timeout, cancellation,
                    left => Native.tachyon_bus_reserve(handle, out room, (UIntPtr)size, left)), "reserve");
                bool held = false;
                try
                {
                    handle.DangerousAddRef(ref held); // the room stays, whoever disposes
                    int used = write(new Span<byte>((void*)room, size));
                    if (used < 0 || used > size)
                        throw new ArgumentOutOfRangeException(nameof(write), used, $"the bytes of a message in a room of {size}");
                    Errors.Check(Native.tachyon_bus_commit(handle, (UIntPtr)used, typeId), "commit");
                }
                finally
                {
                    if (held)
                    {
                        Cancel();
                        handle.DangerousRelease();
                    }
                }
            }
        }

        void Cancel()
        {
            try
            {
                Native.tachyon_bus_cancel(handle); // does nothing after a commit
            }
            catch (ObjectDisposedException)
            {
            }
        }

        /// <summary>Receives one message, as a copy; waits until there is one.</summary>
        /// <exception cref="LeasesException">The peer cannot send before some leases are released.</exception>
        public Message Receive(TimeSpan? timeout = null, CancellationToken cancellation = default(CancellationToken))
        {
            lock (receiving)
            {
                Message message;
                long result = TryCopy(out message);
                if (result >= 0)
                    return message;
                if (result == -Errors.EAGAIN && !Waiting.IsTry(timeout))
                {
                    result = Waiting.Sleep(timeout, cancellation, left => Native.tachyon_bus_wait_data(handle, left));
                    if (result == 0)
                        result = TryCopy(out message);
                }
                if (result < 0)
                    Errors.Check(result, "receive");
                return message;
            }
        }

        /// <summary>Receives a message if there is one.</summary>
        public bool TryReceive(out Message message)
        {
            lock (receiving)
            {
                long result = TryCopy(out message);
                if (result >= 0)
                    return true;
                if (result != -Errors.EAGAIN)
                    Errors.Check(result, "receive");
                return false;
            }
        }

        /// <summary>The size of the next message, and a copy of it; or an error.</summary>
        long TryCopy(out Message message)
        {
            long size;
            fixed (byte* buffer = small)
            {
                uint typeId;
                size = Native.tachyon_bus_recv_copy(handle, buffer, (UIntPtr)SmallSize, &typeId, 0);
                if (size >= 0)
                {
                    var data = new byte[size];
                    fixed (byte* at = data)
                        Buffer.MemoryCopy(buffer, at, size, size);
                    message = new Message(data, typeId);
                    return size;
                }
            }
            message = size == -Errors.EMSGSIZE ? ReceiveLarge() : default(Message);
            return size == -Errors.EMSGSIZE ? message.Data.Length : size;
        }

        Message ReceiveLarge()
        {
            using (Lease lease = Holding(() => TakeLease(TimeSpan.Zero, default(CancellationToken))))
                return new Message(lease.ToArray(), lease.TypeId);
        }

        /// <summary>Receives one message into memory of the caller's; returns its size.</summary>
        /// <exception cref="MessageTooLargeException">It has more bytes than that; it is still the next one.</exception>
        public int Receive(Span<byte> buffer, out uint typeId, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            fixed (byte* at = &MemoryMarshal.GetReference(buffer))
            {
                lock (receiving)
                {
                    uint tag = 0;
                    long size = ReceiveInto(at, buffer.Length, &tag, timeout, cancellation);
                    if (size < 0)
                        Errors.Check(size, "receive");
                    typeId = tag;
                    return (int)size;
                }
            }
        }

        long ReceiveInto(byte* at, int size, uint* typeId, TimeSpan? timeout, CancellationToken cancellation)
        {
            long result = Native.tachyon_bus_recv_copy(handle, at, (UIntPtr)size, typeId, 0);
            return result == -Errors.EAGAIN && !Waiting.IsTry(timeout)
                ? ReceiveWaiting(at, size, typeId, timeout, cancellation)
                : result;
        }

        long ReceiveWaiting(byte* at, int size, uint* typeId, TimeSpan? timeout, CancellationToken cancellation)
        {
            return Waiting.Sleep(timeout, cancellation,
                left => Native.tachyon_bus_recv_copy(handle, at, (UIntPtr)size, typeId, left));
        }

        /// <summary>
        /// What is received, until either end closes; a peer that died ends it by a PeerDeadException.
        /// </summary>
        public IEnumerable<Message> Messages(CancellationToken cancellation = default(CancellationToken))
        {
            for (; ; )
            {
                Message message;
                try
                {
                    message = Receive(null, cancellation);
                }
                catch (Exception e) when (e is ClosedException || e is ObjectDisposedException)
                {
                    yield break;
                }
                yield return message;
            }
        }

        /// <summary>Facts of the bus.</summary>
        public BusProperties Properties
        {
            get
            {
                var raw = new Native.Properties { StructSize = (ulong)sizeof(Native.Properties) };
                Errors.Check(Native.tachyon_bus_properties(handle, &raw), "read properties");
                return new BusProperties
                {
                    SendCapacity = raw.SendCapacity,
                    ReceiveCapacity = raw.ReceiveCapacity,
                    MaxSendSize = raw.MaxSendSize,
                    MaxReceiveSize = raw.MaxReceiveSize,
                    PeerPid = raw.PeerPid,
                    PeerUid = raw.PeerUid,
                    IsIsolated = raw.Isolation == 1,
                    IsTrusted = raw.Trusted == 1,
                };
            }
        }

        /// <summary>How many received messages are not released.</summary>
        public long LeasesOut
        {
            get
            {
                var raw = new Native.Stats { StructSize = (ulong)sizeof(Native.Stats) };
                Errors.Check(Native.tachyon_bus_stats(handle, &raw), "read counters");
                return (long)raw.Leases;
            }
        }
    }
}
