// SPDX-License-Identifier: MIT
// MatrixPeer ROLE MODE PATH COUNT BLOCK: one side of the matrix, in C#. See bindings/run-matrix.
using System;
using System.IO;
using System.Linq;
using Tachyon;

struct Record
{
    public ulong Number, Random;
    public double Half;
}

struct Rule
{
    public int Size, Start;
    public uint TypeId;
    public int Element;
    public long[] Shape;
}

static class MatrixPeer
{
    const int Largest = 1048448;
    const uint RecordType = 7, FailingType = 9, FailingCode = 42;
    const string FailingText = "not today";

    static byte[] block;
    static ulong count;

    static ulong Mix(ulong number)
    {
        unchecked
        {
            ulong z = (number + 1) * 0x9e3779b97f4a7c15;
            z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
            z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
            return z ^ (z >> 31);
        }
    }

    static Rule RuleOf(ulong number)
    {
        ulong r = Mix(number);
        return new Rule
        {
            Size = r % 1024 == 0 ? Largest : (int)((uint)(r >> 16) & ((1u << (int)((r >> 10) % 13)) - 1)),
            Start = (int)((r >> 40) & 0xfffff),
            TypeId = unchecked((uint)(r >> 20)),
            Element = (int)(r % 4),
            Shape = new[] { (long)((r >> 8) % 5), (long)((r >> 16) % 7), (long)((r >> 24) % 33) },
        };
    }

    static Record RecordOf(ulong number)
    {
        return new Record { Number = number, Random = Mix(number), Half = number / 2.0 };
    }

    static byte ElementOf(Rule rule, int i)
    {
        return (byte)((rule.Start + i) % 120);
    }

    static void Expect(bool good, string what, ulong number)
    {
        if (!good)
            throw new Exception($"message {number}: {what}");
    }

    static ReadOnlySpan<byte> Payload(Rule rule)
    {
        return new ReadOnlySpan<byte>(block, rule.Start, rule.Size);
    }

    static void SendStream(Bus bus)
    {
        for (ulong i = 0; i < count; i++)
        {
            Rule rule = RuleOf(i);
            if (i % 2 == 1)
                bus.Send(Payload(rule), rule.TypeId);
            else
                bus.SendInPlace(rule.Size, rule.TypeId, room =>
                {
                    Payload(rule).CopyTo(room);
                    return rule.Size;
                });
        }
    }

    static void ReceiveStream(Bus bus)
    {
        ulong received = 0;
        foreach (Message message in bus.Messages())
        {
            Rule rule = RuleOf(received);
            Expect(message.TypeId == rule.TypeId, "type", received);
            Expect(Payload(rule).SequenceEqual(message.Data), "bytes", received);
            received++;
        }
        Expect(received == count, "the end", received);
    }

    static void SendRecords(Bus bus)
    {
        var records = new Record[count];
        for (ulong i = 0; i < count; i++)
            records[i] = RecordOf(i);
        bus.SendRecords<Record>(records, RecordType);
    }

    static void ReceiveRecords(Bus bus)
    {
        for (ulong i = 0; i < count;)
        {
            using (Records<Record> run = bus.ReceiveRecords<Record>(5000, RecordType))
            {
                foreach (Record got in run)
                {
                    Record want = RecordOf(i);
                    Expect(got.Number == want.Number && got.Random == want.Random && got.Half == want.Half, "record", i);
                    i++;
                }
            }
        }
    }

    static void SendArray<T>(Bus bus, Rule rule, Func<byte, T> number) where T : struct
    {
        bus.SendArrayInPlace<T>(rule.Shape, 0, elements =>
        {
            for (int i = 0; i < elements.Length; i++)
                elements[i] = number(ElementOf(rule, i));
        });
    }

