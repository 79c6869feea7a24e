// bindings/csharp/examples/hello_receive.cs
using System;
using System.Text;
using Tachyon;

static class HelloReceive
{
    static void Main()
    {
        using (Bus bus = Bus.Listen("/tmp/hello"))
        {
            foreach (Message message in bus.Messages())
                Console.WriteLine(message.TypeId + " " + Encoding.UTF8.GetString(message.Data));
        }
    }
}
