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
        readonly Turn sending, receiving;
        readonly byte[] small = new byte[SmallSize]; // messages up to this size take one call

        internal Bus(BusHandle handle)
        {
            this.handle = handle;
            sending = new Turn(handle);
            receiving = new Turn(handle);
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
            handle.Dispose(); // freed when nobody has a turn any more, and the last lease is released
            sending.Close();
            receiving.Close();
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
            // No try: .NET makes a call into C in place only outside of one, and nothing here throws. What did not go
            // through is tried once more, in a turn that waits.
            if (sending.EnterAlone())
            {
                int result;
                fixed (byte* at = &MemoryMarshal.GetReference(data))
                    result = Native.tachyon_bus_send(sending.Handle, at, (UIntPtr)data.Length, typeId, 0);
                sending.LeaveAlone();
                if (result == 0)
                    return;
            }
            SendInTurn(data, typeId, timeout, cancellation);
        }

        void SendInTurn(ReadOnlySpan<byte> data, uint typeId, TimeSpan? timeout, CancellationToken cancellation)
        {
            var held = Hold.None;
            try
            {
                timeout = sending.Enter(ref held, "send", timeout, cancellation);
                fixed (byte* at = &MemoryMarshal.GetReference(data))
                {
                    long result = Native.tachyon_bus_send(sending.Handle, at, (UIntPtr)data.Length, typeId, 0);
                    if (result < 0)
                        SendWaiting(result, at, data.Length, typeId, timeout, cancellation);
                }
            }
            finally
            {
                sending.Leave(held);
            }
        }

        void SendWaiting(long result, byte* at, int size, uint typeId, TimeSpan? timeout, CancellationToken cancellation)
        {
            if (Waiting.GoesOn(result, timeout))
                result = Waiting.Sleep(timeout, cancellation,
                    left => Native.tachyon_bus_send(sending.Handle, at, (UIntPtr)size, typeId, left));
            Errors.Check(result, "send");
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
            if (write == null)
                throw new ArgumentNullException(nameof(write));
            var held = Hold.None;
            try
            {
                timeout = sending.Enter(ref held, "send", timeout, cancellation);
                IntPtr room = Reserve(size, timeout, cancellation);
                sending.BeginWriting();
                int used = write(new Span<byte>((void*)room, size));
                if (used < 0 || used > size)
                    throw new ArgumentOutOfRangeException(nameof(write), used, $"the bytes of a message in a room of {size}");
                Errors.Check(Native.tachyon_bus_commit(sending.Handle, (UIntPtr)used, typeId), "commit");
            }
            finally
            {
                if (held != Hold.None)
                {
                    sending.EndWriting();
                    Native.tachyon_bus_cancel(sending.Handle); // does nothing after a commit
                    sending.Leave(held);
                }
            }
        }

        IntPtr Reserve(int size, TimeSpan? timeout, CancellationToken cancellation)
        {
            IntPtr room = IntPtr.Zero;
            Errors.Check(Waiting.Run(timeout, cancellation,
                left => Native.tachyon_bus_reserve(sending.Handle, out room, (UIntPtr)size, left)), "reserve");
            return room;
        }

        /// <summary>Receives one message, as a copy; waits until there is one.</summary>
        /// <exception cref="LeasesException">The peer cannot send before some leases are released.</exception>
        public Message Receive(TimeSpan? timeout = null, CancellationToken cancellation = default(CancellationToken))
        {
            Message message;
            return ReceiveAlone(out message, Waiting.First(timeout, cancellation)) ? message : ReceiveInTurn(timeout, cancellation);
        }

        Message ReceiveInTurn(TimeSpan? timeout, CancellationToken cancellation)
        {
            var held = Hold.None;
            try
            {
                timeout = receiving.Enter(ref held, "receive", timeout, cancellation);
                Message message;
                long result = Copy(out message, Waiting.First(timeout, cancellation));
                return result < 0 ? ReceiveWaiting(result, timeout, cancellation) : message;
            }
            finally
            {
                receiving.Leave(held);
            }
        }

        Message ReceiveWaiting(long result, TimeSpan? timeout, CancellationToken cancellation)
        {
            var message = default(Message);
            if (Waiting.GoesOn(result, timeout))
                result = Waiting.Sleep(timeout, cancellation, left => Copy(out message, left));
            Errors.Check(result, "receive");
            return message;
        }

        /// <summary>Receives a message if there is one, and no other thread is waiting for it.</summary>
        public bool TryReceive(out Message message)
        {
            return ReceiveAlone(out message, 0) || TryReceiveInTurn(out message);
        }

        bool TryReceiveInTurn(out Message message)
        {
            var held = Hold.None;
            try
            {
                message = default(Message);
                if (!receiving.TryEnter(ref held, "receive"))
                    return false;
                long result = Copy(out message, 0);
                if (result < 0 && result != -Errors.EAGAIN)
                    Errors.Check(result, "receive");
                return result >= 0;
            }
            finally
            {
                receiving.Leave(held);
            }
        }

        /// <summary>See Send().</summary>
        bool ReceiveAlone(out Message message, long timeoutNs)
        {
            message = default(Message);
            if (!receiving.EnterAlone())
                return false;
            uint typeId;
            long size;
            fixed (byte* buffer = small)
                size = Native.tachyon_bus_recv_copy(receiving.Handle, buffer, (UIntPtr)SmallSize, &typeId, timeoutNs);
            try
            {
                return Copied(out message, size, typeId) >= 0;
            }
            finally
            {
                receiving.LeaveAlone();
            }
        }

        /// <summary>0 or more, and a copy of the next message; or an error.</summary>
        long Copy(out Message message, long timeoutNs)
        {
            uint typeId;
            long size;
            fixed (byte* buffer = small)
                size = Native.tachyon_bus_recv_copy(receiving.Handle, buffer, (UIntPtr)SmallSize, &typeId, timeoutNs);
            return Copied(out message, size, typeId);
        }

        long Copied(out Message message, long size, uint typeId)
        {
            message = default(Message);
            if (size == -Errors.EMSGSIZE)
                return CopyLarge(out message);
            if (size < 0)
                return size;
            var data = new byte[size];
            fixed (byte* from = small, to = data)
                CopyBytes(from, to, size);
            message = new Message(data, typeId);
            return size;
        }

        /// <summary>Takes half the time of Buffer.MemoryCopy() on Mono, for so few.</summary>
        static void CopyBytes(byte* from, byte* to, long size)
        {
            for (; size >= sizeof(long); size -= sizeof(long), from += sizeof(long), to += sizeof(long))
                *(long*)to = *(long*)from;
            for (; size > 0; size--)
                *to++ = *from++;
        }

        long CopyLarge(out Message message)
        {
            Native.Message raw = Take(TimeSpan.Zero, default(CancellationToken));
            try
            {
                message = new Message(new ReadOnlySpan<byte>(raw.Data, (int)raw.Size).ToArray(), raw.TypeId);
                return 0;
            }
            finally
            {
                Native.tachyon_bus_release(receiving.Handle, raw.Lease);
            }
        }

        /// <summary>Receives one message into memory of the caller's; returns its size.</summary>
        /// <exception cref="MessageTooLargeException">It has more bytes than that; it is still the next one.</exception>
        public int Receive(Span<byte> buffer, out uint typeId, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            if (receiving.EnterAlone())
            {
                uint tag;
                long size;
                fixed (byte* at = &MemoryMarshal.GetReference(buffer))
                    size = Native.tachyon_bus_recv_copy(receiving.Handle, at, (UIntPtr)buffer.Length, &tag,
                        Waiting.First(timeout, cancellation));
                receiving.LeaveAlone();
                typeId = tag;
                if (size >= 0)
                    return (int)size;
            }
            return ReceiveInTurn(buffer, out typeId, timeout, cancellation);
        }

        int ReceiveInTurn(Span<byte> buffer, out uint typeId, TimeSpan? timeout, CancellationToken cancellation)
        {
            var held = Hold.None;
            try
            {
                timeout = receiving.Enter(ref held, "receive", timeout, cancellation);
                fixed (byte* at = &MemoryMarshal.GetReference(buffer))
                {
                    uint tag;
                    long size = Native.tachyon_bus_recv_copy(receiving.Handle, at, (UIntPtr)buffer.Length, &tag,
                        Waiting.First(timeout, cancellation));
                    if (size < 0)
                        size = ReceiveWaiting(size, at, buffer.Length, &tag, timeout, cancellation);
                    typeId = tag;
                    return (int)size;
                }
            }
            finally
            {
                receiving.Leave(held);
            }
        }

        long ReceiveWaiting(long result, byte* at, int size, uint* typeId, TimeSpan? timeout, CancellationToken cancellation)
        {
            if (Waiting.GoesOn(result, timeout))
                result = Waiting.Sleep(timeout, cancellation,
                    left => Native.tachyon_bus_recv_copy(receiving.Handle, at, (UIntPtr)size, typeId, left));
            return Errors.Check(result, "receive");
        }

        /// <summary>
        /// Receives a message into memory of the caller's if there is one, and no other thread is waiting
        /// for it. Allocates nothing.
        /// </summary>
        /// <exception cref="MessageTooLargeException">It has more bytes than that; it is still the next one.</exception>
        public bool TryReceive(Span<byte> buffer, out int size, out uint typeId)
        {
            if (receiving.EnterAlone())
            {
                uint tag;
                long result;
                fixed (byte* at = &MemoryMarshal.GetReference(buffer))
                    result = Native.tachyon_bus_recv_copy(receiving.Handle, at, (UIntPtr)buffer.Length, &tag, 0);
                receiving.LeaveAlone();
                if (result >= 0)
                {
                    size = (int)result;
                    typeId = tag;
                    return true;
                }
            }
            return TryReceiveInTurn(buffer, out size, out typeId);
        }

        bool TryReceiveInTurn(Span<byte> buffer, out int size, out uint typeId)
        {
            var held = Hold.None;
            try
            {
                uint tag = 0;
                long result = -Errors.EAGAIN;
                if (receiving.TryEnter(ref held, "receive"))
                    fixed (byte* at = &MemoryMarshal.GetReference(buffer))
                        result = Native.tachyon_bus_recv_copy(receiving.Handle, at, (UIntPtr)buffer.Length, &tag, 0);
                if (result < 0 && result != -Errors.EAGAIN)
                    Errors.Check(result, "receive");
                size = result < 0 ? 0 : (int)result;
                typeId = tag;
                return result >= 0;
            }
            finally
            {
                receiving.Leave(held);
            }
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
