// SPDX-License-Identifier: MIT
using System;
using System.Collections;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Threading;
using Microsoft.Win32.SafeHandles;

namespace Tachyon
{
    /// <summary>
    /// A place in the ring, given back once: by Dispose(), or by the finalizer of what nobody holds any
    /// more. It keeps the bus's memory. While something looks at it by DangerousAddRef(), its release
    /// waits.
    /// </summary>
    internal abstract class PlaceHandle : SafeHandleZeroOrMinusOneIsInvalid
    {
        readonly BusHandle bus;

        /// <summary>Takes over a reference to the bus, see Bus.Holding().</summary>
        internal PlaceHandle(BusHandle bus, IntPtr data) : base(true)
        {
            this.bus = bus;
            SetHandle(data);
        }

        internal IntPtr Data => handle;

        protected abstract void GiveBack(IntPtr bus);

        protected override bool ReleaseHandle()
        {
            GiveBack(bus.DangerousGetHandle());
            bus.DangerousRelease();
            return true;
        }
    }

    internal sealed class LeaseHandle : PlaceHandle
    {
        readonly ulong lease;

        internal LeaseHandle(BusHandle bus, IntPtr data, ulong lease) : base(bus, data)
        {
            this.lease = lease;
        }

        protected override void GiveBack(IntPtr bus)
        {
            Native.tachyon_bus_release(bus, lease);
        }
    }

    /// <summary>What Lease, Batch and Records have in common.</summary>
    public abstract class Leased : IDisposable
    {
        internal readonly PlaceHandle Place;

        internal Leased(PlaceHandle place)
        {
            Place = place;
        }

        /// <summary>Gives the place in the ring back: in any order, by any thread, more than once.</summary>
        public void Dispose()
        {
            Place.Dispose();
        }

        /// <summary>Dispose().</summary>
        public void Release()
        {
            Dispose();
        }

        /// <summary>Before a look at the ring. Throws ObjectDisposedException after Dispose().</summary>
        internal void Hold()
        {
            bool held = false;
            Place.DangerousAddRef(ref held);
        }

        /// <summary>After it: where Dispose() was called meanwhile, this gives the place back.</summary>
        internal void LetGo()
        {
            Place.DangerousRelease();
        }
    }

    /// <summary>A received message where it lies in the ring, until Dispose().</summary>
    public sealed unsafe class Lease : Leased
    {
        /// <summary>Its size in bytes.</summary>
        public int Length { get; }

        /// <summary>The sender's tag.</summary>
        public uint TypeId { get; }

        internal Lease(PlaceHandle place, int length, uint typeId) : base(place)
        {
            Length = length;
            TypeId = typeId;
        }

        /// <summary>
        /// Shows the bytes to look, which must not keep them. ObjectDisposedException after Dispose(); a
        /// Dispose() meanwhile takes effect when look has returned.
        /// </summary>
        public void View(SpanReader<byte> look)
        {
            Hold();
            try
            {
                look(new ReadOnlySpan<byte>((void*)Place.Data, Length));
            }
            finally
            {
                LetGo();
            }
        }

        /// <summary>Shows the elements and the shape of a message that is an array of T, as View() does.</summary>
        /// <exception cref="MessageFormatException">It is no such array.</exception>
        public void ViewArray<T>(ArrayReader<T> look) where T : struct
        {
            Hold();
            try
            {
                long[] shape;
                ReadOnlySpan<T> elements = Arrays.Parse<T>((byte*)Place.Data, Length, out shape);
                look(elements, shape);
            }
            finally
            {
                LetGo();
            }
        }

        /// <summary>A copy of the bytes.</summary>
        public byte[] ToArray()
        {
            byte[] copy = null;
            View(bytes => copy = bytes.ToArray());
            return copy;
        }

        /// <summary>Copies the bytes from offset on that fit; returns how many.</summary>
        public int CopyTo(Span<byte> destination, int offset = 0)
        {
            Hold();
            try
            {
                ReadOnlySpan<byte> bytes = new ReadOnlySpan<byte>((void*)Place.Data, Length).Slice(offset);
                if (bytes.Length > destination.Length)
                    bytes = bytes.Slice(0, destination.Length);
                bytes.CopyTo(destination);
                return bytes.Length;
            }
            finally
            {
                LetGo();
            }
        }

        /// <summary>A copy of the T at offset. T is a struct without references.</summary>
        public T Read<T>(int offset = 0) where T : struct
        {
            Hold();
            try
            {
                return MemoryMarshal.Read<T>(new ReadOnlySpan<byte>((void*)Place.Data, Length).Slice(offset));
            }
            finally
            {
                LetGo();
            }
        }
    }

    public sealed unsafe partial class Bus
    {
        /// <summary>Receives one message without copying it.</summary>
        public Lease ReceiveLease(TimeSpan? timeout = null, CancellationToken cancellation = default(CancellationToken))
        {
            return Holding(timeout, cancellation, left =>
            {
                Native.Message raw = Take(left, cancellation);
                return new Lease(new LeaseHandle(handle, (IntPtr)raw.Data, raw.Lease), (int)raw.Size, raw.TypeId);
            });
        }

        /// <summary>
        /// What take makes in the receiver's turn, which takes over a reference to the handle: held before
        /// there is a lease, as the bus may be disposed the moment after.
        /// </summary>
        T Holding<T>(TimeSpan? timeout, CancellationToken cancellation, Func<TimeSpan?, T> take)
        {
            var held = Hold.None;
            bool kept = false;
            try
            {
                timeout = receiving.Enter(ref held, "receive", timeout, cancellation);
                handle.DangerousAddRef(ref kept);
                T taken = take(timeout);
                kept = false;
                return taken;
            }
            finally
            {
                if (kept)
                    handle.DangerousRelease();
                receiving.Leave(held);
            }
        }

        /// <summary>A message of a size that a Span can have, and its lease; for who has the turn.</summary>
        Native.Message Take(TimeSpan? timeout, CancellationToken cancellation)
        {
            var raw = default(Native.Message);
            Errors.Check(Waiting.Run(timeout, cancellation,
                left => Native.tachyon_bus_recv(receiving.Handle, out raw, left)), "receive");
            if (raw.Size > int.MaxValue)
            {
                Native.Message message = raw;
                Native.tachyon_bus_put_back(receiving.Handle, &message);
                throw new MessageTooLargeException($"receive: a message of {raw.Size} bytes, more than a Span can have");
            }
            return raw;
        }
    }
}
