// SPDX-License-Identifier: MIT
using System;
using System.Collections;
using System.Collections.Generic;
using System.Threading;

namespace Tachyon
{
    internal sealed unsafe class BatchHandle : PlaceHandle
    {
        readonly Native.Message[] messages;
        readonly int count;

        internal BatchHandle(BusHandle bus, Native.Message[] messages, int count) : base(bus, (IntPtr)messages[0].Data)
        {
            this.messages = messages;
            this.count = count;
        }

        protected override void GiveBack(IntPtr bus)
        {
            fixed (Native.Message* first = messages)
                Native.tachyon_bus_release_batch(bus, first, (UIntPtr)count);
        }
    }

    /// <summary>
    /// Messages that one call received, where they lie in the ring, until Dispose(). Enumerated, or by
    /// its index, each is a copy.
    /// </summary>
    public sealed unsafe class Batch : Leased, IReadOnlyList<Message>
    {
        readonly Native.Message[] messages;

        /// <summary>How many there are.</summary>
        public int Count { get; }

        internal Batch(PlaceHandle place, Native.Message[] messages, int count) : base(place)
        {
            this.messages = messages;
            Count = count;
        }

        Native.Message At(int index)
        {
            if ((uint)index >= (uint)Count)
                throw new ArgumentOutOfRangeException(nameof(index), index, $"of {Count} messages");
            return messages[index];
        }

        /// <summary>The tag of one.</summary>
        public uint TypeId(int index)
        {
            return At(index).TypeId;
        }

        /// <summary>Shows the bytes of one to look, which must not keep them, as Lease.View() does.</summary>
        public void View(int index, SpanReader<byte> look)
        {
            Native.Message message = At(index);
            if (message.Size > int.MaxValue)
                throw new MessageTooLargeException($"a message of {message.Size} bytes, more than a Span can have");
            Hold();
            try
            {
                look(new ReadOnlySpan<byte>(message.Data, (int)message.Size));
            }
            finally
            {
                LetGo();
            }
        }

        /// <summary>A copy of one.</summary>
        public Message this[int index]
        {
            get
            {
                byte[] copy = null;
                View(index, bytes => copy = bytes.ToArray());
                return new Message(copy, At(index).TypeId);
            }
        }

        /// <summary>Copies, one after the other.</summary>
        public IEnumerator<Message> GetEnumerator()
        {
            for (int i = 0; i < Count; i++)
                yield return this[i];
        }

        IEnumerator IEnumerable.GetEnumerator()
        {
            return GetEnumerator();
        }
    }

    public sealed unsafe partial class Bus
    {
        /// <summary>Receives what is there, at most max messages, without copying it; waits for the first.</summary>
        public Batch ReceiveBatch(int max, TimeSpan? timeout = null, CancellationToken cancellation = default(CancellationToken))
        {
            if (max < 1)
                throw new ArgumentOutOfRangeException(nameof(max), max, "at least 1 message");
            var messages = new Native.Message[max];
            return Holding(timeout, cancellation, rest =>
            {
                long count = Errors.Check(Waiting.Run(rest, cancellation,
                    left => Native.tachyon_bus_recv_batch(receiving.Handle, messages, (UIntPtr)max, left)), "receive");
                return new Batch(new BatchHandle(handle, messages, (int)count), messages, (int)count);
            });
        }
    }
}
