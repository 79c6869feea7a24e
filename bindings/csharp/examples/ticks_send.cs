// bindings/csharp/examples/ticks_send.cs
using System;
using Tachyon;

struct Tick
{
    public ulong Time;
    public double Price;
}

static class TicksSend
{
    static void Main()
    {
        using (Bus bus = Bus.Connect("/tmp/arrays", timeout: TimeSpan.FromSeconds(30)))
        {
            // Copied once, into the ring.
            bus.SendArray<double>(new double[] { 1, 0, 0, 1 }, new long[] { 2, 2 });
            // Computed in the ring, never copied.
            bus.SendArrayInPlace<float>(new long[] { 480, 640 }, 0, image => image.Fill(0.5f));
            var ticks = new Tick[100000];
            for (int i = 0; i < ticks.Length; i++)
                ticks[i] = new Tick { Time = (ulong)i, Price = 100 + i / 100000.0 };
            bus.SendRecords<Tick>(ticks); // 100,000 messages of 16 bytes
        }
    }
}
