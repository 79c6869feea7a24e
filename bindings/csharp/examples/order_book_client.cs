// bindings/csharp/examples/order_book_client.cs
using System;
using System.Globalization;
using Tachyon;

static class OrderBookClient
{
    static void Main()
    {
        TimeSpan patience = TimeSpan.FromSeconds(10);
        using (Caller caller = Caller.Connect("/tmp/books", timeout: patience))
        {
            try
            {
                byte[] snapshot = caller.Call(BitConverter.GetBytes(2330UL), 1, patience).Data;
                double bid = BitConverter.ToDouble(snapshot, 16);
                Console.WriteLine("best bid " + bid.ToString("F1", CultureInfo.InvariantCulture));
            }
            catch (RpcException e)
            {
                Console.WriteLine("the server says " + e.Text);
            }
            caller.Call(new byte[0], 2); // stop
        }
    }
}
