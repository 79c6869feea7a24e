// SPDX-License-Identifier: MIT
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading;
using System.Threading.Tasks;

namespace Tachyon
{
    // What goes through at once does so in the caller's thread. What has to wait does it in a
    // thread of its own.
    public sealed partial class Bus
    {
        /// <summary>Listen() that keeps no thread of the caller's.</summary>
        public static Task<Bus> ListenAsync(string path, BusOptions options = null, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            return Waiting.Async(() => Listen(path, options, timeout, cancellation), cancellation);
        }

        /// <summary>Connect() that keeps no thread of the caller's.</summary>
        public static Task<Bus> ConnectAsync(string path, BusOptions options = null, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            return Waiting.Async(() => Connect(path, options, timeout, cancellation), cancellation);
        }

        /// <summary>Send() that keeps no thread of the caller's. data must stay as it is until the task is over.</summary>
        public Task SendAsync(ReadOnlyMemory<byte> data, uint typeId = 0, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            try
            {
                if (SentAtOnce(data.Span, typeId, timeout))
                    return Task.CompletedTask;
            }
            catch (Exception e)
            {
                return Task.FromException(e);
            }
            return Waiting.Async(() =>
            {
                Send(data.Span, typeId, timeout, cancellation);
                return true;
            }, cancellation);
        }

        unsafe bool SentAtOnce(ReadOnlySpan<byte> data, uint typeId, TimeSpan? timeout)
        {
            var held = Hold.None;
            try
            {
                if (!sending.TryEnter(ref held, "send"))
                    return false;
                fixed (byte* at = &MemoryMarshal.GetReference(data))
                {
                    long result = Native.tachyon_bus_send(sending.Handle, at, (UIntPtr)data.Length, typeId, 0);
                    if (Waiting.GoesOn(result, timeout))
                        return false;
                    Errors.Check(result, "send");
                    return true;
                }
            }
            finally
            {
                sending.Leave(held);
            }
        }

        /// <summary>Receive() that keeps no thread of the caller's.</summary>
        public Task<Message> ReceiveAsync(TimeSpan? timeout = null, CancellationToken cancellation = default(CancellationToken))
        {
            try
            {
                Message message;
                if (TryReceive(out message))
                    return Task.FromResult(message);
            }
            catch (Exception e)
            {
                return Task.FromException<Message>(e);
            }
            return Waiting.Async(() => Receive(timeout, cancellation), cancellation);
        }

#if NET8_0_OR_GREATER
        /// <summary>Messages() for await foreach.</summary>
        public async IAsyncEnumerable<Message> MessagesAsync([EnumeratorCancellation] CancellationToken cancellation = default)
        {
            for (; ; )
            {
                Message message;
                try
                {
                    message = await ReceiveAsync(null, cancellation).ConfigureAwait(false);
                }
                catch (Exception e) when (e is ClosedException || e is ObjectDisposedException)
                {
                    yield break;
                }
                yield return message;
            }
        }
#endif
    }
}
