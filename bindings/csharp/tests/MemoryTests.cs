// SPDX-License-Identifier: MIT
using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;
using System.Threading.Tasks;
using NUnit.Framework;

namespace Tachyon.Tests
{
    [TestFixture]
    public class MemoryTests
    {
        struct Tick
        {
            public ulong Time;
            public double Price;
        }

        struct Named
        {
            public string Name { get; set; }
        }

        [Test]
        public void LeasesEndInAnyOrderAndOutliveTheBus()
        {
            using (var pair = new Pair())
            {
                for (byte i = 0; i < 3; i++)
                    pair.Producer.Send(new byte[] { i, 7 }, i);
                Lease[] leases = Enumerable.Range(0, 3).Select(i => pair.Consumer.ReceiveLease(Support.Patience)).ToArray();
                Assert.That(leases[1].ToArray(), Is.EqualTo(new byte[] { 1, 7 }));
                Assert.That(leases[1].TypeId, Is.EqualTo(1));
                leases[1].Dispose();
                leases[1].Release();
                Assert.Throws<ObjectDisposedException>(() => leases[1].View(bytes => { }));
                Assert.Throws<ObjectDisposedException>(() => leases[1].Read<byte>());
                Assert.Throws<ObjectDisposedException>(() => leases[1].CopyTo(new byte[2]));
                Assert.Throws<ObjectDisposedException>(() => leases[1].ToArray());
                Assert.That(pair.Consumer.LeasesOut, Is.EqualTo(2));
                var copy = new byte[1];
                Assert.That(leases[2].CopyTo(copy, 1), Is.EqualTo(1));
                Assert.That(copy[0], Is.EqualTo(7));
                Assert.That(leases[2].Read<ushort>(), Is.EqualTo(0x702));
                Assert.Throws<ArgumentOutOfRangeException>(() => leases[2].Read<ulong>());
                Assert.Throws<ArgumentOutOfRangeException>(() => leases[2].CopyTo(copy, 3));
                pair.Consumer.Dispose();
                Assert.That(leases[0].ToArray(), Is.EqualTo(new byte[] { 0, 7 }));
                leases[0].Dispose();
                leases[2].Dispose();
            }
        }

