// SPDX-License-Identifier: MIT
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;
using System.Threading.Tasks;
using NUnit.Framework;

namespace Tachyon.Tests
{
    [TestFixture]
    public class RpcTests
    {
        [Test]
        public void CallsAreAnswered()
        {
            using (var pair = new RpcPair())
            {
                var procedures = new Dictionary<uint, Procedure>
                {
                    { 1, request => request.Reverse().ToArray() },
                    { 2, request => { throw new InvalidOperationException("no way"); } },
                    { 3, request => new byte[2 << 20] },
                };
                Task serving = Support.Start(() => pair.Server.ServeAll(procedures));
                Caller caller = pair.Caller;
                Assert.That(caller.Call(new byte[] { 1, 2 }, 1, Support.Patience).Data, Is.EqualTo(new byte[] { 2, 1 }));
                Assert.That(caller.CallAsync(new byte[] { 3, 4 }, 1).Result.Data, Is.EqualTo(new byte[] { 4, 3 }));
                var codes = new Dictionary<uint, uint>
                {
                    { 2, RpcException.ProcedureFailed }, { 3, RpcException.TooLarge }, { 4, RpcException.UnknownType },
                };
                foreach (KeyValuePair<uint, uint> pairOf in codes)
                {
                    var failed = Assert.Throws<RpcException>(() => caller.Call(new byte[0], pairOf.Key, Support.Patience));
                    Assert.That(failed.Code, Is.EqualTo(pairOf.Value));
                    if (pairOf.Key == 2)
                        Assert.That(failed.Text, Is.EqualTo("InvalidOperationException: no way"));
                }
                caller.Dispose();
                Assert.That(Support.Failure(serving), Is.Null);
            }
        }

        [Test]
        public void RequestsAreAnsweredInAnyOrder()
        {
            using (var pair = new RpcPair())
            {
                PendingCall first = pair.Caller.Submit(new byte[] { 1 }, 7), second = pair.Caller.Submit(new byte[] { 2 }, 7);
                Request one = pair.Server.Serve(Support.Patience), two = pair.Server.ServeAsync(Support.Patience).Result;
                two.Fail(42, "not today");
                one.Reply(new byte[] { 11 }, 5);
                var failed = Assert.Throws<RpcException>(() => second.Wait(Support.Patience));
                Assert.That(failed.Code, Is.EqualTo(42));
                Assert.That(failed.Text, Is.EqualTo("not today"));
                Message reply = first.WaitAsync(Support.Patience).Result;
                Assert.That(reply.Data, Is.EqualTo(new byte[] { 11 }));
                Assert.That(reply.TypeId, Is.EqualTo(5));
                Assert.Throws<TachyonException>(() => first.Wait(Support.Patience)); // it is over
            }
        }

        [Test]
        public void TimeAndTokensEndCalls()
        {
            using (var pair = new RpcPair())
            using (var source = new CancellationTokenSource())
            {
                Assert.Throws<TimeoutException>(() => pair.Caller.Call(new byte[0], 7, Support.Moment));
                Task calling = pair.Caller.CallAsync(new byte[0], 7, null, source.Token);
                pair.Server.Serve(Support.Patience);
                pair.Server.Serve(Support.Patience);
                Task serving = pair.Server.ServeAsync(null, source.Token);
                source.Cancel();
                Assert.That(Support.Failure(calling), Is.InstanceOf<OperationCanceledException>());
                Assert.That(Support.Failure(serving), Is.InstanceOf<OperationCanceledException>());
                Assert.Throws<TimeoutException>(() => pair.Server.Serve(TimeSpan.Zero));
            }
        }

        /// <summary>Takes so many requests, and answers only then, the last one first.</summary>
        static Task AnswerBackwards(Server server, int count)
        {
            return Support.Start(() =>
            {
                List<Request> requests = Enumerable.Range(0, count).Select(i => server.Serve(Support.Patience)).ToList();
                requests.Reverse();
                requests.ForEach(request => request.Reply(request.Data, request.TypeId));
            });
        }

