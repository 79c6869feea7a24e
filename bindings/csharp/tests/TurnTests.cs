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
    /// <summary>One thread at a time is in each direction of a bus.</summary>
    [TestFixture]
    public class TurnTests
    {
        /// <summary>Writes in place until it is told to end: it has the sender's turn.</summary>
        sealed class Writer : IDisposable
        {
            readonly ManualResetEventSlim writing = new ManualResetEventSlim(), enough = new ManualResetEventSlim();

            public Task Task { get; }

            public Writer(Bus bus)
            {
                Task = Support.Start(() => bus.SendInPlace(8, 0, room =>
                {
                    writing.Set();
                    enough.Wait();
                    room.Fill(9); // whoever disposed the bus
                    return room.Length;
                }));
                Assert.That(writing.Wait(Support.Patience));
            }

            public void Dispose()
            {
                enough.Set();
                Support.Failure(Task);
            }
        }

        [Test]
        public void TimeAndTokensEndTheWaitForATurn()
        {
            using (var pair = new Pair())
            using (var source = new CancellationTokenSource())
            using (var writer = new Writer(pair.Producer))
            {
                Bus bus = pair.Producer;
                Assert.Throws<TimeoutException>(() => bus.Send(new byte[1], 0, TimeSpan.Zero));
                Assert.Throws<TimeoutException>(() => bus.Send(new byte[1], 0, Support.Moment));
                Assert.Throws<TimeoutException>(() => bus.SendInPlace(1, 0, room => 1, Support.Moment));
                var late = Assert.Throws<TimeoutException>(() => bus.SendRecords<int>(new int[1], 0, Support.Moment));
                Assert.That(late.Data["Sent"], Is.EqualTo(0));
                Task waiting = Support.Start(() => bus.Send(new byte[1], 0, null, source.Token)), patient = bus.SendAsync(new byte[1]);
                source.Cancel();
                Assert.That(Support.Failure(waiting), Is.InstanceOf<OperationCanceledException>());
                Assert.That(patient.IsCompleted, Is.False);
                writer.Dispose();
                Assert.That(Support.Failure(patient), Is.Null); // the others' giving up took no wake-up with it
                Assert.That(pair.Consumer.Receive(Support.Patience).Data.Length, Is.EqualTo(8));
                Assert.That(pair.Consumer.Receive(Support.Patience).Data.Length, Is.EqualTo(1));
            }
        }

        [Test]
        public void AReceiverThatWaitsKeepsOthersWaiting()
        {
            using (var pair = new Pair())
            using (var source = new CancellationTokenSource())
            {
                Bus bus = pair.Consumer;
                Task waiting = Support.Start(() => bus.Receive(null, source.Token));
                Support.Until(() => Assert.Throws<TimeoutException>(() => bus.Receive(TimeSpan.Zero)).Message.Contains("another thread"));
                uint typeId;
                int size;
                Message message;
                Assert.That(bus.TryReceive(out message), Is.False);
                Assert.That(bus.TryReceive(new byte[1], out size, out typeId), Is.False);
                Assert.Throws<TimeoutException>(() => bus.Receive(Support.Moment));
                Assert.Throws<TimeoutException>(() => bus.Receive(new byte[1], out typeId, Support.Moment));
                Assert.Throws<TimeoutException>(() => bus.ReceiveLease(Support.Moment));
                Assert.Throws<TimeoutException>(() => bus.ReceiveBatch(1, Support.Moment));
                Assert.Throws<TimeoutException>(() => bus.ReceiveRecords<int>(1, null, Support.Moment));
                Assert.That(waiting.IsCompleted, Is.False);
                source.Cancel();
                Assert.That(Support.Failure(waiting), Is.InstanceOf<OperationCanceledException>());
                pair.Producer.Send(new byte[] { 1 }, 2);
                Assert.That(bus.TryReceive(new byte[1], out size, out typeId));
                Assert.That(size, Is.EqualTo(1));
                Assert.That(typeId, Is.EqualTo(2));
            }
        }

        [Test]
        public void WhoWritesInPlaceMayNotSend()
        {
            using (var pair = new Pair(4096))
            {
                Bus bus = pair.Producer;
                var refused = new List<Exception>();
                bus.SendInPlace(4, 0, room =>
                {
                    var attempts = new Action[]
                    {
                        () => bus.Send(new byte[1]),
                        () => bus.Send(new byte[1], 0, Support.Moment),
                        () => bus.SendAsync(new byte[1]).GetAwaiter().GetResult(),
                        () => bus.SendInPlace(4, 0, inner => 4),
                        () => bus.SendRecords<int>(new int[1]),
                        () => bus.SendArray<int>(new int[1], new[] { 1L }),
                    };
                    foreach (Action attempt in attempts)
                        refused.Add(Assert.Throws<BusyException>(() => attempt()));
                    pair.Consumer.Send(new byte[2]); // the other direction is free
                    Assert.That(bus.Receive(Support.Patience).Data.Length, Is.EqualTo(2));
                    return 4;
                });
                Assert.That(refused.Count, Is.EqualTo(6));
                Assert.That(pair.Consumer.Receive(Support.Patience).Data.Length, Is.EqualTo(4));
                bus.Send(new byte[3]); // and now it may
                Assert.That(pair.Consumer.Receive(Support.Patience).Data.Length, Is.EqualTo(3));
                Task sending = Support.Start(() => // and wait, while another one does
                {
                    for (; ; )
                        bus.Send(new byte[1000]);
                });
                Support.Until(() => Assert.Throws<TimeoutException>(() =>
                {
                    for (; ; )
                        bus.Send(new byte[1000], 0, Support.Moment);
                }).Message.Contains("another thread"));
                bus.Dispose();
                Support.Failure(sending);
            }
        }

        [Test]
        public void ExceptionsGiveTheTurnBack()
        {
            using (var pair = new Pair(4096))
            using (var source = new CancellationTokenSource())
            {
                source.Cancel();
                Bus bus = pair.Producer;
                Assert.Throws<InvalidOperationException>(() => bus.SendInPlace(8, 0, room => { throw new InvalidOperationException(); }));
                Assert.Throws<ArgumentOutOfRangeException>(() => bus.SendInPlace(8, 0, room => 9));
                Assert.Throws<InvalidOperationException>(() =>
                    bus.SendArrayInPlace<int>(new[] { 1L }, 0, room => { throw new InvalidOperationException(); }));
                Assert.Throws<MessageTooLargeException>(() => bus.Send(new byte[8192]));
                Assert.Throws<TimeoutException>(() => bus.SendRecords<long>(new long[1000], 0, Support.Moment));
                Assert.Throws<OperationCanceledException>(() => bus.Send(new byte[8], 0, null, source.Token));
                int records;
                uint typeId;
                using (Records<long> run = pair.Consumer.ReceiveRecords<long>(1000))
                    records = run.Count;
                Assert.That(records, Is.GreaterThan(0));
                Assert.Throws<TimeoutException>(() => pair.Consumer.Receive(TimeSpan.Zero));
                Assert.That(Task.Run(() => bus.Send(new byte[3], 4, TimeSpan.Zero)).Wait(Support.Patience)); // another thread gets it
                Assert.Throws<MessageTooLargeException>(() => pair.Consumer.Receive(new byte[2], out typeId));
                Assert.Throws<MessageFormatException>(() => pair.Consumer.ReceiveRecords<long>(1));
                Assert.That(Task.Run(() => pair.Consumer.Receive(TimeSpan.Zero).TypeId).Result, Is.EqualTo(4));
            }
        }

        [Test]
        public void DisposeDoesNotWaitForWhoWritesInPlace()
        {
            using (var pair = new Pair())
            using (var writer = new Writer(pair.Producer))
            {
                Exception end = null;
                var second = new Thread(() => end = Assert.Throws<ObjectDisposedException>(() => pair.Producer.Send(new byte[1])));
                second.Start();
                Support.Until(() => second.ThreadState == ThreadState.WaitSleepJoin);
                pair.Producer.Dispose();
                Assert.That(second.Join(Support.Patience));
                Assert.That(end, Is.Not.Null);
                Assert.That(writer.Task.IsCompleted, Is.False); // it is still at it
                Assert.Throws<ObjectDisposedException>(() => pair.Producer.Send(new byte[1]));
                Assert.Throws<ClosedException>(() => pair.Consumer.Receive(Support.Patience));
                writer.Dispose();
                Assert.That(Support.Failure(writer.Task), Is.InstanceOf<ObjectDisposedException>());
            }
        }

        [Test]
        public void DisposeFreesTheMemory()
        {
            int before = Support.Mappings();
            using (var pair = new Pair())
            {
                int both = Support.Mappings();
                Assert.That(both, Is.GreaterThan(before));
                pair.Consumer.Dispose();
                Assert.That(Support.Mappings(), Is.LessThan(both));
                using (var writer = new Writer(pair.Producer))
                {
                    pair.Producer.Dispose();
                    Assert.That(Support.Mappings(), Is.GreaterThan(before)); // it writes there
                }
                Assert.That(Support.Mappings(), Is.EqualTo(before));
            }
        }

        static int Next(ref uint random, int most)
        {
            random = random * 1664525 + 1013904223;
            return (int)(random >> 16) % most;
        }

        /// <summary>How often two were inside together: one that had the way to itself, and one that comes at any moment.</summary>
        static int Meet(Bus bus, Bus peer, ref uint random)
        {
            int inside = 0, met = 0, sent = 0;
            bool enough = false;
            MessageWriter write = room =>
            {
                if (Interlocked.Increment(ref inside) != 1)
                    Interlocked.Increment(ref met);
                Thread.SpinWait(100);
                Interlocked.Decrement(ref inside);
                return 0;
            };
            Task first = Support.Start(() =>
            {
                for (; !Volatile.Read(ref enough); Volatile.Write(ref sent, sent + 1))
                {
                    bus.SendInPlace(8, 0, write);
                    peer.Receive(Support.Patience);
                }
            });
            Support.Until(() => Volatile.Read(ref sent) > 0);
            Thread.SpinWait(Next(ref random, 1000));
            for (int i = 0; i < 3; i++)
                bus.SendInPlace(8, 0, write, Support.Patience);
            Volatile.Write(ref enough, true);
            Assert.That(Support.Failure(first), Is.Null);
            return met;
        }

        [Test]
        public void TheSecondThreadThatComesFindsTheFirstInItsTurn()
        {
            uint random = 1;
            for (int round = 0; round < 500; round++)
            {
                using (var pair = new Pair())
                {
                    Assert.That(Meet(pair.Producer, pair.Consumer, ref random), Is.EqualTo(0));
                    Assert.That(Meet(pair.Consumer, pair.Producer, ref random), Is.EqualTo(0));
                }
            }
        }

        static void Send(Bus bus, uint sender, int count)
        {
            for (int i = 0; i < count; i++)
                bus.Send(BitConverter.GetBytes(i), sender);
        }

        [Test]
        public void ThreadsThatComeOneByOneMixNothingUp()
        {
            const int Count = 300, Threads = 3;
            uint random = 2;
            for (int round = 0; round < 100; round++)
            {
                using (var pair = new Pair(4096))
                {
                    var senders = new List<Task>();
                    var received = new int[Threads];
                    int next = 0;
                    Action receive = () =>
                    {
                        var buffer = new byte[4];
                        while (Interlocked.Increment(ref next) <= Count * Threads)
                        {
                            uint sender;
                            Assert.That(pair.Consumer.Receive(buffer, out sender, Support.Patience), Is.EqualTo(4));
                            Interlocked.Increment(ref received[sender]);
                        }
                    };
                    Task first = Support.Start(receive), second = null;
                    for (uint i = 0; i < Threads; i++)
                    {
                        uint sender = i;
                        senders.Add(Support.Start(() => Send(pair.Producer, sender, Count)));
                        Thread.SpinWait(Next(ref random, 3000));
                        second = second ?? Support.Start(receive);
                    }
                    foreach (Task task in senders.Concat(new[] { first, second }))
                        Assert.That(Support.Failure(task), Is.Null);
                    Assert.That(received, Is.EqualTo(new[] { Count, Count, Count }));
                }
            }
        }

        [Test]
        public void WhoeverLeavesLastFreesTheMemory()
        {
            int before = Support.Mappings();
            uint random = 3;
            for (int round = 0; round < 200; round++)
            {
                var pair = new Pair(4096);
                int came = 0;
                Task[] calling = { Support.Start(() => // on its own, in both directions of an end
                {
                    uint typeId;
                    int size;
                    for (; ; came = 1)
                    {
                        pair.Producer.TryReceive(new byte[1], out size, out typeId);
                        pair.Producer.Send(new byte[1]);
                    }
                }), Support.Start(() => // and one that is gone, or sleeps there
                {
                    for (; ; )
                        pair.Consumer.Receive();
                }) };
                Support.Until(() => Volatile.Read(ref came) > 0);
                Thread.SpinWait(Next(ref random, 3000));
                pair.Producer.Dispose();
                Assert.That(Support.Failure(calling[0]), Is.InstanceOf<ObjectDisposedException>());
                Assert.That(Support.Failure(calling[1]), Is.InstanceOf<ClosedException>());
                pair.Consumer.Dispose();
                Assert.That(Support.Mappings(), Is.EqualTo(before));
            }
        }

        static IEnumerable<Action<Bus>> Calls()
        {
            uint typeId;
            int size;
            Message message;
            yield return bus => bus.Send(new byte[100]);
            yield return bus => bus.Send(new byte[100], 0, Support.Patience);
            yield return bus => bus.SendAsync(new byte[100]).GetAwaiter().GetResult();
            yield return bus => bus.SendInPlace(100, 0, room => room.Length);
            yield return bus => bus.SendRecords<long>(new long[10]);
            yield return bus => bus.SendArray<long>(new long[10], new[] { 10L });
            yield return bus => bus.Receive();
            yield return bus => bus.Receive(Support.Patience);
            yield return bus => bus.ReceiveAsync().GetAwaiter().GetResult();
            yield return bus => bus.Receive(new byte[100], out typeId);
            yield return bus => bus.TryReceive(out message);
            yield return bus => bus.TryReceive(new byte[100], out size, out typeId);
            yield return bus => bus.ReceiveLease().Dispose();
            yield return bus => bus.ReceiveBatch(3).Dispose();
            yield return bus => bus.ReceiveRecords<long>(3).Dispose();
            yield return bus => GC.KeepAlive(bus.Properties);
            yield return bus => GC.KeepAlive(bus.LeasesOut);
        }

        [Test]
        public void DisposeEndsEachKindOfCall()
        {
            foreach (Action<Bus> call in Calls())
            {
                for (int threads = 1; threads <= 2; threads++)
                {
                    using (var pair = new Pair(4096))
                    {
                        Task[] calling = Enumerable.Range(0, threads).Select(i => Support.Start(() =>
                        {
                            for (; ; )
                                call(pair.Consumer);
                        })).ToArray();
                        Thread.Yield();
                        pair.Consumer.Dispose();
                        foreach (Task task in calling)
                            Assert.That(Support.Failure(task), Is.InstanceOf<ObjectDisposedException>());
                    }
                }
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        static Bus PeerOfAForgotten(Action<Bus> use)
        {
            var pair = new Pair();
            pair.Producer.Send(new byte[] { 1 });
            pair.Consumer.Receive(Support.Patience);
            use(pair.Producer);
            return pair.Consumer;
        }

        static void AssertItsEndIsSeen(Action<Bus> use)
        {
            Bus peer = null;
            Task.Factory.StartNew(() => peer = PeerOfAForgotten(use), TaskCreationOptions.LongRunning).Wait(); // no stack keeps it
            Support.Until(() =>
            {
                GC.Collect();
                GC.WaitForPendingFinalizers();
                try
                {
                    Message none;
                    return peer.TryReceive(out none);
                }
                catch (ClosedException)
                {
                    return true;
                }
            });
            peer.Dispose();
        }

        [Test]
        public void AForgottenBusIsClosed()
        {
            AssertItsEndIsSeen(bus => { });
            AssertItsEndIsSeen(bus => Assert.Throws<TimeoutException>(() => bus.Receive(Support.Moment)));
        }
    }
}
