// bindings/csharp/examples/price_client.cs
using System;
using System.Globalization;
using System.Threading.Tasks;
using Tachyon;

static class PriceClient
{
    static async Task Ask()
    {
        using (Caller caller = await Caller.ConnectAsync("/tmp/prices", timeout: TimeSpan.FromSeconds(30)))
        {
            byte[] quote = (await caller.CallAsync(BitConverter.GetBytes(2330UL), 1)).Data;
            double bid = BitConverter.ToDouble(quote, 0), ask = BitConverter.ToDouble(quote, 8);
            Console.WriteLine(string.Format(CultureInfo.InvariantCulture, "bid {0:F2} ask {1:F2}", bid, ask));
            await caller.CallAsync(new byte[0], 2); // stop
        }
    }

    static void Main()
    {
        Ask().GetAwaiter().GetResult();
    }
}