        [Test]
        public void ManyTasksCallAtATime()
        {
            const int Count = 300;
            using (var pair = new RpcPair())
            {
                Task answering = AnswerBackwards(pair.Server, Count);
                int threads = Process.GetCurrentProcess().Threads.Count;
                Task<Message>[] calling = Enumerable.Range(0, Count).Select(i =>
                    pair.Caller.CallAsync(BitConverter.GetBytes(i), (uint)i)).ToArray();
                Assert.That(Process.GetCurrentProcess().Threads.Count, Is.LessThan(threads + Count / 3));
                Assert.That(Task.WaitAll(calling, Support.Patience));
                for (int i = 0; i < Count; i++)
                    Assert.That(BitConverter.ToInt32(calling[i].Result.Data, 0) == i && calling[i].Result.TypeId == i);
                Assert.That(Support.Failure(answering), Is.Null);
            }
        }

        [Test]
        public void ManyThreadsCallAtATime()
        {
            const int Count = 20, Rounds = 20;
            using (var pair = new RpcPair())
            {
                for (int round = 0; round < Rounds; round++)
                {
                    Task answering = AnswerBackwards(pair.Server, 2 * Count);
                    Task[] calling = Enumerable.Range(0, Count).Select(i => Support.Start(() =>
                    {
                        Task<Message> second = pair.Caller.CallAsync(new[] { (byte)(100 + i) }, 1);
                        Assert.That(pair.Caller.Call(new[] { (byte)i }, 1).Data, Is.EqualTo(new[] { (byte)i }));
                        Assert.That(second.Result.Data, Is.EqualTo(new[] { (byte)(100 + i) }));
                    })).ToArray();
                    foreach (Task task in calling)
                        Assert.That(Support.Failure(task), Is.Null);
                    Assert.That(Support.Failure(answering), Is.Null);
                }
            }
        }

        [Test]
        public void CallsThatEndEarlyDisturbNoOthers()
        {
            using (var pair = new RpcPair())
            using (var source = new CancellationTokenSource())
            {
                Task<Message> patient = pair.Caller.CallAsync(new byte[] { 1 }, 1);
                Task cancelled = pair.Caller.CallAsync(new byte[] { 2 }, 2, null, source.Token);
                Task blocked = Support.Start(() => pair.Caller.Call(new byte[] { 3 }, 3, null, source.Token));
                PendingCall givenUp = pair.Caller.Submit(new byte[] { 4 }, 4);
                Task waiting = givenUp.WaitAsync();
                Task leader = Support.Start(() => pair.Caller.Submit(new byte[] { 5 }, 5).Wait(Support.Patience));
                var requests = new Dictionary<uint, Request>();
                while (requests.Count < 5)
                {
                    Request request = pair.Server.Serve(Support.Patience);
                    requests.Add(request.TypeId, request);
                }
                Assert.Throws<TimeoutException>(() => pair.Caller.Call(new byte[0], 6, Support.Moment));
                Assert.That(Support.Failure(pair.Caller.CallAsync(new byte[0], 7, Support.Moment)), Is.InstanceOf<TimeoutException>());
                Assert.That(Support.Failure(givenUp.WaitAsync()), Is.InstanceOf<BusyException>());
                source.Cancel();
                givenUp.Dispose();
                Assert.That(Support.Failure(cancelled), Is.InstanceOf<OperationCanceledException>());
                Assert.That(cancelled.IsCanceled);
                Assert.That(Support.Failure(blocked), Is.InstanceOf<OperationCanceledException>());
                Assert.That(Support.Failure(waiting), Is.InstanceOf<ObjectDisposedException>());
                Assert.That(patient.IsCompleted || leader.IsCompleted, Is.False);
                foreach (Request request in requests.Values)
                    request.Reply(request.Data);
                Assert.That(Support.Failure(leader), Is.Null);
                Assert.That(patient.Wait(Support.Patience));
                Assert.That(patient.Result.Data, Is.EqualTo(new byte[] { 1 }));
                Assert.Throws<TachyonException>(() => givenUp.Wait(Support.Patience));
            }
        }

