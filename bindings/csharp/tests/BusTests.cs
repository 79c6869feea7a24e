// SPDX-License-Identifier: MIT
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using NUnit.Framework;

namespace Tachyon.Tests
{
    [TestFixture]
    public class BusTests
    {
        [Test]
        public void WhatIsSentIsReceived()
        {
            using (var pair = new Pair())
            {
                int[] sizes = { 0, 1, 48, 49, 255, 256, 257, 100000 };
                for (int i = 0; i < sizes.Length; i++)
                    pair.Producer.Send(Enumerable.Range(i, sizes[i]).Select(b => (byte)b).ToArray(), (uint)i);
                for (int i = 0; i < sizes.Length; i++)
                {
                    Message message = pair.Consumer.Receive(Support.Patience);
                    Assert.That(message.TypeId, Is.EqualTo(i));
                    Assert.That(message.Data.SequenceEqual(Enumerable.Range(i, sizes[i]).Select(b => (byte)b)));
                }
                Message none;
                Assert.That(pair.Consumer.TryReceive(out none), Is.False);
                Assert.That(pair.Producer.Properties.PeerPid, Is.EqualTo(Process.GetCurrentProcess().Id));
            }
        }

        [Test]
        public void ReceiveIntoMemoryOfTheCallers()
        {
            using (var pair = new Pair())
            {
                pair.Producer.Send(new byte[] { 1, 2, 3 }, 9);
                uint typeId;
                Assert.Throws<MessageTooLargeException>(() => pair.Consumer.Receive(new byte[2], out typeId));
                var buffer = new byte[4];
                Assert.That(pair.Consumer.Receive(buffer, out typeId), Is.EqualTo(3)); // it was still there
                Assert.That(typeId, Is.EqualTo(9));
                Assert.That(buffer, Is.EqualTo(new byte[] { 1, 2, 3, 0 }));
                Assert.Throws<TimeoutException>(() => pair.Consumer.Receive(buffer, out typeId, Support.Moment));
            }
        }

        [Test]
        public void TimeEndsWaits()
        {
            using (var pair = new Pair(4096))
            {
                Assert.Throws<TimeoutException>(() => pair.Consumer.Receive(Support.Moment));
                Assert.Throws<TimeoutException>(() => pair.Consumer.Receive(TimeSpan.Zero));
                Assert.Throws<TimeoutException>(() =>
                {
                    for (; ; )
                        pair.Producer.Send(new byte[1000], 0, Support.Moment);
                });
                Assert.Throws<MessageTooLargeException>(() => pair.Producer.Send(new byte[5000]));
                Assert.Throws<ArgumentOutOfRangeException>(() => pair.Producer.Send(new byte[1000], 0, TimeSpan.FromSeconds(-5)));
                Assert.That(pair.Consumer.Receive(TimeSpan.MaxValue).Data.Length, Is.EqualTo(1000)); // nothing was lost
            }
        }

        [Test]
        public void TokensEndWaits()
        {
            using (var pair = new Pair(4096))
            using (var source = new CancellationTokenSource())
            {
                Task waiting = Support.Start(() => pair.Consumer.Receive(null, source.Token));
                Task sending = Support.Start(() =>
                {
                    for (; ; )
                        pair.Consumer.Send(new byte[1000], 0, null, source.Token);
                });
                source.Cancel();
                Assert.That(Support.Failure(waiting), Is.InstanceOf<OperationCanceledException>());
                Assert.That(Support.Failure(sending), Is.InstanceOf<OperationCanceledException>());
                Assert.Throws<OperationCanceledException>(() => pair.Consumer.Receive(null, source.Token)); // over already
                pair.Producer.Send(new byte[7]);
                Assert.That(pair.Consumer.Receive(null, source.Token).Data.Length, Is.EqualTo(7)); // what is there comes first
            }
        }

        [Test]
        public void ACancelledListenLeavesNothingBehind()
        {
            using (var folder = new Folder())
            using (var source = new CancellationTokenSource())
            {
                Task<Bus> listening = Bus.ListenAsync(folder.Bus, null, null, source.Token);
                Support.Until(() => File.Exists(folder.Bus));
                source.Cancel();
                Assert.That(Support.Failure(listening), Is.InstanceOf<OperationCanceledException>());
                Assert.That(listening.IsCanceled);
                Assert.That(File.Exists(folder.Bus), Is.False);
                Assert.Throws<OperationCanceledException>(() => Bus.Connect(folder.Bus, null, null, source.Token));
                Assert.Throws<TimeoutException>(() => Bus.Connect(folder.Bus, null, Support.Moment));
            }
        }

