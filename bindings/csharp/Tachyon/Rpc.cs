// SPDX-License-Identifier: MIT
using System;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace Tachyon
{
    /// <summary>What Caller and Server have in common.</summary>
    public abstract unsafe class RpcEnd : IDisposable
    {
        internal readonly RpcHandle Handle;

        internal RpcEnd(BusHandle bus)
        {
            int result = Native.tachyon_rpc_create(out Handle, bus);
            if (result < 0)
                bus.Dispose();
            Errors.Check(result, "make an end of calls");
            bus.SetHandleAsInvalid(); // it is the end's now
        }

        /// <summary>
        /// Ends the bus: the peer gets all that was sent, then the end. Calls that wait throw
        /// ObjectDisposedException. By any thread, more than once.
        /// </summary>
        public void Dispose()
        {
            try
            {
                Native.tachyon_rpc_close(Handle);
            }
            catch (ObjectDisposedException)
            {
            }
            Handle.Dispose(); // freed when the last call has returned
        }

        /// <summary>Dispose().</summary>
        public void Close()
        {
            Dispose();
        }

        internal delegate int Receiver(out Native.Message message, long timeoutNs);

        /// <summary>
        /// Waits for a reply or a request, copies it and gives it back. The handle is held until then,
        /// as what was received may lie on the heap that is freed with it.
        /// </summary>
        internal long Take(string attempt, Receiver receive, TimeSpan? timeout, CancellationToken cancellation,
            out byte[] data, out Native.Message message)
        {
            bool held = false;
            try
            {
                Handle.DangerousAddRef(ref held);
                var raw = default(Native.Message);
                long result = Errors.Check(Waiting.Run(timeout, cancellation, left => receive(out raw, left)), attempt);
                message = raw;
                try
                {
                    data = new ReadOnlySpan<byte>(raw.Data, checked((int)raw.Size)).ToArray();
                }
                finally
                {
                    Native.Message taken = raw;
                    Native.tachyon_rpc_release(Handle.DangerousGetHandle(), &taken);
                }
                return result;
            }
            finally
            {
                if (held)
                    Handle.DangerousRelease();
            }
        }
    }

    /// <summary>
    /// The calling end. Any thread may call; one at a time is in the library, and waits there. So give
    /// threads that shall wait side by side a Caller each, or submit first and wait afterwards.
    /// </summary>
    public sealed unsafe class Caller : RpcEnd
    {
        internal readonly object Calling = new object();

        Caller(BusHandle bus) : base(bus) { }

        /// <summary>Connects to a server; waits for one to appear.</summary>
        public static Caller Connect(string path, BusOptions options = null, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            return new Caller(Opening.Connect(path, options, Native.RpcKind, timeout, cancellation));
        }

        /// <summary>Connect() that keeps no thread of the caller's.</summary>
        public static Task<Caller> ConnectAsync(string path, BusOptions options = null, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            return Waiting.Async(() => Connect(path, options, timeout, cancellation), cancellation);
        }

        /// <summary>
        /// Sends a request and waits for the reply. A call that throws is given up. The time is that for
        /// sending, and again that for the reply.
        /// </summary>
        /// <exception cref="RpcException">The server failed the call.</exception>
        public Message Call(ReadOnlySpan<byte> data, uint typeId, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            lock (Calling)
            {
                using (PendingCall call = Submit(data, typeId, timeout, cancellation))
                    return call.Wait(timeout, cancellation);
            }
        }

        /// <summary>Call() in a thread of its own. data must stay as it is until the task is over.</summary>
        public Task<Message> CallAsync(ReadOnlyMemory<byte> data, uint typeId, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            return Waiting.Async(() => Call(data.Span, typeId, timeout, cancellation), cancellation);
        }

        /// <summary>Sends a request, and does not wait for the reply.</summary>
        public PendingCall Submit(ReadOnlySpan<byte> data, uint typeId, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            int size = data.Length;
            fixed (byte* pinned = &MemoryMarshal.GetReference(data))
            {
                byte* at = pinned;
                lock (Calling)
                {
                    ulong id = 0;
                    Errors.Check(Waiting.Run(timeout, cancellation,
                        left => Native.tachyon_rpc_submit(Handle, at, (UIntPtr)size, typeId, out id, left)), "submit");
                    return new PendingCall(this, id);
                }
            }
        }
    }

    /// <summary>A call whose reply is still to come: wait for it, or dispose, which gives it up.</summary>
    public sealed class PendingCall : IDisposable
    {
        readonly Caller caller;
        readonly ulong id;
        bool over;

        internal PendingCall(Caller caller, ulong id)
        {
            this.caller = caller;
            this.id = id;
        }

        /// <summary>Waits for the reply. After a TimeoutException or a cancellation the call is still outstanding.</summary>
        public Message Wait(TimeSpan? timeout = null, CancellationToken cancellation = default(CancellationToken))
        {
            lock (caller.Calling)
            {
                byte[] data;
                Native.Message message;
                long failed = caller.Take("wait for a reply", Receive, timeout, cancellation, out data, out message);
                over = true;
                if (failed == 1)
                    throw new RpcException(message.TypeId, Encoding.UTF8.GetString(data));
                return new Message(data, message.TypeId);
            }
        }

        /// <summary>Wait() in a thread of its own.</summary>
        public Task<Message> WaitAsync(TimeSpan? timeout = null, CancellationToken cancellation = default(CancellationToken))
        {
            return Waiting.Async(() => Wait(timeout, cancellation), cancellation);
        }

        int Receive(out Native.Message message, long timeoutNs)
        {
            return Native.tachyon_rpc_wait(caller.Handle, id, out message, timeoutNs);
        }

        /// <summary>Gives the call up, if it is not over.</summary>
        public void Dispose()
        {
            lock (caller.Calling)
            {
                if (over)
                    return;
                over = true;
                try
                {
                    Native.tachyon_rpc_forget(caller.Handle, id);
                }
                catch (ObjectDisposedException)
                {
                }
            }
        }
    }
}