        [Test]
        public void AThreadThatWaitsHearsThatItsCallIsGivenUp()
        {
            using (var pair = new RpcPair())
            {
                PendingCall call = pair.Caller.Submit(new byte[0], 1);
                var waiting = new Thread(() => Assert.Throws<TachyonException>(() => call.Wait()));
                waiting.Start();
                pair.Server.Serve(Support.Patience);
                call.Dispose();
                Assert.That(waiting.Join(Support.Patience));
            }
        }

        [Test]
        public void AReplyThatIsThereComesBeforeTimeAndToken()
        {
            using (var pair = new RpcPair())
            using (var source = new CancellationTokenSource())
            {
                PendingCall first = pair.Caller.Submit(new byte[0], 1), second = pair.Caller.Submit(new byte[0], 2),
                    third = pair.Caller.Submit(new byte[0], 3);
                Assert.That(Support.Failure(first.WaitAsync(TimeSpan.Zero)), Is.InstanceOf<TimeoutException>());
                for (int i = 0; i < 2; i++)
                    pair.Server.Serve(Support.Patience).Reply(new byte[0]);
                source.Cancel();
                Assert.That(Support.Failure(first.WaitAsync(TimeSpan.Zero)), Is.Null);
                Assert.That(Support.Failure(second.WaitAsync(null, source.Token)), Is.Null);
                Assert.That(Support.Failure(third.WaitAsync(null, source.Token)), Is.InstanceOf<OperationCanceledException>());
            }
        }

        [Test]
        public void AServersEndEndsAllCalls()
        {
            using (var pair = new RpcPair())
            {
                Task[] calling = Enumerable.Range(0, 4).Select(i => i % 2 == 0
                    ? pair.Caller.CallAsync(new byte[0], 1)
                    : Support.Start(() => pair.Caller.Call(new byte[0], 1))).ToArray();
                for (int i = 0; i < calling.Length; i++)
                    pair.Server.Serve(Support.Patience);
                pair.Server.Dispose();
                foreach (Task task in calling)
                    Assert.That(Support.Failure(task), Is.InstanceOf<ClosedException>());
                Assert.That(Support.Failure(pair.Caller.CallAsync(new byte[0], 1)), Is.InstanceOf<ClosedException>());
            }
        }