        [Test]
        public void CancellationsKeepNoDescriptors()
        {
            using (var pair = new Pair())
            {
                int before = Directory.GetFiles("/proc/self/fd").Length;
                for (int i = 0; i < 100; i++)
                {
                    using (var source = new CancellationTokenSource())
                    {
                        source.CancelAfter(1);
                        Assert.Throws<OperationCanceledException>(() => pair.Consumer.Receive(null, source.Token));
                    }
                }
                Assert.That(Directory.GetFiles("/proc/self/fd").Length, Is.LessThan(before + 20));
            }
        }

        [Test]
        public void DisposeEndsWaitsOfOtherThreads()
        {
            for (int i = 0; i < 50; i++)
            {
                using (var pair = new Pair(4096))
                {
                    Task waiting = Support.Start(() => pair.Consumer.Receive());
                    Task sending = Support.Start(() =>
                    {
                        for (; ; )
                            pair.Consumer.Send(new byte[1000]);
                    });
                    pair.Consumer.Dispose();
                    Assert.That(Support.Failure(waiting), Is.InstanceOf<ObjectDisposedException>());
                    Assert.That(Support.Failure(sending), Is.InstanceOf<ObjectDisposedException>());
                }
            }
        }

        [Test]
        public void IterationEndsWhereThePeerClosed()
        {
            using (var pair = new Pair())
            {
                for (byte i = 0; i < 5; i++)
                    pair.Producer.Send(new[] { i });
                pair.Producer.Close();
                Assert.That(pair.Consumer.Messages().Select(message => (int)message.Data[0]).Sum(), Is.EqualTo(10));
                Assert.Throws<ClosedException>(() => pair.Consumer.Receive());
                Assert.Throws<ObjectDisposedException>(() => pair.Producer.Send(new byte[0]));
                pair.Consumer.Dispose();
                Assert.That(pair.Consumer.Messages(), Is.Empty);
                Assert.Throws<ObjectDisposedException>(() => pair.Consumer.Receive());
            }
        }

        [Test]
        public void AKilledPeerIsAnErrorOfItsOwn()
        {
            using (var folder = new Folder())
            using (Task<Bus> listening = Bus.ListenAsync(folder.Bus, null, Support.Patience))
            using (Process child = Support.Child("words", folder.Bus))
            using (Bus bus = listening.Result)
            {
                Assert.That(bus.Receive(Support.Patience).Data, Is.EqualTo(new byte[] { 1, 2, 3 }));
                child.Kill();
                Assert.Throws<PeerDeadException>(() => bus.Messages().Count());
                child.WaitForExit();
            }
        }

        [Test]
        public void WritingInPlace()
        {
            using (var pair = new Pair())
            {
                Bus bus = pair.Producer;
                Assert.Throws<InvalidOperationException>(() => bus.SendInPlace(100, 0, room => { throw new InvalidOperationException(); }));
                Assert.Throws<ArgumentOutOfRangeException>(() => bus.SendInPlace(100, 0, room => 101));
                Assert.Throws<ArgumentOutOfRangeException>(() => bus.SendInPlace(-1, 0, room => 0));
                Assert.Throws<BusyException>(() => bus.SendInPlace(100, 0, room =>
                {
                    bus.Send(new byte[1]);
                    return 0;
                }));
                Assert.Throws<ObjectDisposedException>(() => pair.Consumer.SendInPlace(100, 0, room =>
                {
                    pair.Consumer.Dispose();
                    room.Fill(1); // its memory is still there
                    return 100;
                }));
            }
            using (var pair = new Pair())
            {
                pair.Producer.SendInPlace(100, 5, room =>
                {
                    room.Slice(0, 3).Fill(7);
                    return 3;
                });
                Message message = pair.Consumer.Receive(Support.Patience);
                Assert.That(message.Data, Is.EqualTo(new byte[] { 7, 7, 7 }));
                Assert.That(message.TypeId, Is.EqualTo(5));
            }
        }

        [Test]
        public void ManyThreads()
        {
            const int Each = 2000, Threads = 4;
            using (var pair = new Pair(4096))
            {
                var seen = new HashSet<int>();
                var tasks = new List<Task>();
                for (int t = 0; t < Threads; t++)
                {
                    int first = t * Each;
                    tasks.Add(Support.Start(() =>
                    {
                        for (int i = first; i < first + Each; i++)
                            pair.Producer.Send(BitConverter.GetBytes(i));
                    }));
                    tasks.Add(Support.Start(() =>
                    {
                        for (int i = 0; i < Each; i++)
                        {
                            int number = BitConverter.ToInt32(pair.Consumer.Receive().Data, 0);
                            lock (seen)
                                seen.Add(number);
                        }
                    }));
                }
                Assert.That(Task.WaitAll(tasks.ToArray(), Support.Patience));
                Assert.That(seen.Count, Is.EqualTo(Each * Threads));
            }
        }

