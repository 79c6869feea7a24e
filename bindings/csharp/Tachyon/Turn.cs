// SPDX-License-Identifier: MIT
using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading;

namespace Tachyon
{
    /// <summary>How a thread came into its turn, which is how it leaves.</summary>
    internal enum Hold
    {
        None,
        Alone,
        Permit,
    }

    /// <summary>
    /// One direction of an end, in which one thread at a time is. It holds a reference to the native
    /// object for good, so that who has the turn may use the plain pointer: counting up and down at each
    /// call, as a SafeHandle that is passed does, takes longer than the call.
    /// </summary>
    /// <remarks>
    /// There is one permit. To take it is one atomic exchange, and so is to give it back; those of a send
    /// and a receive take longer than the calls. So the first thread that comes keeps the permit. From
    /// then on this owner only notes that it is inside, and looks whether the turn is shared. Another one
    /// that comes declares it shared, makes each thread of the process pass a barrier (Barrier.cs), and
    /// then looks for the note.
    /// - The owner's note and look are volatile, so no compiler changes their order (ECMA-335, I.12.6.7:
    ///   they are side effects of the thread); but a processor may look before others can see the note.
    /// - If the owner looked before it passed the barrier, it had noted before, and the barrier made its
    ///   note visible: the newcomer sees what the owner took itself for. If it looks after it, it sees
    ///   the turn shared, and steps aside where it was about to enter.
    /// - As for its end: where the newcomer sees it inside, the note that it is outside had not passed the
    ///   barrier, so its look comes after it, and it sees the turn shared. Where the newcomer sees it
    ///   outside, that note was a release, and all that the owner did inside comes before.
    /// So the permit can be given back: by the newcomer, or by the owner as it leaves. Both may find that
    /// it is up to them; the gate lets one do it. After that everybody needs the permit, for good.
    ///
    /// Who finds the permit taken marks it as wanted while holding the gate, and sleeps at the gate; who
    /// gives a wanted one back must pass the gate to wake the others, so no wake-up falls in between. All
    /// are woken, and try again: none that gives up, by its time or its token, takes a wake-up with it.
    /// Close() comes as a newcomer does, and lets nobody in any more. The reference is given back by it,
    /// or by whoever is still in the turn, when they leave; or by the finalizer where the end was
    /// forgotten. No thread is in the turn then: it would refer to it.
    /// </remarks>
    internal sealed class Turn
    {
        const int Free = 0, Taken = 1, Wanted = 2, Over = 3; // wanted: taken, and who leaves has to look

        static readonly object nobody = new object();
        [ThreadStatic]
        static object self; // of this thread; costs less than any name that it has

        readonly object gate = new object();
        readonly SafeHandle handle;
        int state; // of the permit
        object owner = nobody; // the first; a thread finds itself here only where it wrote itself
        bool kept; // there is an owner, and it keeps the permit; guarded by the gate
        volatile bool inside; // the owner; written by it alone
        volatile bool shared; // everybody needs the permit; written at the gate
        volatile bool closing;
        Thread writer;

        /// <summary>The native object, for who has the turn.</summary>
        internal readonly IntPtr Handle;

        internal Turn(SafeHandle handle)
        {
            bool held = false;
            handle.DangerousAddRef(ref held);
            this.handle = handle; // only now, for the sake of the finalizer
            Handle = handle.DangerousGetHandle();
            shared = !Barrier.Exists;
        }

        ~Turn()
        {
            if (handle != null && (kept && !inside || Interlocked.CompareExchange(ref state, Over, Free) == Free))
                handle.DangerousRelease();
        }

        /// <summary>
        /// The way of the owner, to be left by LeaveAlone(). Not for a thread that is inside. False: Enter().
        /// </summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal bool EnterAlone()
        {
            if (owner != self || inside)
                return false;
            inside = true;
            if (!shared)
                return true;
            StepAside();
            return false;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal void LeaveAlone()
        {
            inside = false;
            if (shared)
                GiveBack();
        }

        /// <summary>Enters, in a try whose finally leaves; returns the time that is left.</summary>
        internal TimeSpan? Enter(ref Hold held, string attempt, TimeSpan? timeout, CancellationToken cancellation)
        {
            if (!TryEnter(ref held))
                return Await(ref held, attempt, timeout, cancellation);
            return timeout;
        }

        /// <summary>Enters, in such a try, if nobody is in it.</summary>
        internal bool TryEnter(ref Hold held, string attempt)
        {
            if (!TryEnter(ref held))
                Refuse(attempt);
            return held != Hold.None;
        }

        bool TryEnter(ref Hold held)
        {
            if (EnterAlone() || !shared && Claim())
                held = Hold.Alone;
            else if (Interlocked.CompareExchange(ref state, Taken, Free) == Free)
                held = Hold.Permit;
            return held != Hold.None;
        }

        internal void Leave(Hold held)
        {
            if (held == Hold.Alone)
                LeaveAlone();
            else if (held == Hold.Permit)
                ReturnPermit();
        }

        void ReturnPermit()
        {
            if (Interlocked.Exchange(ref state, Free) == Taken)
                return;
            Wake();
            if (closing)
                End();
        }

        // ---- the owner and who comes after it

        /// <summary>Makes this thread the owner, who is inside then; or the turn shared.</summary>
        bool Claim()
        {
            lock (gate)
            {
                if (!shared && !kept)
                {
                    state = Taken; // nobody else takes it before the turn is shared
                    kept = true;
                    owner = self ?? (self = new object());
                    inside = true;
                    return true;
                }
            }
            if (owner != self) // else it is inside, and asks for its turn again
                Share();
            return false;
        }

        /// <summary>An owner that finds the turn shared is none any more.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        void StepAside()
        {
            owner = nobody;
            LeaveAlone();
        }

        void Share()
        {
            lock (gate)
            {
                if (shared)
                    return;
                shared = true;
                // Where there is no barrier any more, the owner gives it back when it comes next.
                if (!kept || !Barrier.Pass() || inside)
                    return;
            }
            GiveBack();
        }

        /// <summary>The permit that the owner kept: by the owner outside, or by who saw it there when the turn was shared.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        void GiveBack()
        {
            lock (gate)
            {
                if (!kept)
                    return;
                kept = false;
            }
            ReturnPermit();
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
            Share();
            End();
            Wake();
        }

        /// <summary>Gives the reference back, if nobody is in; else who is will do it, as it leaves a wanted turn.</summary>
        void End()
        {
            if (Mark(Over) != Free)
                return;
            handle.DangerousRelease();
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

        TimeSpan? Await(ref Hold held, string attempt, TimeSpan? timeout, CancellationToken cancellation)
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
                        if (Mark(Wanted) == Free) // others may wait, too
                        {
                            held = Hold.Permit;
                            break;
                        }
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
