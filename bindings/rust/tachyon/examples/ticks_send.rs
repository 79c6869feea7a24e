// bindings/rust/tachyon/examples/ticks_send.rs
#[repr(C)]
#[derive(Clone, Copy)]
struct Tick {
    time: u64,
    price: f64,
}

// SAFETY: two numbers, any bits of which are a value, without padding.
unsafe impl tachyon::Record for Tick {}

fn main() -> tachyon::Result<()> {
    let mut bus = tachyon::Bus::connect("/tmp/arrays")?;
    bus.sender.send_array(&[1.0, 0.0, 0.0, 1.0], &[2, 2], 0)?; // copied once, into the ring

    let mut image = bus.sender.reserve_array::<f32>(&[480, 640])?; // made in the ring
    image.fill(0.5);
    image.commit(0)?;

    let ticks: Vec<_> = (0..100_000u32)
        .map(|i| Tick { time: i.into(), price: 100.0 + f64::from(i) / 100_000.0 })
        .collect();
    bus.sender.send_records(&ticks, 0)?; // 100,000 messages of 16 bytes
    Ok(())
}
