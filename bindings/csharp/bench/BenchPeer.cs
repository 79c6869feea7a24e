// SPDX-License-Identifier: MIT
// BenchPeer ROLE PATH: C#'s part of `tachyon bench languages`; see bindings/bench/README.md.
using System;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;
using Tachyon;

struct Trade
{
    public ulong Time, Id;
    public double Price, Size;
}

static class BenchPeer
{
    const int Size = 32, Run = 4096;

    static readonly byte[] payload = new byte[Size], buffer = new byte[256];

    static long Nanoseconds(long from)
    {
        return (long)((Stopwatch.GetTimestamp() - from) * (1e9 / Stopwatch.Frequency));
    }

    static string Ping(Bus bus, int count)
    {
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < count; i++)
        {
            bus.Send(payload);
            bus.Receive();
        }
        return Nanoseconds(start).ToString();
    }

    static string Echo(Bus bus, int count)
    {
        for (int i = 0; i < count; i++)
            bus.Send(bus.Receive().Data);
        return "done";
    }

    static string Produce(Bus bus, int count)
    {
        for (int i = 0; i < count; i++)
            bus.Send(payload);
        return "done";
    }

    static string Consume(Bus bus, int count)
    {
        bus.Receive();
        long start = Stopwatch.GetTimestamp();
        for (int i = 1; i < count; i++)
            bus.Receive();
        return Nanoseconds(start).ToString();
    }

    static string ProduceRecords(Bus bus, int count)
    {
        var trades = new Trade[Run];
        for (int sent = 0; sent < count; sent += Run)
        {
            int now = Math.Min(Run, count - sent);
            for (int i = 0; i < now; i++)
                trades[i] = new Trade { Time = (ulong)(sent + i), Id = (ulong)i, Price = 1, Size = 2 };
            bus.SendRecords(new ReadOnlySpan<Trade>(trades, 0, now));
        }
        return "done";
    }

    static string ConsumeRecords(Bus bus, int count)
    {
        long start = 0;
        double sum = 0;
        for (int received = 0; received < count;)
        {
            using (Records<Trade> run = bus.ReceiveRecords<Trade>(count - received))
            {
                if (received == 0)
                    start = Stopwatch.GetTimestamp();
                foreach (Trade trade in run)
                    sum += trade.Price;
                received += run.Count;
            }
        }
        long elapsed = Nanoseconds(start);
        if (sum != count)
            throw new Exception($"the prices add up to {sum}, not {count}");
        return elapsed.ToString();
    }

    static void Exchange(Bus from, Bus to, int count)
    {
        int size;
        uint typeId;
        for (int i = 0; i < count; i++)
        {
            from.Send(payload);
            if (!to.TryReceive(buffer, out size, out typeId) || size != Size)
                throw new Exception("nothing came");
        }
    }

    static Func<int, string> Calls(string path)
    {
        Bus near = null;
        var listening = new Thread(() => near = Bus.Listen(path));
        listening.Start();
        Bus far = Bus.Connect(path);
        listening.Join();
        var raw = new Raw(path + "-raw");
        return count =>
        {
            const int Round = 1000;
            long binding = 0, other = 0;
            for (int done = 0; done < count; done += Round)
            {
                int now = Math.Min(Round, count - done);
                long start = Stopwatch.GetTimestamp();
                Exchange(far, near, now);
                binding += Nanoseconds(start);
                start = Stopwatch.GetTimestamp();
                raw.Exchange(now);
                other += Nanoseconds(start);
                Bus sent = far;
                far = near;
                near = sent;
            }
            return string.Format(CultureInfo.InvariantCulture, "{0:F1} {1:F1}", (double)binding / count, (double)other / count);
        };
    }

    static void Main(string[] arguments)
    {
        string role = arguments[0], path = arguments[1];
        Func<int, string> round;
        if (role == "calls")
        {
            round = Calls(path);
        }
        else
        {
            bool connects = role == "ping" || role == "produce" || role == "records-produce";
            Bus bus = connects ? Bus.Connect(path) : Bus.Listen(path);
            round = count => Step(role, bus, count);
        }
        Console.WriteLine("ready");
        for (string line; (line = Console.ReadLine()) != null;)
            Console.WriteLine(round(int.Parse(line)));
    }

    static string Step(string role, Bus bus, int count)
    {
        switch (role)
        {
            case "ping": return Ping(bus, count);
            case "echo": return Echo(bus, count);
            case "produce": return Produce(bus, count);
            case "consume": return Consume(bus, count);
            case "records-produce": return ProduceRecords(bus, count);
            case "records-consume": return ConsumeRecords(bus, count);
            default: throw new ArgumentException("unknown role " + role);
        }
    }
}

/// <summary>The cheapest way to the same functions: DllImport of what takes no conversion, and buffers that stay.</summary>
/// <remarks>The package has loaded the library by then; Mono's __Internal is all that the process has loaded.</remarks>
sealed unsafe class Raw
{
#if NET8_0_OR_GREATER
    const string Name = "libtachyon.so.1";
#else
    const string Name = "__Internal";
#endif

    [DllImport(Name)]
    static extern int tachyon_bus_listen(out IntPtr bus, byte[] path, IntPtr options, long timeoutNs);
    [DllImport(Name)]
    static extern int tachyon_bus_connect(out IntPtr bus, byte[] path, IntPtr options, long timeoutNs);
    [DllImport(Name)]
    static extern int tachyon_bus_send(IntPtr bus, byte* data, UIntPtr size, uint typeId, long timeoutNs);
    [DllImport(Name)]
    static extern long tachyon_bus_recv_copy(IntPtr bus, byte* buffer, UIntPtr capacity, uint* typeId, long timeoutNs);

    IntPtr near, far;
    readonly byte* buffer = (byte*)Marshal.AllocHGlobal(256);

    internal Raw(string path)
    {
        byte[] name = Encoding.UTF8.GetBytes(path + "\0");
        IntPtr listened = IntPtr.Zero;
        var listening = new Thread(() => tachyon_bus_listen(out listened, name, IntPtr.Zero, -1));
        listening.Start();
        tachyon_bus_connect(out far, name, IntPtr.Zero, -1);
        listening.Join();
        near = listened;
    }

    internal void Exchange(int count)
    {
        uint typeId;
        for (int i = 0; i < count; i++)
            if (tachyon_bus_send(far, buffer, (UIntPtr)32, 0, 0) != 0 || tachyon_bus_recv_copy(near, buffer, (UIntPtr)256, &typeId, 0) != 32)
                throw new Exception("nothing came");
        IntPtr sent = far;
        far = near;
        near = sent;
    }
}
