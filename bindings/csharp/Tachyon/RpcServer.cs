// SPDX-License-Identifier: MIT
using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace Tachyon
{
    /// <summary>Answers requests of one type. Its exception is the caller's RpcException.</summary>
    public delegate byte[] Procedure(byte[] request);

    /// <summary>The serving end. One thread at a time takes requests, and one replies; the others wait for their turn.</summary>
    public sealed class Server : RpcEnd
    {
        readonly Turn serving;
        internal readonly Turn Replying;

        internal Server(BusHandle bus) : base(bus)
        {
            serving = new Turn(Handle);
            Replying = new Turn(Handle);
        }

        internal override void LetNobodyIn()
        {
            serving.Close();
            Replying.Close();
        }

        /// <summary>Listens on a path until one client connects; the path is free again then.</summary>
        public static Server Listen(string path, BusOptions options = null, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            return new Server(Opening.AcceptOne(path, options, Native.RpcKind, timeout, cancellation));
        }

        /// <summary>Waits for a request.</summary>
        public Request Serve(TimeSpan? timeout = null, CancellationToken cancellation = default(CancellationToken))
        {
            var held = Hold.None;
            try
            {
                timeout = serving.Enter(ref held, "serve", timeout, cancellation);
                var raw = default(Native.Message);
                Errors.Check(Waiting.Run(timeout, cancellation,
                    left => Native.tachyon_rpc_serve(serving.Handle, out raw, left)), "serve");
                return new Request(this, Copied(serving.Handle, raw), raw.TypeId, raw.CorrelationId);
            }
            finally
            {
                serving.Leave(held);
            }
        }

        /// <summary>Serve() in a thread of its own.</summary>
        public Task<Request> ServeAsync(TimeSpan? timeout = null, CancellationToken cancellation = default(CancellationToken))
        {
            return Waiting.Async(() => Serve(timeout, cancellation), cancellation);
        }

        /// <summary>Answers requests until the client closes or dies, this end is disposed, or the token is cancelled.</summary>
        public void ServeAll(IReadOnlyDictionary<uint, Procedure> procedures, CancellationToken cancellation = default(CancellationToken))
        {
            try
            {
                for (; ; )
                    Serve(null, cancellation).Answer(procedures, cancellation);
            }
            catch (Exception e) when (e is ClosedException || e is PeerDeadException || e is ObjectDisposedException)
            {
            }
        }
    }

    /// <summary>Owns a path, and accepts one Server for each client that connects. One thread at a time accepts: BusyException.</summary>
    public sealed class ServerListener : ListenerBase
    {
        /// <summary>Listens on a path.</summary>
        public ServerListener(string path, BusOptions options = null) : base(path, options, Native.RpcKind) { }

        /// <summary>Waits for a client to connect.</summary>
        public Server Accept(TimeSpan? timeout = null, CancellationToken cancellation = default(CancellationToken))
        {
            return new Server(AcceptBus(timeout, cancellation));
        }

        /// <summary>Accept(), in a thread of its own.</summary>
        public Task<Server> AcceptAsync(TimeSpan? timeout = null, CancellationToken cancellation = default(CancellationToken))
        {
            return Waiting.Async(() => Accept(timeout, cancellation), cancellation);
        }
    }

    /// <summary>What a client asks: a copy. To be answered once, by any thread, in any order.</summary>
    public sealed unsafe class Request
    {
        readonly Server server;
        readonly ulong id;

        /// <summary>Its bytes.</summary>
        public byte[] Data { get; }

        /// <summary>Which procedure.</summary>
        public uint TypeId { get; }

        internal Request(Server server, byte[] data, uint typeId, ulong id)
        {
            this.server = server;
            Data = data;
            TypeId = typeId;
            this.id = id;
        }

        /// <summary>Answers it. After a MessageTooLargeException it can still be failed.</summary>
        public void Reply(ReadOnlySpan<byte> data, uint typeId = 0, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            int size = data.Length;
            fixed (byte* pinned = &MemoryMarshal.GetReference(data))
            {
                byte* at = pinned;
                Deliver("reply", (rpc, left) => Native.tachyon_rpc_reply(rpc, id, at, (UIntPtr)size, typeId, left), timeout, cancellation);
            }
        }

        /// <summary>Makes the call an RpcException at the caller.</summary>
        public void Fail(uint code, string text, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            byte[] words = Encoding.UTF8.GetBytes(text);
            fixed (byte* pinned = words)
            {
                byte* at = pinned;
                Deliver("fail a call", (rpc, left) => Native.tachyon_rpc_fail(rpc, id, code, at, (UIntPtr)words.Length, left),
                    timeout, cancellation);
            }
        }

        delegate int Answerer(IntPtr rpc, long timeoutNs);

        void Deliver(string attempt, Answerer answer, TimeSpan? timeout, CancellationToken cancellation)
        {
            Turn turn = server.Replying;
            var held = Hold.None;
            try
            {
                timeout = turn.Enter(ref held, attempt, timeout, cancellation);
                Errors.Check(Waiting.Run(timeout, cancellation, left => answer(turn.Handle, left)), attempt);
            }
            finally
            {
                turn.Leave(held);
            }
        }

        internal void Answer(IReadOnlyDictionary<uint, Procedure> procedures, CancellationToken cancellation)
        {
            Procedure procedure;
            if (!procedures.TryGetValue(TypeId, out procedure))
            {
                Fail(RpcException.UnknownType, "there is no procedure " + TypeId, null, cancellation);
                return;
            }
            byte[] reply;
            try
            {
                reply = procedure(Data);
            }
            catch (Exception e)
            {
                Fail(RpcException.ProcedureFailed, e.GetType().Name + ": " + e.Message, null, cancellation);
                return;
            }
            try
            {
                Reply(reply, 0, null, cancellation);
            }
            catch (MessageTooLargeException e)
            {
                Fail(RpcException.TooLarge, e.Message, null, cancellation);
            }
        }
    }
}
