// bindings/rust/tachyon/examples/order_book_client.rs
use std::time::Duration;

#[repr(C)]
#[derive(Clone, Copy)]
struct Snapshot {
    number: u64,
    instrument: u64,
    levels: [f64; 20],
}

// SAFETY: numbers, any bits of which are a value, without padding.
unsafe impl tachyon::Record for Snapshot {}

fn main() -> tachyon::Result<()> {
    let caller = tachyon::Caller::connect("/tmp/books")?;
    let instrument = 2330u64.to_ne_bytes();
    match caller.call_timeout(&instrument, 1, Duration::from_secs(1)) {
        Ok(reply) => println!("best bid {:.1}", reply.get::<Snapshot>()?.levels[0]),
        Err(tachyon::Error::Rpc { text, .. }) => println!("the server says {text}"),
        Err(error) => return Err(error),
    }
    caller.call(b"", 2)?; // stop
    Ok(())
}
