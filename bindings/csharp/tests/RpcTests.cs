// SPDX-License-Identifier: MIT
using System;
using System.Collections.Generic;
using System.Linq;
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
