// SPDX-License-Identifier: MIT
using System;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Tachyon
{
    /// <summary>The functions and structs of tachyon.h that this package calls, by their names there.</summary>
    /// <remarks>
    /// All arguments are such that they need no conversion. What takes a SafeHandle keeps it open during
    /// the call; what takes an IntPtr is for who keeps it open: by a Turn, or by a reference of their own.
    /// </remarks>
    internal static unsafe class Native
    {
        [StructLayout(LayoutKind.Sequential)]
        internal struct Message
        {
            internal byte* Data;
            internal ulong Size, Lease, CorrelationId;
            internal uint TypeId, Flags;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Records
        {
            internal byte* Data;
            internal ulong Count, Stride, Lease;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Array
        {
            internal const int MaxRank = 64;

            internal byte* Data;
            internal ulong DataSize, ItemSize;
            internal byte* DType;
            internal uint DTypeSize, Rank;
            internal fixed ulong Shape[MaxRank];
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Options
        {
            internal ulong StructSize, Capacity, ReplyCapacity, MaxCapacity;
            internal long SpinNs;
            internal uint Flags, Kind;
            internal int NumaNode;
            internal uint SocketMode;
            internal uint* AllowedUids;
            internal ulong AllowedUidCount;
            internal long HandshakeTimeoutNs;
            internal ulong MaxPending;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Properties
        {
            internal ulong StructSize, SendCapacity, ReceiveCapacity, MaxSendSize, MaxReceiveSize;
            internal long SpinNs;
            internal int PeerPid;
            internal uint PeerUid, Kind, LayoutVersion, IsListener, Isolation, Barrier, HugePages, WatchesPid, Trusted;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Stats
        {
            internal ulong StructSize, SentMessages, SentBytes, ReceivedMessages, ReceivedBytes, SendUsed, ReceiveUsed,
                Leases, Doorbells, DataSleeps, SpaceSleeps;
        }

        internal const uint StreamKind = 1, RpcKind = 2;

        [DllImport(Library.Name)]
        internal static extern uint tachyon_abi_version();
        [DllImport(Library.Name)]
        internal static extern IntPtr tachyon_strerror(int error);
        [DllImport(Library.Name)]
        internal static extern IntPtr tachyon_error_detail();
        [DllImport(Library.Name)]
        internal static extern void tachyon_thread_interrupt_fd(int fd);

        [DllImport(Library.Name)]
        internal static extern int tachyon_listener_create(out ListenerHandle listener, byte[] path, Options* options);
        [DllImport(Library.Name)]
        internal static extern int tachyon_listener_accept(ListenerHandle listener, out BusHandle bus, long timeoutNs);
        [DllImport(Library.Name)]
        internal static extern void tachyon_listener_close(ListenerHandle listener);
        [DllImport(Library.Name)]
        internal static extern void tachyon_listener_free(IntPtr listener);

        [DllImport(Library.Name)]
        internal static extern int tachyon_bus_connect(out BusHandle bus, byte[] path, Options* options, long timeoutNs);
        [DllImport(Library.Name)]
        internal static extern void tachyon_bus_close(BusHandle bus);
        [DllImport(Library.Name)]
        internal static extern void tachyon_bus_free(IntPtr bus);
        [DllImport(Library.Name)]
        internal static extern int tachyon_bus_properties(BusHandle bus, Properties* properties);
        [DllImport(Library.Name)]
        internal static extern int tachyon_bus_stats(BusHandle bus, Stats* stats);

        [DllImport(Library.Name)]
        internal static extern int tachyon_bus_send(IntPtr bus, byte* data, UIntPtr size, uint typeId, long timeoutNs);
        [DllImport(Library.Name)]
        internal static extern int tachyon_bus_reserve(IntPtr bus, out IntPtr data, UIntPtr size, long timeoutNs);
        [DllImport(Library.Name)]
        internal static extern int tachyon_bus_commit(IntPtr bus, UIntPtr size, uint typeId);
        [DllImport(Library.Name)]
        internal static extern int tachyon_bus_cancel(IntPtr bus);
        [DllImport(Library.Name)]
        internal static extern long tachyon_bus_send_records(IntPtr bus, byte* records, UIntPtr recordSize,
            UIntPtr count, uint typeId, long timeoutNs);

        [DllImport(Library.Name)]
        internal static extern int tachyon_bus_recv(IntPtr bus, out Message message, long timeoutNs);
        [DllImport(Library.Name)]
        internal static extern long tachyon_bus_recv_copy(IntPtr bus, byte* buffer, UIntPtr capacity, uint* typeId,
            long timeoutNs);
        [DllImport(Library.Name)]
        internal static extern int tachyon_bus_recv_batch(IntPtr bus, [Out] Message[] messages, UIntPtr max, long timeoutNs);
        [DllImport(Library.Name)]
        internal static extern long tachyon_bus_recv_records(IntPtr bus, out Records records, UIntPtr recordSize,
            UIntPtr max, uint* typeId, long timeoutNs);
        [DllImport(Library.Name)]
        internal static extern int tachyon_bus_release(IntPtr bus, ulong lease);
        [DllImport(Library.Name)]
        internal static extern int tachyon_bus_release_batch(IntPtr bus, Message* messages, UIntPtr count);
        [DllImport(Library.Name)]
        internal static extern int tachyon_bus_put_back(IntPtr bus, Message* message);

        [DllImport(Library.Name)]
        internal static extern ulong tachyon_array_size(Array* array);
        [DllImport(Library.Name)]
        internal static extern int tachyon_array_write(Array* array, byte* message, ulong size, byte** data);
        [DllImport(Library.Name)]
        internal static extern int tachyon_array_read(Array* array, byte* message, ulong size);

        [DllImport(Library.Name)]
        internal static extern int tachyon_rpc_create(out RpcHandle rpc, BusHandle bus);
        [DllImport(Library.Name)]
        internal static extern void tachyon_rpc_close(RpcHandle rpc);
        [DllImport(Library.Name)]
        internal static extern void tachyon_rpc_free(IntPtr rpc);
        [DllImport(Library.Name)]
        internal static extern int tachyon_rpc_submit(IntPtr rpc, byte* data, UIntPtr size, uint typeId, out ulong id,
            long timeoutNs);
        [DllImport(Library.Name)]
        internal static extern int tachyon_rpc_poll(IntPtr rpc, out Message message, long timeoutNs);
        [DllImport(Library.Name)]
        internal static extern int tachyon_rpc_forget(RpcHandle rpc, ulong id);
        [DllImport(Library.Name)]
        internal static extern int tachyon_rpc_release(IntPtr rpc, Message* message);
        [DllImport(Library.Name)]
        internal static extern int tachyon_rpc_serve(IntPtr rpc, out Message request, long timeoutNs);
        [DllImport(Library.Name)]
        internal static extern int tachyon_rpc_reply(IntPtr rpc, ulong id, byte* data, UIntPtr size, uint typeId,
            long timeoutNs);
        [DllImport(Library.Name)]
        internal static extern int tachyon_rpc_fail(IntPtr rpc, ulong id, uint code, byte* text, UIntPtr size,
            long timeoutNs);

        /// <summary>As C wants it: UTF-8, with a NUL at its end.</summary>
        internal static byte[] Text(string text)
        {
            if (text == null)
                throw new ArgumentNullException(nameof(text));
            if (text.IndexOf('\0') >= 0)
                throw new ArgumentException("the text has a NUL in it: " + text.Replace("\0", "\\0"));
            return Encoding.UTF8.GetBytes(text + "\0");
        }
    }

    internal sealed class ListenerHandle : SafeHandleZeroOrMinusOneIsInvalid
    {
        public ListenerHandle() : base(true) { }

        protected override bool ReleaseHandle()
        {
            Native.tachyon_listener_free(handle);
            return true;
        }
    }

    internal sealed class BusHandle : SafeHandleZeroOrMinusOneIsInvalid
    {
        public BusHandle() : base(true) { }

        protected override bool ReleaseHandle()
        {
            Native.tachyon_bus_free(handle);
            return true;
        }
    }

    internal sealed class RpcHandle : SafeHandleZeroOrMinusOneIsInvalid
    {
        public RpcHandle() : base(true) { }

        protected override bool ReleaseHandle()
        {
            Native.tachyon_rpc_free(handle);
            return true;
        }
    }
}
