// SPDX-License-Identifier: MIT
using System;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace Tachyon
{
    /// <summary>A call whose reply is still to come: wait for it, or dispose, which gives it up.</summary>
    public sealed class PendingCall : IDisposable
    {
        sealed class Reply
        {
            internal byte[] Data;
            internal uint TypeId;
            internal bool Failed;
        }

        static readonly Reply none = new Reply(); // taken, or given up

        readonly Caller caller;
        readonly ulong id;
        Reply reply;                     // null: outstanding
        TaskCompletionSource<bool> task; // null: no task waits

        internal PendingCall(Caller caller, ulong id)
        {
            this.caller = caller;
            this.id = id;
        }

        internal bool IsOver => Volatile.Read(ref reply) != null;

        internal void Finish(byte[] data, uint typeId, bool failed)
        {
            if (Interlocked.CompareExchange(ref reply, new Reply { Data = data, TypeId = typeId, Failed = failed }, null) == null)
                Volatile.Read(ref task)?.TrySetResult(true);
        }

        internal void FailTask(Exception exception)
        {
            Volatile.Read(ref task)?.TrySetException(exception);
        }

        /// <summary>Waits for the reply. After a TimeoutException or a cancellation the call is still outstanding.</summary>
        public Message Wait(TimeSpan? timeout = null, CancellationToken cancellation = default(CancellationToken))
        {
            caller.Await(this, timeout, cancellation);
            return Take();
        }

        /// <summary>Wait() that keeps no thread of the caller's. One task at a time waits for a call.</summary>
        public async Task<Message> WaitAsync(TimeSpan? timeout = null, CancellationToken cancellation = default(CancellationToken))
        {
            if (Waiting.IsTry(timeout) || cancellation.IsCancellationRequested)
                return Try(cancellation);
            var source = new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
            if (Interlocked.CompareExchange(ref task, source, null) != null)
                throw new BusyException("wait for a reply: another task waits for it", Errors.EBUSY);
            try
            {
                caller.BeginAwait(this);
                if (!IsOver)
                    await Limit(source.Task, new Clock(timeout), cancellation).ConfigureAwait(false);
            }
            finally
            {
                Volatile.Write(ref task, null);
                caller.EndAwait(this);
            }
            return Take();
        }

        /// <summary>What is there already comes first, whatever the time and the token say.</summary>
        Message Try(CancellationToken cancellation)
        {
            try
            {
                return Wait(TimeSpan.Zero);
            }
            catch (TimeoutException)
            {
                cancellation.ThrowIfCancellationRequested();
                throw;
            }
        }

        static async Task Limit(Task task, Clock clock, CancellationToken cancellation)
        {
            using (CancellationTokenSource end = CancellationTokenSource.CreateLinkedTokenSource(cancellation))
            {
                Task time = Task.Delay(clock.Milliseconds(), end.Token);
                await Task.WhenAny(task, time).ConfigureAwait(false);
                end.Cancel(); // no timer stays
            }
            if (task.IsCompleted)
            {
                await task.ConfigureAwait(false);
                return;
            }
            cancellation.ThrowIfCancellationRequested();
            throw new TimeoutException("wait for a reply: the time is over");
        }

        Message Take()
        {
            Reply taken = Interlocked.Exchange(ref reply, none);
            if (taken == none)
                throw new TachyonException("wait for a reply: the call is over: its reply was taken, or it was given up", Errors.EINVAL);
            if (taken.Failed)
                throw new RpcException(taken.TypeId, Encoding.UTF8.GetString(taken.Data));
            return new Message(taken.Data, taken.TypeId);
        }

        /// <summary>Gives the call up, if it is not over.</summary>
        public void Dispose()
        {
            if (Interlocked.Exchange(ref reply, none) == null)
                caller.GiveUp(id);
            FailTask(Errors.Disposed("wait for a reply"));
        }
    }
}