        [Test]
        public void CallsThatAreGivenUpMakeRoomForOthers()
        {
            const int Limit = 65536; // calls outstanding at a time
            using (var pair = new RpcPair())
            {
                Task serving = Support.Start(() =>
                {
                    for (; ; )
                        pair.Server.Serve();
                });
                Task waiting = pair.Caller.CallAsync(new byte[0], 1); // its thread is inside, or comes in again and again
                for (int round = 0; round < 3; round++)
                {
                    List<PendingCall> calls = Enumerable.Range(1, Limit - 1).Select(i => pair.Caller.Submit(new byte[0], 1)).ToList();
                    Assert.Throws<BusyException>(() => pair.Caller.Submit(new byte[0], 1));
                    calls.ForEach(call => call.Dispose());
                }
                pair.Caller.Dispose();
                Assert.That(Support.Failure(waiting), Is.InstanceOf<ObjectDisposedException>());
                Assert.That(Support.Failure(serving), Is.InstanceOf<ClosedException>());
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        static Server ServerOfAForgottenCaller()
        {
            var pair = new RpcPair();
            using (var source = new CancellationTokenSource())
            {
                Task waiting = pair.Caller.Submit(new byte[0], 1).WaitAsync(null, source.Token);
                pair.Server.Serve(Support.Patience);
                source.Cancel();
                Assert.That(Support.Failure(waiting), Is.InstanceOf<OperationCanceledException>());
            }
            return pair.Server;
        }

        [Test]
        public void AForgottenCallerIsClosed()
        {
            Server server = null;
            Task.Factory.StartNew(() => server = ServerOfAForgottenCaller(), TaskCreationOptions.LongRunning).Wait();
            Task serving = server.ServeAsync();
            Support.Until(() =>
            {
                GC.Collect();
                GC.WaitForPendingFinalizers();
                return serving.IsCompleted;
            });
            Assert.That(Support.Failure(serving), Is.InstanceOf<ClosedException>());
            server.Dispose();
        }

        [Test]
        public void DisposeFreesTheMemory()
        {
            int before = Support.Mappings();
            using (var pair = new RpcPair())
            {
                Task serving = Support.Start(() => pair.Server.ServeAll(new Dictionary<uint, Procedure> { { 1, request => request } }));
                pair.Caller.Call(new byte[0], 1, Support.Patience);
                pair.Caller.Dispose();
                Assert.That(Support.Failure(serving), Is.Null);
                pair.Server.Dispose();
            }
            Assert.That(Support.Mappings(), Is.EqualTo(before));
        }

        [Test]
        public void WhoWaitsForAReplySleeps()
        {
            using (var pair = new RpcPair())
            {
                Task waiting = pair.Caller.CallAsync(new byte[0], 1, Support.Patience);
                Request request = pair.Server.Serve(Support.Patience);
                pair.Caller.Submit(new byte[0], 1).Dispose(); // the one that waits was out, and is in again
                Stopwatch time = Stopwatch.StartNew();
                TimeSpan before = Process.GetCurrentProcess().TotalProcessorTime;
                Thread.Sleep(200);
                TimeSpan used = Process.GetCurrentProcess().TotalProcessorTime - before;
                Assert.That(used.Ticks, Is.LessThan(time.Elapsed.Ticks / 2));
                request.Reply(new byte[0]);
                Assert.That(Support.Failure(waiting), Is.Null);
            }
        }

        [Test]
        public void ServersThreadsWaitForTheirTurnNoLongerThanTheyWant()
        {
            using (var pair = new RpcPair())
            using (var source = new CancellationTokenSource())
            {
                Task<Request> serving = pair.Server.ServeAsync(null, source.Token);
                Support.Until(() => Assert.Throws<TimeoutException>(() => pair.Server.Serve(TimeSpan.Zero)).Message.Contains("another thread"));
                pair.Caller.Submit(new byte[] { 1 }, 1);
                Assert.That(serving.Result.Data, Is.EqualTo(new byte[] { 1 }));
            }
        }

        [Test]
        public void DisposeEndsCallsOfOtherThreads()
        {
            for (int i = 0; i < 20; i++)
            {
                using (var pair = new RpcPair())
                {
                    Task calling = pair.Caller.CallAsync(new byte[0], 7);
                    pair.Server.Serve(Support.Patience);
                    Task serving = pair.Server.ServeAsync();
                    pair.Caller.Dispose();
                    Assert.That(Support.Failure(calling), Is.InstanceOf<ObjectDisposedException>());
                    Assert.That(Support.Failure(serving), Is.InstanceOf<ClosedException>());
                    Assert.Throws<ObjectDisposedException>(() => pair.Caller.Submit(new byte[0], 1));
                }
            }
        }

        [Test]
        public void AServersEndEndsCalls()
        {
            using (var pair = new RpcPair())
            {
                PendingCall call = pair.Caller.Submit(new byte[0], 7);
                pair.Server.Serve(Support.Patience);
                pair.Server.Dispose();
                Assert.Throws<ClosedException>(() => call.Wait(Support.Patience));
                call.Dispose();
            }
        }

        [Test]
        public void AListenerAcceptsServers()
        {
            using (var folder = new Folder())
            using (var listener = new ServerListener(folder.Bus))
            {
                Task<Caller> connecting = Caller.ConnectAsync(folder.Bus, null, Support.Patience);
                using (Server server = listener.AcceptAsync(Support.Patience).Result)
                using (Caller caller = connecting.Result)
                {
                    PendingCall call = caller.Submit(new byte[] { 8 }, 1);
                    Request request = server.Serve(Support.Patience);
                    request.Reply(request.Data);
                    Assert.That(call.Wait(Support.Patience).Data, Is.EqualTo(new byte[] { 8 }));
                }
                Assert.Throws<TimeoutException>(() => listener.Accept(Support.Moment));
            }
        }
    }
}
