// SPDX-License-Identifier: MIT
using System;

namespace Tachyon
{
    /// <summary>What a bus is to be like; each value of these has its C name's meaning.</summary>
    [Flags]
    public enum BusFlags : uint
    {
        /// <summary>Nothing of it.</summary>
        None = 0,
        /// <summary>Map all pages now, not at first use.</summary>
        Prefault = 1,
        /// <summary>Lock both rings in memory.</summary>
        Mlock = 2,
        /// <summary>2 MiB pages, where there are some.</summary>
        HugePages = 4,
        /// <summary>Both ends may write in both rings.</summary>
        Trusted = 8,
    }

    /// <summary>
    /// Options of a listener or a connection; what each means stands at tachyon_options in tachyon.h. A
    /// zero means the default.
    /// </summary>
    public sealed class BusOptions
    {
        /// <summary>Listener: the ring from connector to listener, in bytes; default 1 MiB.</summary>
        public ulong Capacity { get; set; }
        /// <summary>Listener: the ring back.</summary>
        public ulong ReplyCapacity { get; set; }
        /// <summary>The largest ring to make or to map.</summary>
        public ulong MaxCapacity { get; set; }
        /// <summary>How long a wait polls before it sleeps; negative: not at all.</summary>
        public TimeSpan Spin { get; set; }
        /// <summary>Prefault and its like.</summary>
        public BusFlags Flags { get; set; }
        /// <summary>1 + the node of our ring's memory.</summary>
        public int NumaNode { get; set; }
        /// <summary>Listener: permission bits of the socket; default 0600.</summary>
        public uint SocketMode { get; set; }
        /// <summary>User ids that may be the peer; default: our own.</summary>
        public uint[] AllowedUids { get; set; }
        /// <summary>How long a connection may take to introduce itself; default 2 s.</summary>
        public TimeSpan HandshakeTimeout { get; set; }
        /// <summary>Listener: unfinished introductions at a time.</summary>
        public ulong MaxPending { get; set; }

        static long Nanoseconds(TimeSpan time)
        {
            return Math.Max(Math.Min(time.Ticks, long.MaxValue / 100), -1) * 100;
        }

        /// <summary>As C wants it, while allowed is pinned.</summary>
        internal static unsafe Native.Options Raw(BusOptions options, uint kind, uint* allowed)
        {
            options = options ?? new BusOptions();
            return new Native.Options
            {
                StructSize = (ulong)sizeof(Native.Options),
                Capacity = options.Capacity,
                ReplyCapacity = options.ReplyCapacity,
                MaxCapacity = options.MaxCapacity,
                SpinNs = Nanoseconds(options.Spin),
                Flags = (uint)options.Flags,
                Kind = kind,
                NumaNode = options.NumaNode,
                SocketMode = options.SocketMode,
                AllowedUids = allowed,
                AllowedUidCount = (ulong)(options.AllowedUids?.Length ?? 0),
                HandshakeTimeoutNs = Nanoseconds(options.HandshakeTimeout),
                MaxPending = options.MaxPending,
            };
        }
    }

    /// <summary>Facts of a bus that do not change; tachyon_properties in tachyon.h explains them.</summary>
    public sealed class BusProperties
    {
        /// <summary>Bytes of the ring that we send through.</summary>
        public ulong SendCapacity { get; internal set; }
        /// <summary>Bytes of the ring that we receive from.</summary>
        public ulong ReceiveCapacity { get; internal set; }
        /// <summary>The largest message that we can send, in bytes.</summary>
        public ulong MaxSendSize { get; internal set; }
        /// <summary>The largest message that we can receive, in bytes.</summary>
        public ulong MaxReceiveSize { get; internal set; }
        /// <summary>The peer's process; 0 where it cannot be known.</summary>
        public int PeerPid { get; internal set; }
        /// <summary>The peer's user.</summary>
        public uint PeerUid { get; internal set; }
        /// <summary>The kernel refuses to let the peer write our ring, or us its.</summary>
        public bool IsIsolated { get; internal set; }
        /// <summary>Both ends asked for BusFlags.Trusted.</summary>
        public bool IsTrusted { get; internal set; }
    }
}
