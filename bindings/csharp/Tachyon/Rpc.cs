// SPDX-License-Identifier: MIT
using System;

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
            LetNobodyIn();
        }

        /// <summary>Dispose().</summary>
        public void Close()
        {
            Dispose();
        }

        internal abstract void LetNobodyIn();

        /// <summary>A copy of a reply's or a request's bytes, which it gives back: they may lie on the heap that goes with the handle.</summary>
        internal static byte[] Copied(IntPtr rpc, Native.Message message)
        {
            try
            {
                if (message.Size > int.MaxValue)
                    throw new MessageTooLargeException($"a message of {message.Size} bytes, more than an array can have");
                return new ReadOnlySpan<byte>(message.Data, (int)message.Size).ToArray();
            }
            finally
            {
                Native.tachyon_rpc_release(rpc, &message);
            }
        }
    }
}