    static void CheckArray<T>(Message message, Rule rule, ulong n, Func<byte, T> number) where T : struct
    {
        long[] shape;
        T[] elements = message.ReadArray<T>(out shape);
        Expect(shape.SequenceEqual(rule.Shape), "shape", n);
        Expect(elements.Length == shape[0] * shape[1] * shape[2], "size", n);
        for (int i = 0; i < elements.Length; i++)
            Expect(elements[i].Equals(number(ElementOf(rule, i))), "element", n);
    }

    static void SendArrays(Bus bus)
    {
        for (ulong i = 0; i < count; i++)
        {
            Rule rule = RuleOf(i);
            switch (rule.Element)
            {
                case 0: SendArray(bus, rule, n => (float)n); break;
                case 1: SendArray(bus, rule, n => (double)n); break;
                case 2: SendArray(bus, rule, n => (short)n); break;
                default: SendArray(bus, rule, n => n); break;
            }
        }
    }

    static void ReceiveArrays(Bus bus)
    {
        for (ulong i = 0; i < count; i++)
        {
            Rule rule = RuleOf(i);
            Message message = bus.Receive();
            switch (rule.Element)
            {
                case 0: CheckArray(message, rule, i, n => (float)n); break;
                case 1: CheckArray(message, rule, i, n => (double)n); break;
                case 2: CheckArray(message, rule, i, n => (short)n); break;
                default: CheckArray(message, rule, i, n => n); break;
            }
        }
    }

    static byte[] Xor(byte[] data)
    {
        return data.Select(b => (byte)(b ^ 0x5a)).ToArray();
    }

    static void Call(string path)
    {
        using (Caller caller = Caller.Connect(path))
        {
            for (ulong i = 0; i < count; i++)
            {
                Rule rule = RuleOf(i);
                rule.Size %= 4096;
                byte[] request = Payload(rule).ToArray();
                if (i % 97 != 0)
                {
                    Expect(caller.Call(request, 1).Data.SequenceEqual(Xor(request)), "reply", i);
                    continue;
                }
                try
                {
                    caller.Call(request, FailingType);
                    Expect(false, "no failure", i);
                }
                catch (RpcException e)
                {
                    Expect(e.Code == FailingCode && e.Text == FailingText, "failure", i);
                }
            }
        }
    }

    static void Serve(string path)
    {
        using (Server server = Server.Listen(path))
        {
            ulong served = 0;
            try
            {
                for (; ; served++)
                {
                    Request request = server.Serve();
                    if (request.TypeId == FailingType)
                        request.Fail(FailingCode, FailingText);
                    else
                        request.Reply(Xor(request.Data));
                }
            }
            catch (ClosedException)
            {
                Expect(served == count, "the end", served);
            }
        }
    }

    /// <summary>Goes on until the other one is killed.</summary>
    static void Flow(Action step)
    {
        try
        {
            for (; ; )
                step();
        }
        catch (PeerDeadException)
        {
        }
    }

    static void Run(Bus bus, string what)
    {
        switch (what)
        {
            case "producer stream": SendStream(bus); break;
            case "consumer stream": ReceiveStream(bus); break;
            case "producer records": SendRecords(bus); break;
            case "consumer records": ReceiveRecords(bus); break;
            case "producer arrays": SendArrays(bus); break;
            case "consumer arrays": ReceiveArrays(bus); break;
            case "producer killed": Flow(() => bus.Send(new ReadOnlySpan<byte>(block, 0, 1000))); break;
            case "consumer killed": Flow(() => bus.Receive()); break;
            default: throw new ArgumentException(what);
        }
    }

    static int Main(string[] arguments)
    {
        string role = arguments[0], mode = arguments[1], path = arguments[2];
        count = ulong.Parse(arguments[3]);
        block = File.ReadAllBytes(arguments[4]);
        if (mode == "rpc" && role == "consumer")
            Serve(path);
        else if (mode == "rpc")
            Call(path);
        else
            using (Bus bus = role == "consumer" ? Bus.Listen(path) : Bus.Connect(path))
                Run(bus, role + " " + mode);
        Console.WriteLine("ok");
        return 0;
    }
}