        [Test]
        public void AReleaseWaitsForAView()
        {
            using (var pair = new Pair())
            {
                pair.Producer.Send(new byte[] { 1 });
                Lease lease = pair.Consumer.ReceiveLease(Support.Patience);
                lease.View(bytes =>
                {
                    lease.Dispose();
                    Assert.That(pair.Consumer.LeasesOut, Is.EqualTo(1));
                    Assert.That(bytes[0], Is.EqualTo(1));
                });
                Assert.That(pair.Consumer.LeasesOut, Is.EqualTo(0));
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        static void Forget(Bus bus)
        {
            for (int i = 0; i < 5; i++)
                bus.ReceiveLease(Support.Patience);
            bus.ReceiveBatch(1, Support.Patience);
            bus.ReceiveRecords<byte>(1, null, Support.Patience).GetEnumerator().MoveNext();
        }

        [Test]
        public void ForgottenLeasesAreGivenBack()
        {
            using (var pair = new Pair())
            {
                for (int i = 0; i < 7; i++)
                    pair.Producer.Send(new byte[1]);
                Task.Factory.StartNew(() => Forget(pair.Consumer), TaskCreationOptions.LongRunning).Wait(); // no stack keeps one
                Support.Until(() =>
                {
                    GC.Collect();
                    GC.WaitForPendingFinalizers();
                    return pair.Consumer.LeasesOut == 0;
                });
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        static Lease LeaseOfAForgottenBus()
        {
            var pair = new Pair();
            pair.Producer.Send(new byte[] { 9 });
            return pair.Consumer.ReceiveLease(Support.Patience);
        }

        [Test]
        public void ALeaseKeepsTheMemoryOfAForgottenBus()
        {
            Lease lease = null;
            Task.Factory.StartNew(() => lease = LeaseOfAForgottenBus(), TaskCreationOptions.LongRunning).Wait();
            for (int i = 0; i < 3; i++)
            {
                GC.Collect();
                GC.WaitForPendingFinalizers();
            }
            Assert.That(lease.ToArray(), Is.EqualTo(new byte[] { 9 }));
            lease.Dispose();
        }

        [Test]
        public void LeasesThatFillTheRing()
        {
            using (var pair = new Pair(4096))
            {
                Task sending = Support.Start(() =>
                {
                    for (; ; )
                        pair.Producer.Send(new byte[1000]);
                });
                var kept = new List<Lease>();
                Assert.Throws<LeasesException>(() =>
                {
                    for (; ; )
                        kept.Add(pair.Consumer.ReceiveLease(Support.Patience));
                });
                kept.ForEach(lease => lease.Dispose());
                pair.Consumer.Receive(Support.Patience);
                pair.Consumer.Dispose();
                Assert.That(Support.Failure(sending), Is.InstanceOf<ClosedException>());
            }
        }

        [Test]
        public void Batches()
        {
            using (var pair = new Pair())
            {
                for (byte i = 0; i < 5; i++)
                    pair.Producer.Send(new byte[] { i, i }, i);
                Batch batch = pair.Consumer.ReceiveBatch(4, Support.Patience);
                Assert.That(batch.Select(message => message.Data[1]), Is.EqualTo(new byte[] { 0, 1, 2, 3 }));
                Assert.That(batch.TypeId(3), Is.EqualTo(3));
                int size = 0;
                batch.View(2, bytes => size = bytes.Length);
                Assert.That(size, Is.EqualTo(2));
                Message none;
                Assert.Throws<ArgumentOutOfRangeException>(() => none = batch[4]);
                Assert.That(pair.Consumer.LeasesOut, Is.EqualTo(4));
                batch.Dispose();
                Assert.That(pair.Consumer.LeasesOut, Is.EqualTo(0));
                Assert.Throws<ObjectDisposedException>(() => none = batch[0]);
            }
        }

        [Test]
        public void RecordsAreMessagesOfOneType()
        {
            using (var pair = new Pair(1 << 16))
            {
                Tick[] ticks = Enumerable.Range(0, 10000).Select(i => new Tick { Time = (ulong)i, Price = 0.5 }).ToArray();
                Task sending = Support.Start(() => pair.Producer.SendRecords<Tick>(ticks, 9));
                Bus bus = pair.Consumer;
                Assert.Throws<MessageFormatException>(() => bus.ReceiveRecords<Tick>(100, 10, Support.Patience));
                Assert.Throws<MessageFormatException>(() => bus.ReceiveRecords<uint>(100, null, Support.Patience));
                Assert.Throws<NotSupportedException>(() => bus.ReceiveRecords<Named>(100));
                Assert.Throws<NotSupportedException>(() => bus.SendRecords<Named>(new Named[1]));
                ulong next = 0;
                while (next < 10000)
                {
                    Records<Tick> run = bus.ReceiveRecords<Tick>(1000, 9, Support.Patience);
                    Assert.That(run[0].Time, Is.EqualTo(next));
                    Assert.That(run.ToArray().Last().Time, Is.EqualTo(next + (ulong)run.Count - 1));
                    foreach (Tick tick in run)
                    {
                        if (tick.Time == next)
                            run.Dispose(); // foreach still holds it
                        Assert.That(tick.Time, Is.EqualTo(next++));
                    }
                    Assert.Throws<ObjectDisposedException>(() => run.ToArray());
                    Assert.Throws<ObjectDisposedException>(() => run.GetEnumerator());
                    Assert.That(bus.LeasesOut, Is.EqualTo(0));
                }
                Assert.That(Support.Failure(sending), Is.Null);
            }
        }

        [Test]
        public void AnEnumeratorShowsNothingButRecords()
        {
            using (var pair = new Pair())
            {
                pair.Producer.SendRecords<long>(new[] { 7L, 8L });
                using (Records<long> run = pair.Consumer.ReceiveRecords<long>(2))
                {
                    Records<long>.Enumerator each = run.GetEnumerator();
                    Assert.That(each.Current, Is.EqualTo(7)); // too early, but not what lies before them
                    Assert.That(each.MoveNext() && each.Current == 7 && each.MoveNext() && each.Current == 8);
                    Assert.That(each.MoveNext(), Is.False);
                    each.Dispose();
                    each.Dispose();
                    Assert.That(each.MoveNext(), Is.False);
                    Assert.Throws<ObjectDisposedException>(() => GC.KeepAlive(each.Current));
                }
                Assert.That(pair.Consumer.LeasesOut, Is.EqualTo(0));
            }
        }

        [Test]
        public void TheTimeOfRecordsIsThatOfAllOfThem()
        {
            using (var pair = new Pair(4096))
            using (var slow = new CancellationTokenSource())
            {
                Task receiving = Support.Start(() =>
                {
                    for (; ; )
                    {
                        pair.Consumer.Receive(null, slow.Token);
                        Thread.Sleep(20); // there is room again and again, which must not begin the time anew
                    }
                });
                Assert.Throws<TimeoutException>(() =>
                    pair.Producer.SendRecords<long>(new long[100000], 0, TimeSpan.FromMilliseconds(50)));
                slow.Cancel();
                Support.Failure(receiving);
            }
        }

        [Test]
        public void RecordsThatAreNotAllSentSayHowMany()
        {
            using (var pair = new Pair(4096))
            {
                var late = Assert.Throws<TimeoutException>(() => pair.Producer.SendRecords<long>(new long[1000], 0, Support.Moment));
                int sent = (int)late.Data["Sent"];
                Assert.That(sent, Is.InRange(1, 999));
                using (Records<long> run = pair.Consumer.ReceiveRecords<long>(1000))
                    Assert.That(run.Count, Is.EqualTo(sent));
            }
        }

        [Test]
        public void ArraysDescribeThemselves()
        {
            using (var pair = new Pair())
            {
                Bus bus = pair.Producer;
                bus.SendArray<float>(new float[] { 0, 1, 2, 3, 4, 5 }, new long[] { 2, 3 }, 4);
                bus.SendArray<short>(new short[0], new long[] { 0, 3 });
                bus.SendArrayInPlace<double>(new long[0], 0, elements => elements[0] = 2.5);
                Assert.Throws<ArgumentException>(() => bus.SendArray<byte>(new byte[1], new long[] { 2 }));
                Assert.Throws<MessageTooLargeException>(() => bus.SendArray<byte>(new byte[0], new long[65]));
                Assert.Throws<MessageTooLargeException>(() => bus.SendArray<byte>(new byte[0], new[] { 1L << 40, 1L << 40 }));
                Assert.Throws<ArgumentOutOfRangeException>(() => bus.SendArray<byte>(new byte[0], new[] { -1L }));
                Assert.Throws<NotSupportedException>(() => bus.SendArray<Tick>(new Tick[1], new[] { 1L }));

                using (Lease lease = pair.Consumer.ReceiveLease(Support.Patience))
                {
                    float last = 0;
                    lease.ViewArray<float>((elements, extents) =>
                    {
                        last = elements[5];
                        Assert.That(extents, Is.EqualTo(new long[] { 2, 3 }));
                    });
                    Assert.That(last, Is.EqualTo(5));
                    Assert.Throws<MessageFormatException>(() => lease.ViewArray<int>((elements, extents) => { }));
                }
                long[] shape;
                Message message = pair.Consumer.Receive(Support.Patience);
                Assert.That(message.ReadArray<short>(out shape), Is.Empty);
                Assert.That(shape, Is.EqualTo(new long[] { 0, 3 }));
                Assert.Throws<MessageFormatException>(() => message.ReadArray<ushort>(out shape));
                Assert.That(pair.Consumer.Receive(Support.Patience).ReadArray<double>(out shape), Is.EqualTo(new[] { 2.5 }));
                Assert.That(shape, Is.Empty);
                Assert.Throws<MessageFormatException>(() => new Message(new byte[9], 0).ReadArray<byte>(out shape));
            }
        }
    }
}
