// SPDX-License-Identifier: MIT
using System;
using System.Runtime.InteropServices;

namespace Tachyon
{
    /// <summary>A memory barrier in every thread of this process, by who makes it pass: the others need none of their own.</summary>
    /// <remarks>
    /// Linux's membarrier(). Interlocked.MemoryBarrierProcessWide() is the same on .NET; but Mono's, and
    /// that of .NET on old kernels, changes a page's protection, which on newer processors and kernels
    /// reaches the other cores without stopping them.
    /// </remarks>
    internal static class Barrier
    {
        const int PrivateExpedited = 8, RegisterPrivateExpedited = 16;

        // For the machines of which the number is known here.
        static readonly IntPtr membarrier = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? (IntPtr)324
            : RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? (IntPtr)283 : IntPtr.Zero;

        /// <summary>Whether Pass() works here: the kernel may be without it, a sandbox may forbid it.</summary>
        internal static readonly bool Exists = membarrier != IntPtr.Zero && Call(RegisterPrivateExpedited) && Pass();

        /// <summary>False where it did not.</summary>
        internal static bool Pass()
        {
            return Call(PrivateExpedited);
        }

        static bool Call(int command)
        {
            return syscall(membarrier, command, 0, 0) == IntPtr.Zero;
        }

        [DllImport("libc")]
        static extern IntPtr syscall(IntPtr number, int command, int flags, int processor);
    }
}
