// SPDX-License-Identifier: MIT
#if NET8_0_OR_GREATER
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Threading;
using System.Threading.Tasks;
using NUnit.Framework;

namespace Tachyon.Tests
{
    /// <summary>MessagesAsync() and await foreach, which .NET has.</summary>
    [TestFixture]
    public class AsyncStreamTests
    {
        static async Task<List<uint>> Tags(Bus bus, List<uint> tags, CancellationToken cancellation = default)
        {
            await foreach (Message message in bus.MessagesAsync().WithCancellation(cancellation))
            {
                Assert.That(message.Data, Is.EqualTo(BitConverter.GetBytes(message.TypeId)));
                lock (tags)
                    tags.Add(message.TypeId);
            }
            return tags;
        }

        static int Count(List<uint> tags)
        {
            lock (tags)
                return tags.Count;
        }

        static void Send(Bus bus, uint tag)
        {
            bus.Send(BitConverter.GetBytes(tag), tag);
        }

        [Test]
        public void EachMessageComesUntilThePeerCloses()
        {
            using (var pair = new Pair())
            {
                var tags = new List<uint>();
                Send(pair.Producer, 0); // at once
                Task<List<uint>> all = Tags(pair.Consumer, tags);
                for (uint i = 1; i < 5; i++)
                {
                    Send(pair.Producer, i); // to one who waits
                    Support.Until(() => Count(tags) > i);
                }
                pair.Producer.Dispose();
                Assert.That(all.Wait(Support.Patience));
                Assert.That(tags, Is.EqualTo(new uint[] { 0, 1, 2, 3, 4 }));
            }
        }

        [Test]
        public void WhoWaitsForTheNextKeepsNoThread()
        {
            using (var pair = new Pair())
            {
                IAsyncEnumerator<Message> messages = pair.Consumer.MessagesAsync().GetAsyncEnumerator();
                ValueTask<bool> next = messages.MoveNextAsync();
                Assert.That(next.IsCompleted, Is.False);
                Send(pair.Producer, 7);
                Assert.That(next.AsTask().Wait(Support.Patience));
                Assert.That(messages.Current.TypeId, Is.EqualTo(7));
            }
        }

        [Test]
        public void DisposeEndsTheLoop()
        {
            using (var pair = new Pair())
            {
                Task<List<uint>> all = Tags(pair.Consumer, new List<uint>());
                Assert.That(all.IsCompleted, Is.False);
                pair.Consumer.Dispose();
                Assert.That(Support.Failure(all), Is.Null);
            }
        }

        [Test]
        public void ATokenEndsTheLoopAndLosesNothing()
        {
            using (var pair = new Pair())
            using (var source = new CancellationTokenSource())
            {
                Task<List<uint>> all = Tags(pair.Consumer, new List<uint>(), source.Token);
                Assert.That(all.IsCompleted, Is.False);
                source.Cancel();
                Assert.That(Support.Failure(all), Is.InstanceOf<OperationCanceledException>());
                Send(pair.Producer, 8);
                Assert.That(pair.Consumer.Receive(Support.Patience).TypeId, Is.EqualTo(8));
            }
        }

        [Test]
        public void AKilledPeerIsAnErrorAfterItsLastMessage()
        {
            using (var folder = new Folder())
            {
                Task<Bus> listening = Bus.ListenAsync(folder.Bus, null, Support.Patience);
                using (Process child = Support.Child("words", folder.Bus))
                using (Bus bus = listening.Result)
                {
                    IAsyncEnumerator<Message> messages = bus.MessagesAsync().GetAsyncEnumerator();
                    Assert.That(messages.MoveNextAsync().AsTask().Wait(Support.Patience));
                    Assert.That(messages.Current.Data, Is.EqualTo(new byte[] { 1, 2, 3 }));
                    child.Kill();
                    Assert.That(Support.Failure(messages.MoveNextAsync().AsTask()), Is.InstanceOf<PeerDeadException>());
                    child.WaitForExit();
                }
            }
        }
    }
}
#endif
