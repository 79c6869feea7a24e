// SPDX-License-Identifier: MIT
using System;
using System.Runtime.CompilerServices;
using System.Threading;
using System.Threading.Tasks;

namespace Tachyon
{
    /// <summary>Makes the library's handles of listeners and of buses.</summary>
    internal static unsafe class Opening
    {
        internal static ListenerHandle Listen(string path, BusOptions options, uint kind)
        {
            Library.Load();
            return ListenLoaded(path, options, kind);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        static ListenerHandle ListenLoaded(string path, BusOptions options, uint kind)
        {
            byte[] name = Native.Text(path);
            fixed (uint* allowed = options?.AllowedUids)
            {
                Native.Options raw = BusOptions.Raw(options, kind, allowed);
                ListenerHandle handle;
                Errors.Check(Native.tachyon_listener_create(out handle, name, &raw), "listen on " + path);
                return handle;
            }
        }

        internal static BusHandle Accept(ListenerHandle listener, string attempt, TimeSpan? timeout, CancellationToken cancellation)
        {
            BusHandle bus = null;
            Errors.Check(Waiting.Run(timeout, cancellation, left => Native.tachyon_listener_accept(listener, out bus, left)), attempt);
            return bus;
        }

        /// <summary>Listens until one process connects.</summary>
        internal static BusHandle AcceptOne(string path, BusOptions options, uint kind, TimeSpan? timeout, CancellationToken cancellation)
        {
            using (ListenerHandle listener = Listen(path, options, kind))
                return Accept(listener, "listen on " + path, timeout, cancellation);
        }

        internal static BusHandle Connect(string path, BusOptions options, uint kind, TimeSpan? timeout, CancellationToken cancellation)
        {
            Library.Load();
            return ConnectLoaded(path, options, kind, timeout, cancellation);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        static BusHandle ConnectLoaded(string path, BusOptions options, uint kind, TimeSpan? timeout, CancellationToken cancellation)
        {
            byte[] name = Native.Text(path);
            fixed (uint* allowed = options?.AllowedUids)
            {
                uint* pinned = allowed;
                BusHandle bus = null;
                Errors.Check(Waiting.Sleep(timeout, cancellation, left =>
                {
                    Native.Options raw = BusOptions.Raw(options, kind, pinned);
                    return Native.tachyon_bus_connect(out bus, name, &raw, left);
                }), "connect to " + path);
                return bus;
            }
        }
    }

    /// <summary>What Listener and ServerListener have in common.</summary>
    public abstract class ListenerBase : IDisposable
    {
        readonly ListenerHandle handle;
        readonly string path;

        internal ListenerBase(string path, BusOptions options, uint kind)
        {
            this.path = path;
            handle = Opening.Listen(path, options, kind);
        }

        internal BusHandle AcceptBus(TimeSpan? timeout, CancellationToken cancellation)
        {
            return Opening.Accept(handle, "accept on " + path, timeout, cancellation);
        }

        /// <summary>
        /// Stops listening; accepted buses live on, and an Accept() that waits throws
        /// ObjectDisposedException. By any thread, more than once.
        /// </summary>
        public void Dispose()
        {
            try
            {
                Native.tachyon_listener_close(handle);
            }
            catch (ObjectDisposedException)
            {
            }
            handle.Dispose(); // freed when the last call has returned
        }
    }

    /// <summary>Owns a path, and accepts one Bus for each process that connects. One thread at a time accepts: BusyException.</summary>
    public sealed class Listener : ListenerBase
    {
        /// <summary>Listens on a path.</summary>
        public Listener(string path, BusOptions options = null) : base(path, options, Native.StreamKind) { }

        /// <summary>Waits for a process to connect.</summary>
        public Bus Accept(TimeSpan? timeout = null, CancellationToken cancellation = default(CancellationToken))
        {
            return new Bus(AcceptBus(timeout, cancellation));
        }

        /// <summary>Accept(), in a thread of its own.</summary>
        public Task<Bus> AcceptAsync(TimeSpan? timeout = null, CancellationToken cancellation = default(CancellationToken))
        {
            return Waiting.Async(() => Accept(timeout, cancellation), cancellation);
        }
    }
}