        [Test]
        public void CollectionsDoNotEndWaits()
        {
            using (var pair = new Pair())
            {
                Task<Message> waiting = pair.Consumer.ReceiveAsync();
                for (int i = 0; i < 200; i++)
                {
                    GC.Collect();
                    Thread.Yield();
                }
                Assert.That(waiting.IsCompleted, Is.False);
                pair.Producer.Send(new byte[] { 1 });
                Assert.That(waiting.Wait(Support.Patience));
                Assert.That(waiting.Result.Data, Is.EqualTo(new byte[] { 1 }));
            }
        }

        [Test]
        public void AsyncKeepsNoThreadOfTheCallers()
        {
            using (var pair = new Pair(4096))
            using (var source = new CancellationTokenSource())
            {
                var waiting = new Task<Message>[2];
                for (int i = 0; i < waiting.Length; i++)
                    waiting[i] = pair.Consumer.ReceiveAsync(null, source.Token); // returns, or this test never ends
                pair.Producer.SendAsync(new byte[] { 1 }).Wait();
                int first = Task.WaitAny(waiting, Support.Patience);
                Assert.That(waiting[first].Result.Data, Is.EqualTo(new byte[] { 1 }));
                source.Cancel();
                Support.Failure(waiting[1 - first]);
                Assert.That(waiting[1 - first].IsCanceled);
                Task full;
                do
                    full = pair.Producer.SendAsync(new byte[1000]);
                while (full.IsCompleted);
                Assert.That(pair.Consumer.ReceiveAsync().IsCompleted); // what is there needs no thread
                Assert.That(full.Wait(Support.Patience));
                pair.Producer.Dispose();
                Assert.Throws<ClosedException>(() =>
                {
                    for (; ; )
                        pair.Consumer.ReceiveAsync().GetAwaiter().GetResult();
                });
            }
        }

        [Test]
        public void AListenerAcceptsMany()
        {
            using (var folder = new Folder())
            using (var listener = new Listener(folder.Bus))
            {
                Task connecting = Support.Start(() =>
                {
                    for (int i = 0; i < 3; i++)
                        using (Bus bus = Bus.Connect(folder.Bus, null, Support.Patience))
                            bus.Send(new byte[] { 5 });
                });
                for (int i = 0; i < 3; i++)
                    using (Bus bus = listener.Accept(Support.Patience))
                        Assert.That(bus.Receive(Support.Patience).Data, Is.EqualTo(new byte[] { 5 }));
                Assert.That(Support.Failure(connecting), Is.Null);
                const int AddressInUse = 98;
                Assert.That(Assert.Throws<TachyonException>(() => new Listener(folder.Bus)).Errno, Is.EqualTo(AddressInUse));
                Assert.Throws<TachyonException>(() => new Listener(folder.Bus + "2", new BusOptions { SocketMode = 1 << 20 }));
                Task accepting = listener.AcceptAsync();
                listener.Dispose();
                Assert.That(Support.Failure(accepting), Is.InstanceOf<ObjectDisposedException>());
            }
        }

        [Test]
        public void OptionsReachTheLibrary()
        {
            using (var folder = new Folder())
            using (var source = new CancellationTokenSource())
            {
                var strict = new BusOptions { AllowedUids = new uint[] { 12345 } };
                Task<Bus> listening = Bus.ListenAsync(folder.Bus, strict, null, source.Token);
                var refused = Assert.Throws<RefusedException>(() => Bus.Connect(folder.Bus, null, Support.Patience));
                Assert.That(refused.Message.Contains(folder.Bus), refused.Message);
                source.Cancel();
                Support.Failure(listening);
                listening = Bus.ListenAsync(folder.Bus, new BusOptions { Capacity = 8192, ReplyCapacity = 16384 });
                using (Bus near = Bus.Connect(folder.Bus, null, Support.Patience))
                using (Bus far = listening.Result)
                {
                    Assert.That(near.Properties.SendCapacity, Is.EqualTo(8192));
                    Assert.That(far.Properties.SendCapacity, Is.EqualTo(16384));
                }
            }
        }
    }
}
