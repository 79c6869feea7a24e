// SPDX-License-Identifier: MIT
using System;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using NUnit.Framework;

namespace Tachyon.Tests
{
    /// <summary>Two ends in one process, in a folder of their own.</summary>
    sealed class Pair : IDisposable
    {
        public readonly Bus Consumer, Producer;

        public Pair(ulong capacity = 0)
        {
            using (var folder = new Folder())
            {
                Task<Bus> listened = Bus.ListenAsync(folder.Bus, new BusOptions { Capacity = capacity }, Support.Patience);
                Producer = Bus.Connect(folder.Bus, null, Support.Patience);
                Consumer = listened.Result;
            }
        }

        public void Dispose()
        {
            Consumer.Dispose();
            Producer.Dispose();
        }
    }

    sealed class RpcPair : IDisposable
    {
        public readonly Caller Caller;
        public readonly Server Server;

        public RpcPair()
        {
            using (var folder = new Folder())
            {
                Task<Server> listened = Task.Run(() => Server.Listen(folder.Bus, null, Support.Patience));
                Caller = Caller.Connect(folder.Bus, null, Support.Patience);
                Server = listened.Result;
            }
        }

        public void Dispose()
        {
            Caller.Dispose();
            Server.Dispose();
        }
    }

    sealed class Folder : IDisposable
    {
        readonly string name = Path.Combine(Path.GetTempPath(), "tachyon-cs-" + Guid.NewGuid().ToString("N").Substring(0, 8));

        public Folder()
        {
            Directory.CreateDirectory(name);
        }

        public string Bus => Path.Combine(name, "bus");

        public void Dispose()
        {
            Directory.Delete(name, true);
        }
    }

    static class Support
    {
        public static readonly TimeSpan Patience = TimeSpan.FromSeconds(30), Moment = TimeSpan.FromMilliseconds(1);

        /// <summary>A thread of its own; asks it for its end, and for its exception.</summary>
        public static Task Start(Action action)
        {
            return Task.Factory.StartNew(action, TaskCreationOptions.LongRunning);
        }

        /// <summary>The exception of a task, which must be over in time.</summary>
        public static Exception Failure(Task task)
        {
            try
            {
                Assert.That(task.Wait(Patience), "it goes on");
                return null;
            }
            catch (AggregateException e)
            {
                return e.InnerException;
            }
        }

        public static void Until(Func<bool> condition)
        {
            Assert.That(SpinWait.SpinUntil(condition, Patience), "it does not come");
        }

        /// <summary>How much of this process's memory is buses'.</summary>
        public static int Mappings()
        {
            return File.ReadLines("/proc/self/maps").Count(line => line.Contains("memfd:tachyon"));
        }

        /// <summary>This program again, in a process of its own, in another role.</summary>
        public static Process Child(string role, string argument, string library = null)
        {
            string runtime = Type.GetType("Mono.Runtime") != null ? "mono" : "dotnet";
            string program = typeof(Support).Assembly.Location;
            var start = new ProcessStartInfo(runtime, $"\"{program}\" {role} \"{argument}\"")
            {
                UseShellExecute = false,
                RedirectStandardOutput = true,
            };
            if (library != null)
                start.EnvironmentVariables["TACHYON_LIBRARY"] = library;
            return Process.Start(start);
        }

        static int Main(string[] arguments)
        {
            try
            {
                switch (arguments[0])
                {
                    case "words": // until it is killed
                        using (Bus bus = Bus.Connect(arguments[1]))
                        {
                            bus.Send(new byte[] { 1, 2, 3 });
                            bus.Receive();
                        }
                        break;
                    // What a process may ask of the library first.
                    case "connect":
                        Bus.Connect(arguments[1], null, TimeSpan.Zero);
                        break;
                    case "listen":
                        Bus.Listen(arguments[1], null, TimeSpan.Zero);
                        break;
                    case "listener":
                        new Listener(arguments[1]).Dispose();
                        break;
                    case "array":
                        long[] shape;
                        new Message(new byte[1], 0).ReadArray<byte>(out shape);
                        break;
                }
                Console.Write("done");
            }
            catch (Exception e)
            {
                Console.Write(e.GetType().Name + ": " + e.Message);
            }
            return 0;
        }
    }
}
