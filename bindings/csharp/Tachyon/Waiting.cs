// SPDX-License-Identifier: MIT
using System;
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.Win32.SafeHandles;

namespace Tachyon
{
    /// <summary>A call into the library that may sleep for so long.</summary>
    internal delegate long Sleeper(long timeoutNs);

    /// <summary>
    /// Waits: until the call is over, the time is, or the token is cancelled.
    /// </summary>
    /// <remarks>
    /// Everything is tried once without sleeping first, without a token's or a clock's cost. Else an
    /// eventfd that the token writes to ends the sleep. Mono stops threads for its garbage collector
    /// by signals, and a program may have handlers: those that cut a sleep short do not count.
    /// </remarks>
    internal static class Waiting
    {
        /// <summary>Whether the caller wants to try and not to wait.</summary>
        internal static bool IsTry(TimeSpan? timeout)
        {
            return timeout.HasValue && timeout.GetValueOrDefault() == TimeSpan.Zero;
        }

        /// <summary>
        /// The time for a first call that Sleep() is to follow where it gives EAGAIN or EINTR: none; or
        /// all of it, where only the call's own end or a signal can end the wait. One call less.
        /// </summary>
        internal static long First(TimeSpan? timeout, CancellationToken cancellation)
        {
            return timeout.HasValue || cancellation.CanBeCanceled ? 0 : Clock.Forever;
        }

        /// <summary>Whether Sleep() is to follow.</summary>
        internal static bool GoesOn(long result, TimeSpan? timeout)
        {
            return result == -Errors.EINTR || result == -Errors.EAGAIN && !IsTry(timeout);
        }

        /// <summary>The call's result, negative errors included.</summary>
        internal static long Run(TimeSpan? timeout, CancellationToken cancellation, Sleeper call)
        {
            long result = call(0);
            return result == -Errors.EAGAIN && !IsTry(timeout) ? Sleep(timeout, cancellation, call) : result;
        }

        /// <summary>Run() without the first try.</summary>
        internal static long Sleep(TimeSpan? timeout, CancellationToken cancellation, Sleeper call)
        {
            var clock = new Clock(timeout);
            cancellation.ThrowIfCancellationRequested();
            using (Alarm alarm = cancellation.CanBeCanceled ? new Alarm(cancellation) : null)
            {
                for (; ; )
                {
                    long left = clock.Nanoseconds();
                    long result = alarm == null ? call(left) : alarm.During(call, left);
                    if (result != -Errors.EINTR)
                        return result;
                    cancellation.ThrowIfCancellationRequested();
                }
            }
        }

        /// <summary>
        /// The same, in a thread of its own: so many waits at a time would use up the pool's.
        /// </summary>
        internal static Task<T> Async<T>(Func<T> wait, CancellationToken cancellation)
        {
            return Task.Factory.StartNew(wait, cancellation,
                TaskCreationOptions.LongRunning | TaskCreationOptions.DenyChildAttach, TaskScheduler.Default);
        }
    }

    /// <summary>What is left of a time.</summary>
    internal readonly struct Clock
    {
        internal const long Forever = -1;

        readonly long limit, start;

        internal Clock(TimeSpan? timeout)
        {
            limit = Limit(timeout);
            start = limit > 0 ? Stopwatch.GetTimestamp() : 0;
        }

        static long Limit(TimeSpan? timeout)
        {
            if (!timeout.HasValue || timeout.Value == Timeout.InfiniteTimeSpan)
                return Forever;
            if (timeout.Value < TimeSpan.Zero)
                throw new ArgumentOutOfRangeException(nameof(timeout), timeout.Value, "a negative time");
            return timeout.Value.Ticks > long.MaxValue / 100 ? Forever : timeout.Value.Ticks * 100;
        }

        /// <summary>As C wants it.</summary>
        internal long Nanoseconds()
        {
            if (limit <= 0)
                return limit;
            long elapsed = (long)((Stopwatch.GetTimestamp() - start) * (1e9 / Stopwatch.Frequency));
            return Math.Max(limit - elapsed, 0);
        }

        /// <summary>As Monitor.Wait() wants it; never 0 before the end.</summary>
        internal int Milliseconds()
        {
            long left = Nanoseconds();
            return left < 0 ? Timeout.Infinite : (int)Math.Min((left + 999999) / 1000000, int.MaxValue);
        }

        internal TimeSpan? Left()
        {
            long left = Nanoseconds();
            return left < 0 ? (TimeSpan?)null : TimeSpan.FromTicks(left / 100);
        }
    }

    /// <summary>A descriptor that ends the sleep of a thread in the library.</summary>
    internal sealed unsafe class Bell : IDisposable
    {
        const int NonBlocking = 0x800, CloseOnExec = 0x80000; // Linux's

        sealed class EventFd : SafeHandleMinusOneIsInvalid
        {
            internal EventFd(int descriptor) : base(true)
            {
                SetHandle((IntPtr)descriptor);
            }

            protected override bool ReleaseHandle()
            {
                return close((int)handle) == 0;
            }
        }

        [DllImport("libc", SetLastError = true)]
        static extern int eventfd(uint value, int flags);
        [DllImport("libc")]
        static extern IntPtr read(EventFd fd, ulong* value, UIntPtr size);
        [DllImport("libc")]
        static extern IntPtr write(EventFd fd, ulong* value, UIntPtr size);
        [DllImport("libc")]
        static extern int close(int fd);

        readonly EventFd descriptor;

        internal Bell()
        {
            descriptor = new EventFd(eventfd(0, NonBlocking | CloseOnExec));
            if (descriptor.IsInvalid)
                throw new TachyonException("there is no descriptor left to end a wait by", Marshal.GetLastWin32Error());
        }

        internal void Ring()
        {
            ulong one = 1;
            write(descriptor, &one, (UIntPtr)sizeof(ulong));
        }

        /// <summary>Makes it silent again.</summary>
        internal void Drain()
        {
            ulong rings;
            read(descriptor, &rings, (UIntPtr)sizeof(ulong));
        }

        /// <summary>
        /// From now on calls of this thread that would sleep give EINTR once the bell rings. Nobody may
        /// dispose it before End(), which belongs into a finally of the same method.
        /// </summary>
        internal void Begin()
        {
            Native.tachyon_thread_interrupt_fd((int)descriptor.DangerousGetHandle());
        }

        internal void End()
        {
            Native.tachyon_thread_interrupt_fd(-1);
        }

        public void Dispose()
        {
            descriptor.Dispose();
        }
    }

    /// <summary>A bell that rings once a token is cancelled.</summary>
    internal sealed class Alarm : IDisposable
    {
        readonly Bell bell = new Bell();
        readonly CancellationTokenRegistration registration;

        internal Alarm(CancellationToken cancellation)
        {
            registration = cancellation.Register(bell.Ring, false);
        }

        internal long During(Sleeper call, long timeoutNs)
        {
            bell.Begin();
            try
            {
                return call(timeoutNs);
            }
            finally
            {
                bell.End();
            }
        }

        public void Dispose()
        {
            registration.Dispose(); // waits for a Ring() that is under way
            bell.Dispose();
        }
    }
}
