// SPDX-License-Identifier: MIT
using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading;

namespace Tachyon
{
    /// <summary>
    /// One direction of an end, in which one thread at a time is. It holds a reference to the native
    /// object for good, so that who has the turn may use the plain pointer: counting up and down at each
    /// call, as a SafeHandle that is passed does, takes longer than the call.
    /// </summary>
    /// <remarks>
    /// Where nobody else wants it, a turn is one atomic exchange to enter and one to leave. Who finds it
    /// taken marks it as wanted while holding the gate, and sleeps at the gate; who leaves a wanted turn
    /// must pass the gate to wake the others, so no wake-up falls in between. All are woken, and try
    /// again: none that gives up, by its time or its token, takes a wake-up with it.
    /// Close() lets nobody in any more. The reference is given back by it, or by whoever is still in the
    /// turn, when they leave; or by the finalizer where the end was forgotten. No thread is in the turn
    /// then: it would refer to it.
    /// </remarks>
    internal sealed class Turn
    {
        const int Free = 0, Taken = 1, Wanted = 2, Over = 3; // wanted: taken, and who leaves has to look

        readonly object gate = new object();
        readonly SafeHandle owner;
        int state;
        volatile bool closing;
        Thread writer;

        /// <summary>The native object, for who has the turn.</summary>
        internal readonly IntPtr Handle;

        internal Turn(SafeHandle owner)
        {
            bool held = false;
            owner.DangerousAddRef(ref held);
            this.owner = owner; // only now, for the sake of the finalizer
            Handle = owner.DangerousGetHandle();
        }

        ~Turn()
        {
            if (owner != null && Interlocked.CompareExchange(ref state, Over, Free) == Free)
                owner.DangerousRelease();
        }

        /// <summary>Enters, in a try whose finally leaves if held is true; returns the time that is left.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal TimeSpan? Enter(ref bool held, string attempt, TimeSpan? timeout, CancellationToken cancellation)
        {
            if (Interlocked.CompareExchange(ref state, Taken, Free) != Free)
                return Await(ref held, attempt, timeout, cancellation);
            held = true;
            return timeout;
        }

        /// <summary>Enters, in such a try, if nobody is in it.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal bool TryEnter(ref bool held, string attempt)
        {
            if (Interlocked.CompareExchange(ref state, Taken, Free) == Free)
                held = true;
            else
                Refuse(attempt);
            return held;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal void Leave()
        {
            if (Interlocked.Exchange(ref state, Free) != Taken)
                LeaveWanted();
        }

        void LeaveWanted()
        {
            Wake();
            if (closing)
                End();
        }

        /// <summary>This thread, which has the turn, lets the program's own code run: that must not want it.</summary>
        internal void BeginWriting()
        {
            writer = Thread.CurrentThread;
        }

        internal void EndWriting()
        {
            writer = null;
        }

        /// <summary>Lets nobody in any more. Does not wait for who is in.</summary>
        internal void Close()
        {
            closing = true;
            End();
            Wake();
        }

        /// <summary>Gives the reference back, if nobody is in; else who is will do it, as it leaves a wanted turn.</summary>
        void End()
        {
            if (Mark(Over) != Free)
                return;
            owner.DangerousRelease();
            GC.SuppressFinalize(this);
        }

        /// <summary>The state; which is what it was asked to become where it was free, and wanted where it was taken.</summary>
        int Mark(int instead)
        {
            for (; ; )
            {
                int seen = Interlocked.CompareExchange(ref state, instead, Free);
                if (seen != Taken || Interlocked.CompareExchange(ref state, Wanted, Taken) == Taken)
                    return seen;
            }
        }

        void Wake()
        {
            lock (gate)
                Monitor.PulseAll(gate);
        }

        /// <summary>Throws where it makes no sense to wait.</summary>
        void Refuse(string attempt)
        {
            if (writer == Thread.CurrentThread)
                throw new BusyException(attempt + ": this thread is writing a message in place", Errors.EBUSY);
            if (closing)
                throw Errors.Disposed(attempt);
        }

        TimeSpan? Await(ref bool held, string attempt, TimeSpan? timeout, CancellationToken cancellation)
        {
            Refuse(attempt);
            var clock = new Clock(timeout);
            using (cancellation.Register(Wake)) // not at the gate: its end waits for a Wake() that is under way
            {
                lock (gate)
                {
                    for (; ; )
                    {
                        Refuse(attempt);
                        held = Mark(Wanted) == Free; // others may wait, too
                        if (held)
                            break;
                        cancellation.ThrowIfCancellationRequested();
                        int left = clock.Milliseconds();
                        if (left == 0)
                            throw new TimeoutException(attempt + ": the time is over, and another thread is at it");
                        Monitor.Wait(gate, left);
                    }
                }
            }
            return clock.Left();
        }
    }
}
