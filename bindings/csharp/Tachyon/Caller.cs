// SPDX-License-Identifier: MIT
using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace Tachyon
{
    /// <summary>The calling end. Any thread may call, and many calls may be under way at a time.</summary>
    /// <remarks>
    /// One thread at a time is in the library. Of those that wait for replies one leads: it sleeps there,
    /// for all, and hands each reply to the call that it belongs to, while the others sleep at the gate.
    /// Who wants to send a request rings the bell; then the leader comes out and lets them in. What is
    /// true stands in the fields below, guarded by the gate; a ring only says: look again. So one too
    /// many does no harm, and none is lost: it ends the leader's next sleep, if not this one.
    /// Tasks have a thread of their own, which leads for all of them, as long as there are any.
    /// </remarks>
    public sealed class Caller : RpcEnd
    {
        const int LingerMs = 100; // that the tasks' thread stays when it has nothing to do

        readonly object gate = new object();
        readonly Bell bell = new Bell();
        readonly Dictionary<ulong, PendingCall> calls = new Dictionary<ulong, PendingCall>(); // which are not over
        readonly HashSet<PendingCall> awaited = new HashSet<PendingCall>(); // by tasks
        readonly List<ulong> givenUp = new List<ulong>(); // for who is inside to tell the library
        bool inside;  // a thread is in the library,
        bool leading; // and comes out when the bell rings
        bool pumping; // the tasks' thread is there,
        readonly ManualResetEventSlim more = new ManualResetEventSlim(); // and there is something for it
        bool closed;  // nobody comes in any more
        int entering; // threads that want to be inside for a moment, and come before a leader

        Caller(BusHandle bus) : base(bus) { }

        /// <summary>Connects to a server; waits for one to appear.</summary>
        public static Caller Connect(string path, BusOptions options = null, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            return new Caller(Opening.Connect(path, options, Native.RpcKind, timeout, cancellation));
        }

        /// <summary>Connect() that keeps no thread of the caller's.</summary>
        public static Task<Caller> ConnectAsync(string path, BusOptions options = null, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            return Waiting.Async(() => Connect(path, options, timeout, cancellation), cancellation);
        }

        /// <summary>Sends a request and waits for the reply. A call that throws is given up.</summary>
        /// <exception cref="RpcException">The server failed the call.</exception>
        public Message Call(ReadOnlySpan<byte> data, uint typeId, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            var clock = new Clock(timeout);
            using (PendingCall call = SendAndLead(data, typeId, clock, cancellation))
                return call.Wait(clock.Left(), cancellation);
        }

        /// <summary>Submit(), and the first step of waiting without coming out in between, if nobody wants in.</summary>
        PendingCall SendAndLead(ReadOnlySpan<byte> data, uint typeId, Clock clock, CancellationToken cancellation)
        {
            bool held = false;
            PendingCall call = null;
            try
            {
                TimeSpan? left = Enter(ref held, clock.Left(), cancellation, true);
                call = Send(data, typeId, left, cancellation, true);
                if (leading) // which is ours to change, inside
                    Lead(clock, cancellation);
                return call;
            }
            catch
            {
                call?.Dispose();
                throw;
            }
            finally
            {
                if (held)
                    Leave();
            }
        }

        /// <summary>
        /// Call() that keeps no thread of the caller's. All that are under way share one thread. data
        /// must stay as it is until the task is over.
        /// </summary>
        public async Task<Message> CallAsync(ReadOnlyMemory<byte> data, uint typeId, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            var clock = new Clock(timeout);
            PendingCall call = SubmitAtOnce(data.Span, typeId, timeout) ?? await Waiting.Async(
                () => Submit(data.Span, typeId, timeout, cancellation), cancellation).ConfigureAwait(false);
            using (call)
                return await call.WaitAsync(clock.Left(), cancellation).ConfigureAwait(false);
        }

        /// <summary>Sends a request, and does not wait for the reply.</summary>
        public PendingCall Submit(ReadOnlySpan<byte> data, uint typeId, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            bool held = false;
            try
            {
                timeout = Enter(ref held, timeout, cancellation, true);
                return Send(data, typeId, timeout, cancellation, false);
            }
            finally
            {
                if (held)
                    Leave();
            }
        }

        /// <summary>Submit(), or null where that would take a while.</summary>
        PendingCall SubmitAtOnce(ReadOnlySpan<byte> data, uint typeId, TimeSpan? timeout)
        {
            bool held = false;
            try
            {
                Enter(ref held, null, default(CancellationToken), false);
                return held ? Send(data, typeId, TimeSpan.Zero, default(CancellationToken), false) : null;
            }
            catch (TimeoutException) when (!Waiting.IsTry(timeout))
            {
                return null;
            }
            finally
            {
                if (held)
                    Leave();
            }
        }

        unsafe PendingCall Send(ReadOnlySpan<byte> data, uint typeId, TimeSpan? timeout, CancellationToken cancellation,
            bool leads)
        {
            ulong id;
            IntPtr rpc = Handle.DangerousGetHandle();
            fixed (byte* at = &MemoryMarshal.GetReference(data))
            {
                long result = Native.tachyon_rpc_submit(rpc, at, (UIntPtr)data.Length, typeId, out id, 0);
                if (result < 0)
                    id = SendWaiting(result, at, data.Length, typeId, timeout, cancellation);
            }
            var call = new PendingCall(this, id);
            lock (gate)
            {
                calls.Add(id, call);
                leading = leads && entering == 0;
            }
            return call;
        }

        unsafe ulong SendWaiting(long result, byte* at, int size, uint typeId, TimeSpan? timeout, CancellationToken cancellation)
        {
            ulong id = 0;
            IntPtr rpc = Handle.DangerousGetHandle();
            if (Waiting.GoesOn(result, timeout))
                result = Waiting.Sleep(timeout, cancellation,
                    left => Native.tachyon_rpc_submit(rpc, at, (UIntPtr)size, typeId, out id, left));
            Errors.Check(result, "submit");
            return id;
        }

        // ---- who is inside: in a try whose finally leaves, if held is true; the handle stays open meanwhile

        /// <summary>Waits for a leader to come out; and if it is patient, for one who waits for room to send.</summary>
        TimeSpan? Enter(ref bool held, TimeSpan? timeout, CancellationToken cancellation, bool patient)
        {
            if (TryComeIn(ref held))
                return timeout;
            var clock = new Clock(timeout);
            using (cancellation.Register(Rouse)) // not at the gate: its end waits for a Rouse() that is under way
            {
                lock (gate)
                {
                    entering++;
                    try
                    {
                        while (inside)
                        {
                            if (leading)
                                bell.Ring();
                            else if (!patient)
                                return timeout;
                            Sleep(clock, cancellation);
                        }
                        ComeIn(ref held);
                    }
                    finally
                    {
                        entering--;
                        if (!held)
                            Monitor.PulseAll(gate); // leaders may come in
                    }
                }
            }
            return clock.Left();
        }

        bool TryComeIn(ref bool held)
        {
            lock (gate)
            {
                if (inside)
                    return false;
                ComeIn(ref held);
                return true;
            }
        }

        void ComeIn(ref bool held)
        {
            if (closed)
                throw Errors.Disposed("call");
            Handle.DangerousAddRef(ref held);
            inside = true;
        }

        void Leave()
        {
            lock (gate)
            {
                if (givenUp.Count > 0)
                {
                    givenUp.ForEach(Forget);
                    givenUp.Clear();
                }
                inside = leading = false;
                if (closed)
                    bell.Dispose();
                Handle.DangerousRelease();
                Monitor.PulseAll(gate);
            }
        }

        /// <summary>At the gate, until something has changed.</summary>
        void Sleep(Clock clock, CancellationToken cancellation)
        {
            cancellation.ThrowIfCancellationRequested();
            int left = clock.Milliseconds();
            if (left == 0)
                throw new TimeoutException("call: the time is over, and another thread is at it");
            Monitor.Wait(gate, left);
        }

        /// <summary>All who sleep shall look again.</summary>
        void Rouse()
        {
            lock (gate)
            {
                if (leading)
                    bell.Ring();
                Monitor.PulseAll(gate);
            }
        }

        internal override void LetNobodyIn()
        {
            lock (gate)
            {
                closed = true;
                if (!inside)
                    bell.Dispose(); // else who is inside does it, who may be about to sleep
                Rouse();
            }
        }

        // ---- replies

        /// <summary>Returns when the call is over; throws where there is no hope of it.</summary>
        internal void Await(PendingCall call, TimeSpan? timeout, CancellationToken cancellation)
        {
            if (call.IsOver)
                return;
            var clock = new Clock(timeout);
            using (cancellation.Register(Rouse))
                while (!call.IsOver)
                    LeadOrFollow(() => call.IsOver, clock, cancellation);
        }

        /// <summary>One step of one who waits, until enough() says so at the gate.</summary>
        void LeadOrFollow(Func<bool> enough, Clock clock, CancellationToken cancellation)
        {
            bool held = false;
            try
            {
                lock (gate)
                {
                    while (inside || entering > 0)
                    {
                        if (enough())
                            return;
                        Sleep(clock, cancellation);
                    }
                    if (enough())
                        return;
                    ComeIn(ref held);
                    leading = true;
                }
                Lead(clock, cancellation);
            }
            finally
            {
                if (held)
                    Leave();
            }
        }

        /// <summary>Takes one reply, whoever waits for it; or comes out as the bell rang.</summary>
        void Lead(Clock clock, CancellationToken cancellation)
        {
            IntPtr rpc = Handle.DangerousGetHandle();
            Native.Message message;
            long left = clock.Nanoseconds(), result;
            if (left == 0 || cancellation.IsCancellationRequested) // then only what is there already
            {
                result = Native.tachyon_rpc_poll(rpc, out message, 0);
                if (result == -Errors.EAGAIN)
                    cancellation.ThrowIfCancellationRequested();
            }
            else
            {
                bell.Begin();
                try
                {
                    result = Native.tachyon_rpc_poll(rpc, out message, left);
                }
                finally
                {
                    bell.End();
                }
            }
            if (result == -Errors.EINTR)
            {
                bell.Drain();
                return;
            }
            bool failed = Errors.Check(result, "wait for a reply") == 1;
            byte[] data;
            try
            {
                data = Copied(rpc, message);
            }
            catch (MessageTooLargeException e) // which the call has to hear of, not who leads
            {
                data = Encoding.UTF8.GetBytes(e.Message);
                message.TypeId = RpcException.TooLarge;
                failed = true;
            }
            Remove(message.CorrelationId)?.Finish(data, message.TypeId, failed);
        }

        /// <summary>The call, or null if it was given up.</summary>
        PendingCall Remove(ulong id)
        {
            lock (gate)
            {
                PendingCall call;
                if (calls.TryGetValue(id, out call))
                    calls.Remove(id);
                if (awaited.Count > 0)
                    awaited.Remove(call);
                return call;
            }
        }

        /// <summary>Forgets a call at once, or as soon as who is inside comes out.</summary>
        internal void GiveUp(ulong id)
        {
            lock (gate)
            {
                if (Remove(id) == null)
                    return;
                if (inside)
                    givenUp.Add(id);
                else
                    Forget(id);
                Rouse(); // who waits for it
            }
        }

        void Forget(ulong id)
        {
            try
            {
                Native.tachyon_rpc_forget(Handle, id);
            }
            catch (ObjectDisposedException)
            {
            }
        }

        // ---- the tasks' thread

        /// <summary>From now on the tasks' thread finishes the call's task, if it does not come to its end.</summary>
        internal void BeginAwait(PendingCall call)
        {
            lock (gate)
            {
                awaited.Add(call);
                more.Set();
                if (pumping)
                    return;
                pumping = true;
            }
            Task.Factory.StartNew(Pump, CancellationToken.None, TaskCreationOptions.LongRunning | TaskCreationOptions.DenyChildAttach,
                TaskScheduler.Default);
        }

        internal void EndAwait(PendingCall call)
        {
            lock (gate)
            {
                awaited.Remove(call);
                if (pumping && awaited.Count == 0)
                    Rouse(); // the tasks' thread, which ends
            }
        }

        /// <summary>After a while. Not at the gate: threads that call would wake it each time.</summary>
        bool HasNothingToDo()
        {
            lock (gate)
            {
                if (awaited.Count > 0)
                    return false;
                more.Reset();
            }
            more.Wait(LingerMs);
            lock (gate)
            {
                pumping = awaited.Count > 0 || more.IsSet;
                return !pumping;
            }
        }

        void Pump()
        {
            for (; ; )
            {
                if (HasNothingToDo())
                    return;
                try
                {
                    LeadOrFollow(() => awaited.Count == 0, new Clock(null), CancellationToken.None);
                }
                catch (Exception e)
                {
                    PendingCall[] failed;
                    lock (gate)
                    {
                        failed = awaited.ToArray();
                        awaited.Clear();
                    }
                    foreach (PendingCall call in failed)
                        call.FailTask(e);
                }
            }
        }
    }
}
