// bindings/rust/tachyon/examples/ticks_receive.rs
#[repr(C)]
#[derive(Clone, Copy)]
struct Tick {
    time: u64,
    price: f64,
}

// SAFETY: two numbers, any bits of which are a value, without padding.
unsafe impl tachyon::Record for Tick {}

fn main() -> tachyon::Result<()> {
    let options = tachyon::Options { capacity: 8 << 20, ..Default::default() };
    let bus = tachyon::Bus::listen_with("/tmp/arrays", &options, None)?;

    let message = bus.recv()?;
    println!("{:?}", &message.array::<f64>()?[..]);
    drop(message); // gives its place in the ring back
    let message = bus.recv()?;
    let image = message.array::<f32>()?; // in the ring; borrows the message
    let sum: f32 = image.iter().sum();
    println!("{:?} mean {}", image.shape(), sum / image.len() as f32);
    drop(message);

    let (mut count, mut total, mut latest) = (0, 0.0, 0);
    loop {
        match bus.receiver.recv_records::<Tick>(4096, None) {
            Ok(ticks) => {
                count += ticks.len(); // as many as are there, where they lie
                total += ticks.iter().map(|tick| tick.price).sum::<f64>();
                latest = ticks[ticks.len() - 1].time;
            }
            Err(tachyon::Error::Closed) => break, // the sender has finished
            Err(error) => return Err(error),
        }
    }
    println!("{count} ticks until {latest}, mean price {:.3}", total / count as f64);
    Ok(())
}
