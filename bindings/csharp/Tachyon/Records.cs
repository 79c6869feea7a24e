// SPDX-License-Identifier: MIT
using System;
using System.Collections;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Threading;

namespace Tachyon
{
    /// <summary>Bytes of a T, which may have no references in it.</summary>
    internal static class SizeOf<T> where T : struct
    {
        internal static readonly int Bytes = Measure();

        static int Measure()
        {
            try
            {
                return MemoryMarshal.AsBytes<T>(new T[1]).Length;
            }
            catch (ArgumentException)
            {
                return 0;
            }
        }

        internal static int Checked()
        {
            if (Bytes == 0)
                throw new NotSupportedException($"{typeof(T)} has references in it, which mean nothing to another process");
            return Bytes;
        }
    }

    /// <summary>
    /// A run of messages that are each a T, where they lie in the ring, until Dispose(). What is read is
    /// a copy; foreach holds the place while it runs.
    /// </summary>
    public sealed unsafe class Records<T> : Leased, IReadOnlyList<T> where T : struct
    {
        readonly long stride;

        /// <summary>How many there are.</summary>
        public int Count { get; }

        internal Records(PlaceHandle place, int count, long stride) : base(place)
        {
            Count = count;
            this.stride = stride;
        }

        static T Copy(byte* at)
        {
            return new ReadOnlySpan<T>(at, 1)[0];
        }

        /// <summary>A copy of one.</summary>
        public T this[int index]
        {
            get
            {
                if ((uint)index >= (uint)Count)
                    throw new ArgumentOutOfRangeException(nameof(index), index, $"of {Count} records");
                Hold();
                try
                {
                    return Copy((byte*)Place.Data + index * stride);
                }
                finally
                {
                    LetGo();
                }
            }
        }

        /// <summary>Copies of all.</summary>
        public T[] ToArray()
        {
            var copies = new T[Count];
            Hold();
            try
            {
                byte* at = (byte*)Place.Data;
                for (int i = 0; i < copies.Length; i++, at += stride)
                    copies[i] = Copy(at);
            }
            finally
            {
                LetGo();
            }
            return copies;
        }

        /// <summary>Copies, one after the other.</summary>
        public Enumerator GetEnumerator()
        {
            return new Enumerator(this);
        }

        IEnumerator<T> IEnumerable<T>.GetEnumerator()
        {
            return GetEnumerator();
        }

        IEnumerator IEnumerable.GetEnumerator()
        {
            return GetEnumerator();
        }

        /// <summary>What foreach uses. Holds the place until Dispose(), or until nobody has it any more.</summary>
        public sealed class Enumerator : IEnumerator<T>
        {
            readonly long stride;
            Records<T> records; // null: its place is held no longer
            byte* at, next;     // at is one of them from the beginning, whoever asks for it too early
            int left;

            internal Enumerator(Records<T> records)
            {
                records.Hold();
                this.records = records; // only now, for the sake of the finalizer
                stride = records.stride;
                at = next = (byte*)records.Place.Data;
                left = records.Count;
            }

            /// <summary>Lets go of the records.</summary>
            ~Enumerator()
            {
                LetGo();
            }

            /// <summary>Whether there is another.</summary>
            public bool MoveNext()
            {
                if (left == 0)
                    return false;
                left--;
                at = next;
                next += stride;
                return true;
            }

            /// <summary>A copy of this one. ObjectDisposedException after Dispose().</summary>
            public T Current
            {
                get
                {
                    if (records == null)
                        throw new ObjectDisposedException(nameof(Enumerator));
                    T copy = Copy(at);
                    GC.KeepAlive(this); // else its finalizer might run before
                    return copy;
                }
            }

            object IEnumerator.Current => Current;

            void IEnumerator.Reset()
            {
                throw new NotSupportedException();
            }

            /// <summary>Lets go of the records.</summary>
            public void Dispose()
            {
                LetGo();
                GC.SuppressFinalize(this);
            }

            void LetGo()
            {
                Records<T> held = records;
                records = null;
                left = 0;
                held?.LetGo();
            }
        }
    }

    public sealed unsafe partial class Bus
    {
        /// <summary>
        /// Sends each record as a message of its own, all of them or else it throws: then the exception's
        /// Data["Sent"] is how many. T is a struct without references.
        /// </summary>
        public void SendRecords<T>(ReadOnlySpan<T> records, uint typeId = 0, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken)) where T : struct
        {
            int size = SizeOf<T>.Checked();
            long sent = 0;
            var held = Hold.None;
            try
            {
                timeout = sending.Enter(ref held, "send records", timeout, cancellation);
                fixed (byte* first = &MemoryMarshal.GetReference(MemoryMarshal.AsBytes(records)))
                    SendAll(first, size, records.Length, typeId, new Clock(timeout), cancellation, ref sent);
            }
            catch (Exception e)
            {
                e.Data["Sent"] = (int)sent;
                throw;
            }
            finally
            {
                sending.Leave(held);
            }
        }

        void SendAll(byte* first, int size, int count, uint typeId, Clock clock, CancellationToken cancellation, ref long sent)
        {
            while (sent < count)
            {
                byte* next = first + sent * size;
                long rest = count - sent;
                sent += Errors.Check(Waiting.Run(clock.Left(), cancellation,
                    left => Native.tachyon_bus_send_records(sending.Handle, next, (UIntPtr)size, (UIntPtr)rest, typeId, left)),
                    "send records");
            }
        }

        /// <summary>
        /// Receives a run of at most max messages that are each a T and have the tag typeId, or any tag;
        /// waits for the first.
        /// </summary>
        /// <exception cref="MessageFormatException">The next message has another size or tag; it stays the next one.</exception>
        public Records<T> ReceiveRecords<T>(int max, uint? typeId = null, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken)) where T : struct
        {
            int size = SizeOf<T>.Checked();
            if (max < 1)
                throw new ArgumentOutOfRangeException(nameof(max), max, "at least 1 record");
            return Holding(timeout, cancellation, left =>
            {
                Native.Records raw = TakeRecords(size, max, typeId, left, cancellation);
                var place = new LeaseHandle(handle, (IntPtr)raw.Data, raw.Lease);
                return new Records<T>(place, (int)raw.Count, (long)raw.Stride);
            });
        }

        Native.Records TakeRecords(int size, int max, uint? typeId, TimeSpan? timeout, CancellationToken cancellation)
        {
            uint wanted = typeId.GetValueOrDefault();
            uint* pointer = typeId.HasValue ? &wanted : null, tag = pointer;
            var raw = default(Native.Records);
            long result = Waiting.Run(timeout, cancellation,
                left => Native.tachyon_bus_recv_records(receiving.Handle, out raw, (UIntPtr)size, (UIntPtr)max, tag, left));
            if (result == -Errors.EMSGSIZE)
                result = -Errors.EBADMSG;
            Errors.Check(result, "receive records");
            return raw;
        }
    }
}
