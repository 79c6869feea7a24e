// bindings/rust/tachyon/examples/hello_receive.rs
fn main() -> tachyon::Result<()> {
    let bus = tachyon::Bus::listen("/tmp/hello")?;
    for message in bus.iter() {
        let message = message?; // in the ring, until it is dropped
        println!("{} {}", message.type_id(), String::from_utf8_lossy(&message));
    }
    Ok(())
}
